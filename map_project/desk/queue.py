"""The state of the queue of background runs, for the dashboard."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Count, Min, Q
from procrastinate.contrib.django.models import ProcrastinateWorker

from executions.display import duration
from executions.models import Execution

# A worker writes its heartbeat every 10 s.
_HEARTBEAT = timedelta(seconds=30)


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
    queued, running = Q(status=Execution.Status.QUEUED), Q(status=Execution.Status.RUNNING)
    # The condition of the index `execution_unfinished`.
    active = Execution.objects.filter(status__in=Execution.ACTIVE).order_by()
    found = active.aggregate(
        queued=Count("pk", filter=queued),
        oldest=Min("created_at", filter=queued),
        running=Count("pk", filter=running & Q(background=True)),
    )
    age = now - found["oldest"] if found["oldest"] else timedelta()
    return Queue(
        queued=found["queued"],
        oldest=duration(1000 * max(age.total_seconds(), 0)) if found["oldest"] else "",
        running=found["running"],
        workers=ProcrastinateWorker.objects.filter(last_heartbeat__gt=now - _HEARTBEAT).count(),
    )
