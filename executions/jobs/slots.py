"""Background runs of tenants that limit their concurrent runs.

A run that finds no free slot stays queued without a job. It gets one when a run of its tenant ends, and every
few seconds in case that the process of that run has ended.
"""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import transaction
from django.db.models import QuerySet

from executions.jobs.queue import enqueue
from executions.models import Execution
from map_project.tenants.models import Tenant
from ratelimit import leases
from ratelimit.limiter import Lease, default_limiter


@contextmanager
def slot(execution_id: uuid.UUID, tenant: Tenant) -> Iterator[bool]:
    """Hold a slot during the block. Yields False if none is free; the run then waits for one.

    Raises LimiterUnavailable and DatabaseError.
    """
    if tenant.max_concurrent_runs is None:
        yield True
        return
    # Not by the execution: another job for it would free this slot.
    lease = Lease(tenant.pk, uuid.uuid4().hex, has_slot=True)
    limiter, slots = default_limiter(), tenant.max_concurrent_runs
    if not limiter.take_slot(tenant.pk, slots=slots, token=lease.token):
        _waiting(tenant.pk, False).filter(pk=execution_id).update(awaits_slot=True)
        yield False
        return
    leases.hold(lease)
    try:
        yield True
    finally:
        leases.release(lease)
        _enqueue_oldest(tenant.pk, 1)


def enqueue_waiting_runs() -> None:
    """Add jobs for the oldest runs that wait for a slot. They wait again if there is none."""
    waiting = Execution.objects.filter(status=Execution.Status.QUEUED, awaits_slot=True)
    for tenant in Tenant.objects.filter(pk__in=waiting.values("tenant_id")):
        _enqueue_oldest(tenant.pk, tenant.max_concurrent_runs)


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
