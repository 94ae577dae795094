"""The rest of a streamed run, which this process makes in a thread of its own.

The pace of the run does not depend on its client, which may read slowly, or disconnect.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from queue import SimpleQueue

from django.db import connection

from executions.attempts import run_loop
from executions.events.items import Event, ItemEvents
from executions.events.reading import first_events_count
from executions.events.recording import RunEvents
from executions.inserts import RunRequest
from executions.jobs import leases
from executions.providers import ModelRequest, Provider
from executions.records import RunRecord

logger = logging.getLogger("map.runs")


@dataclass(slots=True)
class RunStream:
    """A streamed run whose execution has been stored. `queue` receives its events, and None at the end."""

    request: RunRequest
    provider: Provider
    model_request: ModelRequest
    record: RunRecord
    queue: "SimpleQueue[Event | None]" = field(default_factory=SimpleQueue)
    events: RunEvents = field(init=False)

    def __post_init__(self) -> None:
        number = first_events_count(background=False)
        items = ItemEvents(self.record.execution_id, number, self.request.output_schema)
        self.events = RunEvents(items.execution_id, self.record.attempt, items, self.queue)
        self.record.events = self.events

    def start(self, on_end: Callable[[], None]) -> threading.Thread:
        """Run in a thread, which calls `on_end` at its end, and return the thread."""
        thread = threading.Thread(target=self._run, args=(on_end,), name="run", daemon=True)
        thread.start()
        return thread

    def _run(self, on_end: Callable[[], None]) -> None:
        execution_id = self.record.execution_id
        try:
            with self.events, leases.extended(execution_id):
                self._complete()
        except leases.LeaseLost:
            logger.warning("run %s stops here: it has ended elsewhere", execution_id)
        except Exception:
            # Its execution is recovered when its lease expires.
            logger.exception("run %s stops here", execution_id)
        finally:
            connection.close()
            on_end()

    def _complete(self) -> None:
        try:
            outcome = run_loop(self.request, self.provider, self.model_request, self.record)
            self.record.finish(outcome)
        except leases.LeaseLost:
            raise
        except Exception:
            logger.exception("run %s failed", self.record.execution_id)
            self.record.fail()
