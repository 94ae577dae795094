"""The pagination of the history: exact totals and pages at any length and offset.

Executions are only ever appended: the database sets `created_at` when it inserts a row. So the number of rows
before a time that no running insert can still precede (closed rows) does not change, and is cached.
"""

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

from django.db.models import Count, Max, Prefetch, QuerySet
from django.db.models.functions import Now

from executions.models import Execution, Step
from map_project.api.pagination import StrictPagination
from map_project.tenants.authentication import Caller

# Longer than `statement_timeout`: an insert that began before has been committed or cancelled.
CLOSED_AFTER = timedelta(seconds=10)
# How long a count of closed rows is cached: in seconds, and as a multiple of the time that it took to count.
# Rows that an operator deletes, or inserts with an earlier time, change the total after this time.
CACHE_TTL_SECONDS = 5.0
CACHE_TTL_FACTOR = 50
CACHE_SIZE = 10_000
# Up to this offset, one statement with a plain OFFSET is as fast.
MAX_PLAIN_OFFSET = 500
# The steps in an execution. All steps are in `/history/{id}/steps`.
MAX_STEPS_SHOWN = 100


def with_steps(executions: QuerySet[Execution]) -> QuerySet[Execution]:
    """Add the first steps in their order, with one query."""
    # The default order of `Step` would join the executions.
    steps = Step.objects.filter(position__lt=MAX_STEPS_SHOWN).order_by("position")
    return executions.prefetch_related(Prefetch("steps", steps))


class HistoryPagination(StrictPagination):
    """Pagination of the executions of the caller's tenant, the newest first.

    The queryset has the default order, and `created_at` in its `.values()`.
    """

    def get_page(self, queryset: QuerySet[Execution, Any], start: int, stop: int) -> list[Any]:
        if start > MAX_PLAIN_OFFSET:
            # The ids come from the index alone. OFFSET on whole rows reads each skipped row from the table.
            ids = queryset.values("pk")[start:stop]
            return list(queryset.filter(pk__in=ids))
        return super().get_page(queryset, start, stop)

    def get_total(self, queryset: QuerySet[Execution, Any], page: Sequence[Any]) -> int:
        caller = cast(Caller, self.request.auth)
        times = [row["created_at"] for row in page] if self.offset == 0 else []
        return count_executions(caller.tenant_id, newest=times)


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
