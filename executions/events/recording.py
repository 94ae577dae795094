"""The events of the streamed runs in progress in this process.

They are stored in batches: together with each step, and between the steps by `store_pending`, which has to be
called a few times per second. Only the process that holds the lease of the attempt stores events. If it loses
the lease because the run has ended, it may store what it has sent for `SETTLING` more.
"""

import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from queue import SimpleQueue
from threading import Lock
from typing import Any

from django.db import DatabaseError, transaction
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone

from executions.events import notices
from executions.events.items import Event, ItemEvents
from executions.jobs import leases
from executions.models import Approval, EventBatch, Execution
from executions.steps import Step

# Readers wait for it before the last event of a run that did not end in its process.
SETTLING = timedelta(seconds=1.5)
# Of one transaction of `store_pending`.
_RUNS_AT_ONCE = 50

_in_progress: set["RunEvents"] = set()


@dataclass(slots=True, eq=False)
class RunEvents:
    """The events of one attempt of a run. `queue` receives each event as well, and None at the end.

    Pieces of text are sent to the queue at once, and other events after they have been stored. Used as a
    context manager while the run is in progress.
    """

    execution_id: uuid.UUID
    attempt: int
    items: ItemEvents
    queue: "SimpleQueue[Event | None] | None" = None
    pending: list[Event] = field(default_factory=list)
    sent_count: int = 0  # of the pending ones
    # Held while pending events are being stored, and taken before the row of the execution is locked.
    lock: Lock = field(default_factory=Lock)

    def __enter__(self) -> "RunEvents":
        _in_progress.add(self)
        return self

    def __exit__(self, *_: object) -> None:
        _in_progress.discard(self)
        try:
            self._store_rest()
        finally:
            if (queue := self.queue) is not None:
                queue.put(None)

    def add_text(self, piece: str) -> None:
        """Add the events of a piece of the model's text, and send them."""
        self.pending.extend(self.items.text(piece))
        self._send()

    def add_step(self, step: Step) -> None:
        """Add the events of a step."""
        self.pending.extend(self.items.step(step))

    def add_requests(self, approvals: Iterable[Approval]) -> None:
        """Add the events of the requests with which a run waits."""
        for approval in approvals:
            self.pending.extend(self.items.request(approval))

    def resume(self, response: Mapping[str, Any]) -> None:
        """Add the event of a run that continues after it has waited."""
        self.pending.extend(self.items.resume(response))

    def close_interrupted(self) -> None:
        """Add the end of a message that an earlier attempt has begun."""
        self.pending.extend(self.items.close_interrupted())

    def disconnect(self) -> None:
        """Send no more events to the queue: its client has disconnected."""
        self.queue = None

    def _send(self) -> None:
        unsent, queue = self.pending[self.sent_count :], self.queue
        self.sent_count = len(self.pending)
        if queue is not None:
            for event in unsent:
                queue.put(event)

    def _store_rest(self) -> None:
        """Store what was sent and is pending, unless the run ended too long ago in another process."""
        has_ended_now = Q(finished_at__gt=Now() - SETTLING)
        own = Execution.objects.filter(
            Q(status=Execution.Status.RUNNING) | has_ended_now,
            pk=self.execution_id,
            attempt=self.attempt,
            lease_owner=leases.owner(),
        )
        with suppress(DatabaseError), self.lock, transaction.atomic():
            batch = self.batch(self.sent_count)
            if batch is not None and own.select_for_update(no_key=True).values_list("pk"):
                batch.save()

    @contextmanager
    def storing(self) -> Iterator[EventBatch | None]:
        """Yield the row of the pending events, which the block commits, or None if there are none."""
        with self.lock:
            batch = self.batch(len(self.pending))
            yield batch
            self._send()
            self.stored(batch)
        notices.publish([self.execution_id])

    def batch(self, count: int) -> EventBatch | None:
        """Return the row of the first pending events, or None if there are none. Requires the lock."""
        events = self.pending[:count]
        if not events:
            return None
        lines = "\n".join(event.data for event in events)
        return EventBatch(
            execution_id=self.execution_id,
            first_number=events[0].number,
            events=lines,
            # With the default of the database, Django inserts many rows in a much slower way.
            created_at=timezone.now(),
        )

    def stored(self, batch: EventBatch | None) -> None:
        """Forget the events of a row that has been committed. Requires the lock."""
        if batch is not None:
            count = batch.events.count("\n") + 1
            del self.pending[:count]
            self.sent_count -= count


def store_pending() -> None:
    """Store the pieces of text that all runs of this process have sent. Raises DatabaseError."""
    unstored = [run for run in [*_in_progress] if run.sent_count]
    while unstored:
        _store_some(unstored[:_RUNS_AT_ONCE])
        del unstored[:_RUNS_AT_ONCE]
        # The streams go on meanwhile.
        time.sleep(0)


def _store_some(unstored: list[RunEvents]) -> None:
    runs = [run for run in unstored if run.lock.acquire(blocking=False)]
    try:
        if stored := _store({run.execution_id: run for run in runs}):
            notices.publish(stored)
    finally:
        for run in runs:
            run.lock.release()


def _store(runs: dict[uuid.UUID, RunEvents]) -> list[uuid.UUID]:
    if not runs:
        return []
    own = leases.running().filter(pk__in=[*runs], lease_owner=leases.owner())
    batches = []
    with transaction.atomic():
        # A locked row has another writer, for which its next batch need not wait.
        rows = own.select_for_update(no_key=True, skip_locked=True).values_list("pk", "attempt")
        for execution_id, attempt in rows:
            run = runs[execution_id]
            if run.attempt == attempt and (batch := run.batch(run.sent_count)):
                batches.append(batch)
        EventBatch.objects.bulk_create(batches)
    for batch in batches:
        runs[batch.execution_id].stored(batch)
    return [batch.execution_id for batch in batches]
