"""The state of the queue of background runs, for the dashboard and for monitoring."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Count, Min, Q
from procrastinate.contrib.django.models import ProcrastinateWorker

from executions.models import Execution

# A worker writes its heartbeat every 10 s.
_HEARTBEAT = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class QueueState:
    """Numbers of background runs and of workers. `oldest_age` is that of the oldest queued run."""

    queued: int
    oldest_age: timedelta | None
    running: int
    workers: int


def queue_state(now: datetime) -> QueueState:
    """Read the state of the queue. Raises DatabaseError."""
    queued, running = Q(status=Execution.Status.QUEUED), Q(status=Execution.Status.RUNNING)
    # The condition of the index `execution_unfinished`.
    active = Execution.objects.filter(status__in=Execution.ACTIVE).order_by()
    found = active.aggregate(
        queued=Count("pk", filter=queued),
        oldest=Min("created_at", filter=queued),
        running=Count("pk", filter=running & Q(background=True)),
    )
    return QueueState(
        queued=found["queued"],
        oldest_age=max(now - found["oldest"], timedelta()) if found["oldest"] else None,
        running=found["running"],
        workers=ProcrastinateWorker.objects.filter(last_heartbeat__gt=now - _HEARTBEAT).count(),
    )
