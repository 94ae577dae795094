"""Reading the events of executions: of finished ones and of those in progress, in any process."""

import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from functools import partial
from itertools import islice
from queue import Empty, SimpleQueue

from django.db import connection
from django.db.models import DurationField, ExpressionWrapper, F, Max
from django.db.models.functions import Now
from django.utils import timezone

from executions.events import notices
from executions.events.items import Event, ItemEvents, is_request
from executions.events.recording import SETTLING
from executions.models import Approval, EventBatch, Execution
from executions.providers.mock import words
from executions.records import recorded_steps, requests
from executions.responses import (
    STATUSES,
    error_object,
    local_steps,
    output_items,
    output_parts,
    response_object,
)
from executions.steps import Step
from executions.stop_reasons import StopReason
from map_project.postgresql.connections import with_retries

# How long the events of a run that has ended are kept. After that, they are made from its steps.
KEPT = timedelta(hours=24)
# Of one call of `delete_expired`.
BATCH = 100
# Of one list of events: a client receives the events of a long run in several writes. Of one query: each row
# has the events of a step, or of a part of a second.
MAX_EVENTS, MAX_ROWS = 1_000, 20
# A reader that received nothing else receives an empty list after this time.
IDLE_SECONDS = 15.0

SETTLING_STEP_SECONDS = 0.3
# Between the attempts to read while the database is not available.
OUTAGE_DELAYS_SECONDS = (1.0,) * 60
_ENDED_FOR = ExpressionWrapper(Now() - F("finished_at"), output_field=DurationField())
# Another process has ended the run.
_ABRUPT = {
    StopReason.CANCELLED_BY_CALLER,
    StopReason.CANCELLED_BY_OPERATOR,
    StopReason.WORKER_LOST,
    StopReason.INTERNAL_ERROR,
}

Queue = SimpleQueue[Event | None]


def follow(
    execution_id: uuid.UUID, after: int = -1, queue: Queue | None = None
) -> Iterator[list[Event]]:
    """Yield the events of an execution with a number above `after`, as they happen.

    They end with those of its end, or of the moment at which it waits for approvals.

    Each list has all that are there at the time, up to `MAX_EVENTS`. It is empty when there was no event for
    `IDLE_SECONDS`.
    Holds no database connection between the events. `queue` has the events of a run that this process has
    just started. Raises Execution.DoesNotExist, and DatabaseError after a long outage.
    """
    number, sent_at, is_local = after, time.monotonic(), queue is not None
    with notices.noticed(execution_id) as notice:
        while True:
            notice.clear()
            read = partial(_read, execution_id, number, settles=not is_local)
            events, is_over = with_retries(read, OUTAGE_DELAYS_SECONDS)
            if events:
                number, sent_at = events[-1].number, time.monotonic()
                yield events
            if is_over:
                return
            if len(events) == MAX_EVENTS:
                continue
            if queue is not None:
                for events in _queued(queue, number):
                    number = events[-1].number if events else number
                    sent_at = time.monotonic()
                    yield events
                queue = None
                continue
            notices.wait(notice)
            if time.monotonic() - sent_at >= IDLE_SECONDS:
                sent_at = time.monotonic()
                yield []


def _read(execution_id: uuid.UUID, after: int, *, settles: bool) -> tuple[list[Event], bool]:
    """Return the next events after a number, up to `MAX_EVENTS`, and whether the stream ends with them.

    With `settles`, waits for what the process of the run may still store. Raises DatabaseError.
    """
    try:
        while True:
            execution = Execution.objects.annotate(ended_for=_ENDED_FOR).get(pk=execution_id)
            if not (settles and _is_settling(execution)):
                events = [*islice(available(execution, after), MAX_EVENTS)]
                is_whole = len(events) < MAX_EVENTS or events[-1].type == _last_type(execution)
                return events, is_whole and execution.status not in Execution.ACTIVE
            connection.close()
            time.sleep(SETTLING_STEP_SECONDS)
    finally:
        # A stream waits, for the next event or for its client.
        connection.close()


def _is_settling(execution: Execution) -> bool:
    """Return whether the process that ran the execution may still store what it has sent."""
    ended_for: timedelta | None = execution.ended_for  # type: ignore[attr-defined]
    is_abrupt = execution.is_streamed and execution.stop_reason in _ABRUPT
    return is_abrupt and ended_for is not None and ended_for < SETTLING


def _queued(queue: Queue, after: int) -> Iterator[list[Event]]:
    """Yield the events of a queue with a number above `after`, as `follow` does."""
    is_over = False
    while not is_over:
        events: list[Event] = []
        with suppress(Empty):
            event = queue.get(timeout=IDLE_SECONDS)
            # The clients of a busy process receive several events at once.
            while event is not None:
                events.append(event)
                if len(events) == MAX_EVENTS:
                    break
                event = queue.get_nowait()
            else:
                is_over = True
        found = [event for event in events if event.number > after]
        if found or not (events or is_over):
            yield found


def available(execution: Execution, after: int = -1) -> Iterator[Event]:
    """Yield the events that an execution has now, with a number above `after`."""
    first = _first_events(execution)
    yield from first[after + 1 :]
    number, is_waiting = len(first), False
    for event in _item_events(execution, number, after):
        number, is_waiting = event.number + 1, is_request(event)
        if event.number > after:
            yield event
    if execution.status not in Execution.ACTIVE:
        # A client may have received the last event of the time in which the run waited.
        has_waited = is_waiting and execution.status != Execution.Status.REQUIRES_ACTION
        is_repeated = has_waited or _has_other_numbers(execution)
        for event in _last_events(execution, number):
            if event.number > after or is_repeated:
                yield event


def _has_other_numbers(execution: Execution) -> bool:
    """Return whether a client may have received events with higher numbers than there are now.

    Its server had not stored them when it was killed, or they were deleted since.
    """
    was_lost = execution.stop_reason == StopReason.WORKER_LOST
    ended_at = execution.finished_at
    return was_lost or (
        execution.is_streamed and ended_at is not None and ended_at < timezone.now() - KEPT
    )


def first_events_count(*, background: bool) -> int:
    """Return the number of events before those of the items."""
    return 3 if background else 2


def _first_events(execution: Execution) -> list[Event]:
    is_queued, is_started = execution.background, execution.started_at is not None
    names = ["created", "queued"] if is_queued else ["created"]
    names += ["in_progress"] if is_started or not is_queued else []
    status = "queued" if is_queued else "in_progress"
    return [
        Event.of(
            number,
            f"response.{name}",
            response=response_object(
                execution, status="in_progress" if name == "in_progress" else status
            ),
        )
        for number, name in enumerate(names)
    ]


def _last_events(execution: Execution, number: int) -> Iterator[Event]:
    if execution.status == Execution.Status.FAILED:
        # Not nested in `error`, as in the specification: OpenAI's SDKs would raise it and read no further.
        yield Event.of(number, "error", **error_object(execution), param=None)
        number += 1
    steps = recorded_steps(execution.pk)
    items = output_items(execution, steps, requests(execution.pk, steps))
    response = response_object(execution, items)
    yield Event.of(number, _last_type(execution), response=response)


def _last_type(execution: Execution) -> str:
    return f"response.{STATUSES[execution.status]}"


def _item_events(execution: Execution, number: int, after: int) -> Iterator[Event]:
    """Yield the events of the output items: at least those with a number above `after`, and the last one."""
    if execution.is_streamed:
        is_stored = False
        for event in stored_events(execution.pk, after):
            is_stored = True
            yield event
        if is_stored or execution.status in Execution.UNFINISHED:
            return
    items = ItemEvents(execution.pk, number, execution.output_schema)
    steps = local_steps(execution, recorded_steps(execution.pk, with_running=True))
    approvals = requests(execution.pk, steps)
    for part in output_parts(steps, approvals):
        if isinstance(part, Approval):
            yield from items.request(part)
            continue
        yield from _resumed(execution, items)
        for piece in words(part.output) if _is_in_words(execution, part) else ():
            yield from items.text(piece)
        yield from items.step(part)
    if all(approval.decided_at for approval in approvals):
        yield from _resumed(execution, items)


def _resumed(execution: Execution, items: ItemEvents) -> Iterator[Event]:
    return items.resume(response_object(execution, status="in_progress"))


def _is_in_words(execution: Execution, step: Step) -> bool:
    """Return whether the text is sent in words: the mock's, whose events are not stored."""
    return execution.provider == "mock" and step.kind == "model"


def stored_events(execution_id: uuid.UUID, after: int = -1) -> Iterator[Event]:
    """Yield the stored events, from the batch on that has the one after `after`, or the last batch."""
    batches = EventBatch.objects.filter(execution_id=execution_id)
    start = batches.filter(first_number__lte=after + 1).aggregate(max=Max("first_number"))
    found = batches.order_by("first_number").values_list("first_number", "events")
    number, row_count = start["max"] or 0, MAX_ROWS
    while row_count == MAX_ROWS:
        rows = [*found.filter(first_number__gte=number)[:MAX_ROWS]]
        for first_number, lines in rows:
            for number, data in enumerate(lines.split("\n"), first_number):
                yield Event.of_data(number, data)
        number, row_count = number + 1, len(rows)


def delete_expired() -> None:
    """Delete the events of runs that have ended long ago. Raises DatabaseError."""
    expired = EventBatch.objects.filter(
        created_at__lt=Now() - KEPT, execution__finished_at__lt=Now() - KEPT
    )
    execution_ids = {*expired.order_by("created_at").values_list("execution_id", flat=True)[:BATCH]}
    EventBatch.objects.filter(execution_id__in=execution_ids).delete()
