"""Exact totals of the history, and bounded ones of filtered lists.

Executions are only ever appended: the database sets `created_at` when it inserts a row. So the number of rows
before a time that no running insert can still precede (closed rows) does not change, and is cached.
"""

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count, Max, QuerySet
from django.db.models.functions import Now

from executions.models import Execution

# Longer than `statement_timeout`: an insert that began before has been committed or cancelled.
CLOSED_AFTER = timedelta(seconds=10)
# How long a count of closed rows is cached: in seconds, and as a multiple of the time that it took to count.
# Rows that an operator deletes, or inserts with an earlier time, change the total after this time.
CACHE_TTL_SECONDS = 5.0
CACHE_TTL_FACTOR = 50
CACHE_SIZE = 10_000
# More matching executions than this are not counted.
MAX_COUNTED = 10_000


@dataclass(frozen=True, slots=True)
class _ClosedCount:
    """The number of executions up to `until`, which no insert can change."""

    count: int
    until: datetime
    expires_at: float


_closed_counts: dict[uuid.UUID, _ClosedCount] = {}


def count_executions(tenant_id: uuid.UUID, *, newest: Sequence[datetime] = ()) -> int:
    """Return the exact number of executions of a tenant.

    `newest` are the times of the newest executions, if they are known, in descending order.
    """
    executions = Execution.objects.filter(tenant_id=tenant_id)
    closed = _closed_counts.get(tenant_id)
    if closed is None or closed.expires_at < time.monotonic():
        closed = _count_closed(executions)
        if closed is None:
            return executions.count()
        if len(_closed_counts) >= CACHE_SIZE:
            _closed_counts.clear()
        _closed_counts[tenant_id] = closed
    if newest and newest[-1] <= closed.until:
        # They reach the closed rows, so they contain all rows after them: no query is needed.
        return closed.count + sum(created_at > closed.until for created_at in newest)
    return closed.count + executions.filter(created_at__gt=closed.until).count()


def count_at_most(queryset: QuerySet[Execution, Any]) -> int | None:
    """Return the exact number of rows, or None if there are more than `MAX_COUNTED`."""
    count = queryset.values("pk")[: MAX_COUNTED + 1].count()
    return None if count > MAX_COUNTED else count


def _count_closed(executions: QuerySet[Execution]) -> _ClosedCount | None:
    """Return None if there are no closed rows. The database's clock decides which rows are closed."""
    started = time.monotonic()
    closed = executions.order_by().filter(created_at__lt=Now() - CLOSED_AFTER)
    row = closed.aggregate(count=Count("pk"), until=Max("created_at"))
    if row["until"] is None:
        return None
    ended = time.monotonic()
    ttl_seconds = max(CACHE_TTL_SECONDS, CACHE_TTL_FACTOR * (ended - started))
    return _ClosedCount(row["count"], row["until"], ended + ttl_seconds)
