"""Decisions about tool calls. The API and the admin call `decide`."""

import uuid

from django.db import transaction
from django.db.models import BigIntegerField, F, QuerySet, Value
from django.db.models.functions import Cast, Extract, Now

from executions.endings import end
from executions.errors import ApprovalDecided, ApprovalExpired
from executions.jobs.queue import enqueue
from executions.models import Approval, Execution
from executions.stop_reasons import StopReason

OPERATOR = "operator"
# Of one call of `end_expired`.
BATCH = 500


def decide(*, approval: Approval, approve: bool, reason: str, decided_by: str) -> bool:
    """Store the decision about a call, and update `approval`. Return False if it was the same before.

    After the last decision about the calls of a response, a worker continues the run.
    Raises ApprovalDecided if the decision was the other one, and ApprovalExpired.
    """
    status = Approval.Status.APPROVED if approve else Approval.Status.DECLINED
    is_new = _decide(approval, status, reason, decided_by)
    approval.refresh_from_db()
    if approval.status == status:
        return is_new
    if approval.status in {Approval.Status.APPROVED, Approval.Status.DECLINED}:
        raise ApprovalDecided.of(approval.pk, approval.status)
    _end_expired(approval.execution_id)
    raise ApprovalExpired(approval_id=str(approval.pk))


@transaction.atomic
def _decide(approval: Approval, status: Approval.Status, reason: str, decided_by: str) -> bool:
    # Locked, so that of two decisions about the same run, the later one finds the other.
    execution = Execution.objects.filter(pk=approval.execution_id)
    execution.select_for_update(no_key=True).values_list("pk").first()
    approvals = Approval.objects.filter(execution_id=approval.execution_id)
    pending = approvals.filter(status=Approval.Status.PENDING)
    is_new = pending.filter(pk=approval.pk, expires_at__gt=Now()).update(
        status=status, reason=reason, decided_by=decided_by, decided_at=Now()
    )
    if is_new and not pending.exists():
        _continue(execution, approval)
    return bool(is_new)


def _continue(execution: QuerySet[Execution], approval: Approval) -> None:
    """Queue a run that waits, in the current transaction. Its row must be locked."""
    waited_ms = Extract(Now() - Value(approval.created_at), "epoch") * 1000
    execution.update(
        status=Execution.Status.QUEUED,
        waited_ms=F("waited_ms") + Cast(waited_ms, BigIntegerField()),
    )
    enqueue(approval.execution_id)


def end_expired() -> int:
    """End the runs that have waited for too long. Return their number. Raises DatabaseError."""
    rows = _expired().order_by("expires_at").values_list("execution_id", flat=True)[:BATCH]
    return sum(_end_expired(execution_id) for execution_id in {*rows})


def _expired() -> QuerySet[Approval]:
    return Approval.objects.filter(status=Approval.Status.PENDING, expires_at__lte=Now())


@transaction.atomic
def _end_expired(execution_id: uuid.UUID) -> bool:
    """End a run that waits for an approval that has expired. Return False if there is none."""
    waiting = Execution.objects.filter(pk=execution_id, status=Execution.Status.REQUIRES_ACTION)
    execution = waiting.select_for_update(no_key=True).first()
    if execution is None or not _expired().filter(execution_id=execution_id).exists():
        return False
    end(
        execution,
        status=Execution.Status.INCOMPLETE,
        stop_reason=StopReason.APPROVAL_EXPIRED,
    )
    return True
