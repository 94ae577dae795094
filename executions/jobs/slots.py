"""Background runs of tenants that limit their concurrent runs, or have a budget.

A run that finds no free slot stays queued without a job. So does one whose first call of the model does not
fit into the budget because of the reservations of other runs: it must not occupy a thread of the worker. It
gets a job when a run of its tenant ends, and every few seconds in case that the process of that run is gone.
"""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import transaction
from django.db.models import QuerySet

from executions.jobs import leases
from executions.jobs.queue import enqueue
from executions.models import Execution
from executions.outcomes import RunPostponed
from map_project.tenants.models import Tenant
from ratelimit import leases as run_leases
from ratelimit.limiter import Lease, default_limiter

# Of the runs of a tenant that wait for its budget, how many try again at the same time.
BUDGETED_AT_ONCE = 20


@contextmanager
def slot(execution_id: uuid.UUID, tenant: Tenant) -> Iterator[bool]:
    """Hold a slot during the block. Yields False if none is free; the run then waits for one.

    If the block raises RunPostponed, the run is queued again. Raises LimiterUnavailable and DatabaseError.
    """
    lease = _lease_of_slot(tenant)
    if lease is None and tenant.max_concurrent_runs is not None:
        _waiting(tenant.pk, False).filter(pk=execution_id).update(awaits_slot=True)
        yield False
        return
    is_over = True
    try:
        yield True
    except RunPostponed as postponed:
        # Others are not started now: they would have to wait as well.
        is_over = False
        _postpone(execution_id, postponed.attempt)
    finally:
        if lease:
            run_leases.release(lease)
        if is_over and (lease or tenant.has_budget):
            _enqueue_oldest(tenant.pk, 1)


def _lease_of_slot(tenant: Tenant) -> Lease | None:
    """Take a slot, and return its lease, or None if none is free or the tenant does not limit its runs."""
    if tenant.max_concurrent_runs is None:
        return None
    # Not by the execution: another job for it would free this slot.
    lease = Lease(tenant.pk, uuid.uuid4().hex, has_slot=True)
    slots = tenant.max_concurrent_runs
    if not default_limiter().take_slot(tenant.pk, slots=slots, token=lease.token):
        return None
    run_leases.hold(lease)
    return lease


def _postpone(execution_id: uuid.UUID, attempt: int) -> None:
    """Queue a run that has made no call again. The attempt is not counted."""
    leases.held(execution_id, attempt).update(
        status=Execution.Status.QUEUED,
        attempt=attempt - 1,
        lease_owner="",
        lease_expires_at=None,
        started_at=None,
        awaits_slot=True,
    )


def enqueue_waiting_runs() -> None:
    """Add jobs for the oldest runs that wait for a slot or a budget. They wait again if there is none."""
    waiting = Execution.objects.filter(status=Execution.Status.QUEUED, awaits_slot=True)
    for tenant in Tenant.objects.filter(pk__in=waiting.values("tenant_id")):
        count = BUDGETED_AT_ONCE if tenant.has_budget else None
        _enqueue_oldest(tenant.pk, tenant.max_concurrent_runs or count)


def _enqueue_oldest(tenant_id: uuid.UUID, count: int | None) -> None:
    with transaction.atomic():
        oldest = _waiting(tenant_id, True).order_by("created_at")
        rows = oldest.select_for_update(no_key=True, skip_locked=True).values_list("pk", flat=True)
        execution_ids = [*rows[:count]]
        Execution.objects.filter(pk__in=execution_ids).update(awaits_slot=False)
        for execution_id in execution_ids:
            enqueue(execution_id)


def _waiting(tenant_id: uuid.UUID, awaits_slot: bool) -> QuerySet[Execution]:
    return Execution.objects.filter(
        tenant_id=tenant_id, status=Execution.Status.QUEUED, awaits_slot=awaits_slot
    )
