"""Recovery of lost runs: executions whose lease has expired, because their process ended or stood still.

Every process calls `recover_lost_runs` regularly; the command `recover_lost_runs` does it once.
"""

import logging
import uuid
from datetime import timedelta

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, TextField
from django.db.models.functions import Cast, Now
from procrastinate.contrib.django.models import ProcrastinateJob

from executions.endings import end
from executions.jobs import leases
from executions.jobs.queue import enqueue, requeue
from executions.models import Execution
from executions.stop_reasons import StopReason
from map_project.usage.counters import LEASES_EXPIRED, increase

logger = logging.getLogger("map.runs")

# A run that is lost in this attempt fails.
MAX_ATTEMPTS = 3
# Of one call. The next one, a few seconds later, finds the rest.
BATCH = 500
# For runs that a process of an earlier release has started, which have no lease.
GRACE_PERIOD = timedelta(seconds=10)
# A worker that lives has written its heartbeat, every 10 s, and started the jobs that it has fetched.
STALLED_AFTER = timedelta(seconds=30)

_EXPIRED = Q(lease_expires_at__lt=Now()) | Q(
    lease_expires_at=None, finish_by__lt=Now() - GRACE_PERIOD
)


def recover_lost_runs() -> int:
    """Queue or end each lost run, and return their number. Raises DatabaseError.

    A background run, or one that has waited for approvals, continues in another process, unless it was
    interrupted in a tool call that must not be repeated, or in its last attempt. Other runs fail.
    """
    lost = leases.running().filter(_EXPIRED).values_list("pk", flat=True)[:BATCH]
    return sum(_release(execution_id, _EXPIRED, charged=True) for execution_id in lost)


def hand_back() -> int:
    """Queue or end the runs in progress in this process, which is about to end. Return their number.

    The attempts are not counted.
    """
    own = Q(lease_owner=leases.owner())
    return sum(_release(execution_id, own, charged=False) for execution_id in leases.in_progress())


def _release(execution_id: uuid.UUID, condition: Q, *, charged: bool) -> bool:
    """Queue a running execution again, or end it. Return False if the condition does not hold any more."""
    with transaction.atomic():
        rows = leases.running().filter(condition, pk=execution_id)
        execution = rows.select_for_update(no_key=True, skip_locked=True).first()
        if execution is None:
            return False
        if charged:
            increase(LEASES_EXPIRED)
        attempt = execution.attempt if charged else execution.attempt - 1
        can_continue = attempt - _waits(execution) < MAX_ATTEMPTS and _can_continue(execution)
        if can_continue:
            requeue(execution, attempt=attempt)
        else:
            end(
                execution,
                status=Execution.Status.FAILED,
                stop_reason=StopReason.WORKER_LOST,
                error_code="WORKER_LOST",
            )
    logger.warning(
        "run %s of %s %s",
        execution_id,
        execution.lease_owner or "a former release",
        "is queued again" if can_continue else "failed: it cannot be continued",
    )
    return True


def _can_continue(execution: Execution) -> bool:
    """Return whether another process can continue the run: no call may have been made twice."""
    unknown = execution.steps.filter(is_running=True, idempotent=False)
    # A worker runs the later attempts of a foreground run.
    in_background = execution.background or execution.attempt > 1
    return in_background and not unknown.exists()


def _waits(execution: Execution) -> int:
    """Return how many attempts have ended because the run waited for approvals. They are not counted."""
    return execution.approvals.order_by().values("attempt").distinct().count()


def enqueue_lost_jobs() -> int:
    """Add a job for each execution that is queued but whose job is gone. Return their number.

    A worker that is killed may have fetched a job before it started the execution. Runs that wait for a slot
    have no job (`executions.jobs.slots`).
    """
    alive = Q(worker__last_heartbeat__gt=Now() - STALLED_AFTER)
    ProcrastinateJob.objects.filter(~alive, status="doing").delete()
    jobs = ProcrastinateJob.objects.filter(queueing_lock=Cast(OuterRef("pk"), TextField()))
    orphans = Execution.objects.filter(
        ~Exists(jobs),
        status=Execution.Status.QUEUED,
        awaits_slot=False,
        created_at__lt=Now() - STALLED_AFTER,
    )
    found = [*orphans.values_list("pk", flat=True)[:BATCH]]
    for execution_id in found:
        enqueue(execution_id)
    return len(found)
