"""The state of the queue of background runs, for the dashboard."""

from dataclasses import dataclass
from datetime import datetime

from executions.display import duration
from executions.jobs.queue_state import queue_state


@dataclass(frozen=True, slots=True)
class Queue:
    """Numbers of background runs and of workers. `oldest` is the age of the oldest queued run, or ""."""

    queued: int
    oldest: str
    running: int
    workers: int

    @property
    def is_stuck(self) -> bool:
        """Whether runs wait and no worker can start them."""
        return bool(self.queued) and not self.workers


def queue(now: datetime) -> Queue:
    """Read the state of the queue."""
    state = queue_state(now)
    age = state.oldest_age
    return Queue(
        queued=state.queued,
        oldest="" if age is None else duration(1000 * age.total_seconds()),
        running=state.running,
        workers=state.workers,
    )
