"""Deletes old executions, in batches that are short transactions.

With an execution, its steps, approvals and events are deleted. The usage totals (`map_project.usage`) do not
refer to executions, and stay.
"""

import logging
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import OperationalError, connection, transaction
from django.utils import timezone

from executions.history.blocks import FIRST, Key
from executions.models import Execution
from map_project.postgresql.queries import (
    LOCK_NOT_AVAILABLE,
    AdvisoryLock,
    sqlstate,
    try_lock,
)
from map_project.tenants.models import Tenant

logger = logging.getLogger("map.runs")

# The number of executions in a batch, which is adapted to its duration.
MIN_BATCH, FIRST_BATCH, MAX_BATCH = 10, 200, 1_000
BATCH_SECONDS = 0.04
# Of the duration of a batch: how long the next one waits, so that requests have time in between.
PAUSE_RATIO = 0.5
# Locks are held for a batch at most. A batch does not wait for those of others for longer than this.
LOCK_TIMEOUT = "50ms"
# Of one call of `apply_retention`. The next one, a minute later, continues.
BUDGET_SECONDS = 10.0

_BATCH = """
SELECT id, created_at FROM executions_execution
WHERE tenant_id = %(tenant_id)s AND (created_at, id) > (%(at)s, %(id)s)
    AND created_at >= %(at)s AND created_at < %(until)s
ORDER BY created_at, id LIMIT %(limit)s
"""
# Nobody changes an execution that has ended. A locked one is left for the next call.
_ENDED = """
SELECT id FROM executions_execution
WHERE id = ANY(%s) AND status NOT IN ('queued', 'running', 'requires_action')
FOR UPDATE SKIP LOCKED
"""
_DELETES = (
    "DELETE FROM executions_step WHERE execution_id = ANY(%s)",
    "DELETE FROM executions_approval WHERE execution_id = ANY(%s)",
    "DELETE FROM executions_eventbatch WHERE execution_id = ANY(%s)",
    "DELETE FROM executions_execution WHERE id = ANY(%s)",
)
# What the context of a run that has not ended consists of: it is read again when the run continues.
_NEEDED = """
WITH RECURSIVE chain AS (
    SELECT previous_execution_id AS id FROM executions_execution
    WHERE tenant_id = %(tenant_id)s AND status IN ('queued', 'running', 'requires_action')
        AND previous_execution_id IS NOT NULL
UNION
    SELECT execution.previous_execution_id
    FROM chain JOIN executions_execution execution USING (id)
    WHERE execution.previous_execution_id IS NOT NULL
)
SELECT id FROM chain
"""
# A delivery has no text of the run, only its ID.
_DELETE_DELIVERIES = """
DELETE FROM webhooks_webhookdelivery WHERE id IN (
    SELECT delivery.id FROM webhooks_webhookendpoint endpoint, LATERAL (
        SELECT id FROM webhooks_webhookdelivery
        WHERE endpoint_id = endpoint.id AND created_at < %(until)s AND status <> 'pending'
        ORDER BY created_at, id LIMIT %(limit)s
    ) delivery
    WHERE endpoint.tenant_id = %(tenant_id)s
)
"""
# The executions that remain are in the block after those that are deleted, which has not their words.
_DELETE_BLOCKS = """
WITH deleted AS (
    DELETE FROM executions_searchblock
    WHERE tenant_id = %(tenant_id)s AND last_created_at < %(until)s RETURNING id
)
UPDATE executions_searchblock SET is_stale = true
WHERE EXISTS (SELECT FROM deleted) AND id = (
    SELECT id FROM executions_searchblock
    WHERE tenant_id = %(tenant_id)s AND last_created_at >= %(until)s
    ORDER BY last_created_at, last_id LIMIT 1
)
"""


@dataclass(frozen=True, slots=True)
class Batch:
    """What a transaction has deleted, and how long it took."""

    deleted: int
    seconds: float


def prune(tenant_id: uuid.UUID, until: datetime, *, alone: bool = False) -> Iterator[Batch]:
    """Delete the executions of a tenant that were created before a time and have ended.

    Yields after each transaction. `alone`: stops if another process does the same. Raises DatabaseError.
    """
    needed, position, size = _needed(tenant_id), FIRST, FIRST_BATCH
    while True:
        started = time.monotonic()
        try:
            found = _delete_batch(tenant_id, position, until, size, needed, alone=alone)
        except OperationalError as error:
            if sqlstate(error) != LOCK_NOT_AVAILABLE:
                raise
            # A request moves the total of the history, or a process that does has stopped.
            yield Batch(0, time.monotonic() - started)
            continue
        if found is None:
            return
        last, deleted = found
        seconds = time.monotonic() - started
        yield Batch(deleted, seconds)
        if last is None:
            break
        position = last
        size = min(max(int(size * min(BATCH_SECONDS / seconds, 2)), MIN_BATCH), MAX_BATCH)
        # Requests take the connection in the meantime.
        connection.close()
        time.sleep(seconds * PAUSE_RATIO)
    _delete_others(tenant_id, until)


def apply_retention() -> None:
    """Delete the executions that are older than the retention of their tenant. Raises DatabaseError."""
    deadline = time.monotonic() + BUDGET_SECONDS
    for tenant, until in retained_tenants():
        deleted = 0
        for batch in prune(tenant.pk, until, alone=True):
            deleted += batch.deleted
            if time.monotonic() > deadline:
                break
        if deleted:
            logger.info("%s executions of %s deleted: older than its retention", deleted, tenant.pk)


def retained_tenants() -> list[tuple[Tenant, datetime]]:
    """Return the tenants that have a retention, and the times before which it is over.

    Raises DatabaseError.
    """
    now = timezone.now()
    tenants = Tenant.objects.filter(retention_days__isnull=False).order_by("pk")
    return [(tenant, now - timedelta(days=tenant.retention_days or 0)) for tenant in tenants]


def count(tenant_id: uuid.UUID, until: datetime) -> int:
    """Return how many executions `prune` would delete. Raises DatabaseError."""
    ended = Execution.objects.filter(tenant_id=tenant_id, created_at__lt=until)
    ended = ended.exclude(status__in=Execution.UNFINISHED)
    return ended.count() - ended.filter(pk__in=_needed(tenant_id)).count()


def _needed(tenant_id: uuid.UUID) -> set[uuid.UUID]:
    with connection.cursor() as cursor:
        cursor.execute(_NEEDED, {"tenant_id": tenant_id})
        return {pk for (pk,) in cursor.fetchall()}


@transaction.atomic
def _delete_batch(
    tenant_id: uuid.UUID,
    after: Key,
    until: datetime,
    size: int,
    needed: set[uuid.UUID],
    *,
    alone: bool,
) -> tuple[Key | None, int] | None:
    """Delete the next executions. Return the position of the last one, and their number.

    Returns None if another process has precedence.
    """
    if alone and not try_lock(AdvisoryLock.PRUNE_HISTORY):
        return None
    with connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
        values: dict[str, Any] = {"tenant_id": tenant_id, "until": until, "limit": size}
        cursor.execute(_BATCH, {**values, "at": after[0], "id": after[1]})
        rows = cursor.fetchall()
        cursor.execute(_ENDED, [[pk for pk, _ in rows if pk not in needed]])
        ended = [pk for (pk,) in cursor.fetchall()]
        for statement in _DELETES if ended else ():
            cursor.execute(statement, [ended])
    return ((rows[-1][1], rows[-1][0]) if len(rows) == size else None), len(ended)


def _delete_others(tenant_id: uuid.UUID, until: datetime) -> None:
    """Delete deliveries and blocks of the search of the time before."""
    values: dict[str, Any] = {"tenant_id": tenant_id, "until": until, "limit": MAX_BATCH}
    with connection.cursor() as cursor:
        while True:
            cursor.execute(_DELETE_DELIVERIES, values)
            if cursor.rowcount == 0:
                break
        cursor.execute(_DELETE_BLOCKS, values)
