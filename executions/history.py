"""The pagination of the history: exact totals and deep pages at any length.

The history only grows, and only at its end: an execution gets its `created_at` from the database when it is
inserted. So the number of executions before a time that no running insert can still precede never changes.
It is counted once and cached; later totals count only the executions since then. A deep page is located by
the index alone and read from there; a plain OFFSET reads all rows that it skips, which takes 20 times longer.
"""

import time
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

from django.db.models import Count, DateTimeField, ExpressionWrapper, F, Q, QuerySet
from django.db.models.functions import Now

from executions.models import Execution
from map_project.api.pagination import StrictPagination
from map_project.tenants.authentication import Caller

# Longer than `statement_timeout`: an insert that began before has been committed or cancelled.
CLOSED_AFTER = timedelta(seconds=10)
# How long a count is cached, and how many times as long as it took. Afterwards it also reflects rows that an
# operator has inserted with an earlier time or deleted.
_CACHE_TTL_SECONDS = 5.0
_CACHE_TTL_FACTOR = 50
_CACHE_SIZE = 10_000
# Up to this offset, one statement with OFFSET is as fast.
_SHALLOW_OFFSET = 500


class HistoryPagination(StrictPagination):
    """Pagination of the executions of one tenant, the newest first."""

    def get_page(self, queryset: QuerySet[Execution, Any], start: int, stop: int) -> list[Any]:
        if start <= _SHALLOW_OFFSET:
            return super().get_page(queryset, start, stop)
        first = queryset.values_list("created_at", "id")[start : start + 1].first()
        if first is None:
            return []
        return super().get_page(executions_from(queryset, *first), 0, stop - start)

    def get_total(self, queryset: QuerySet[Execution, Any]) -> int:
        caller = cast(Caller, self.request.auth)
        return count_executions(caller.tenant_id)


def executions_from(
    queryset: QuerySet[Execution, Any], created_at: datetime, pk: uuid.UUID
) -> QuerySet[Execution, Any]:
    """Return the executions from this place on, in the order of the history."""
    return queryset.filter(
        Q(created_at__lt=created_at) | Q(created_at=created_at, pk__lte=pk),
        # Implied by the first condition, but lets the index scan begin at the right place.
        created_at__lte=created_at,
    )


@dataclass(frozen=True, slots=True)
class _ClosedCount:
    """The number of executions before a time that no insert can precede any more."""

    before: datetime
    count: int
    expires_at: float


_closed_counts: dict[uuid.UUID, _ClosedCount] = {}


def count_executions(tenant_id: uuid.UUID) -> int:
    """Return the exact number of executions of a tenant."""
    executions = Execution.objects.filter(tenant_id=tenant_id)
    closed = _closed_counts.get(tenant_id)
    if closed is None or closed.expires_at < time.monotonic():
        closed = _count_closed(executions)
        if closed is None:
            return executions.count()
        if len(_closed_counts) >= _CACHE_SIZE:
            _closed_counts.clear()
        _closed_counts[tenant_id] = closed
    return closed.count + executions.filter(created_at__gte=closed.before).count()


def _count_closed(executions: QuerySet[Execution]) -> _ClosedCount | None:
    """Return None if there is no execution before that time."""
    started = time.monotonic()
    row = next(iter(closed_counts(executions)), None)
    if row is None:
        return None
    ended = time.monotonic()
    ttl_seconds = max(_CACHE_TTL_SECONDS, _CACHE_TTL_FACTOR * (ended - started))
    return _ClosedCount(row["before"], row["count"], ended + ttl_seconds)


def closed_counts(executions: QuerySet[Execution]) -> QuerySet[Execution, Any]:
    """Return a query for one row, `before` and `count`, on the clock of the database."""
    return (
        executions.order_by()
        .annotate(before=ExpressionWrapper(Now() - CLOSED_AFTER, DateTimeField()))
        .filter(created_at__lt=F("before"))
        .values("before")
        .annotate(count=Count("*"))
    )
