"""The history of a tenant at any length and any depth, exactly.

It only grows, and only at its end: an execution gets its time from the database as it is inserted, be
it once the run is over or, where it leaves the process, as it begins.
Two things follow, and make the usual costs of a long list small:

- What is older than any insert can still be under way is closed, and its count never changes. It is
  counted once, and then only what came since.
- A deep page is found by its first row's place in the index, and read from there on; skipping rows
  whole, as a plain OFFSET does, costs twenty times as much.
"""

import time
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import orjson
from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import Count, DateTimeField, ExpressionWrapper, F, OuterRef, Q, QuerySet
from django.db.models.functions import JSONObject, Now

from executions.models import Execution, Step
from map_project.postgresql.compiled import Compiled, Row, Rows

# Longer than a statement may take: an insert that began before is committed by now, or never will be.
CLOSED_AFTER = timedelta(seconds=10)
# A count of what is closed is believed for so long, and for so many times what it took to make: rows
# that an operator writes into the past, or deletes, show then at the latest.
_BELIEVED_SECONDS = 5.0
_BELIEVED_TIMES = 50
_BELIEVED_TENANTS = 10_000
# Up to here a plain OFFSET is one statement, and as fast.
_SHALLOW_ROWS = 500


_ANSWERED = (
    "id",
    "agent_id",
    "agent_name",
    "prompt",
    "model",
    "response",
    "status",
    "created_at",
)


def answered(executions: QuerySet[Execution]) -> QuerySet[Execution, Any]:
    """As `ExecutionSerializer` would answer them."""
    found: QuerySet[Execution, Any] = executions.values(*_ANSWERED)
    return found


def _of(tenant_id: uuid.UUID) -> QuerySet[Execution]:
    return Execution.objects.filter(tenant_id=tenant_id)


_STEP = (
    "kind",
    "name",
    "input",
    "output",
    "input_tokens",
    "output_tokens",
    "latency_ms",
    "error",
)
_STEPS = (
    Step.objects.filter(execution=OuterRef("pk"))
    .order_by("position")
    .values(step=JSONObject(**{column: column for column in _STEP}))
)


def _whole(executions: QuerySet[Execution]) -> QuerySet[Execution, Any]:
    """As `WholeExecutionSerializer` would answer them, but for what `_presented` does."""
    found: QuerySet[Execution, Any] = executions.values(
        *_ANSWERED,
        "stop_reason",
        "error_code",
        "provider",
        "input_tokens",
        "output_tokens",
        "cost_usd",
        "latency_ms",
        "system_prompt",
        step_rows=ArraySubquery(_STEPS),
    )
    return found


def _presented(row: Row) -> Row:
    steps = [orjson.loads(step) for step in row.pop("step_rows")]
    cost = row["cost_usd"]
    return {
        **row,
        "stop_reason": row["stop_reason"] or None,
        "error_code": row["error_code"] or None,
        "cost_usd": None if cost is None else f"{cost.normalize():f}",
        # PostgreSQL orders the keys of an object its own way.
        "steps": [
            {column: step[column] for column in _STEP} | {"error": step["error"] or None}
            for step in steps
        ],
    }


ONE = Compiled(
    lambda tenant_id, pk: _whole(_of(tenant_id).filter(pk=pk).order_by()),
    _presented,
    tenant_id=uuid.UUID,
    pk=uuid.UUID,
)
_ALL = Compiled(lambda tenant_id: answered(_of(tenant_id)), tenant_id=uuid.UUID)
_PLACES = Compiled(lambda tenant_id: _of(tenant_id).values("created_at", "id"), tenant_id=uuid.UUID)
_FROM_PLACE = Compiled(
    lambda tenant_id, created_at, pk: answered(
        _of(tenant_id).filter(
            Q(created_at__lt=created_at) | Q(created_at=created_at, pk__lte=pk),
            # Says nothing new, but lets the index begin at the right place.
            created_at__lte=created_at,
        )
    ),
    tenant_id=uuid.UUID,
    created_at=datetime,
    pk=uuid.UUID,
)
# One row, or none where nothing is closed: how much, and before when.
_CLOSED = Compiled(
    lambda tenant_id: (
        _of(tenant_id)
        .order_by()
        .annotate(before=ExpressionWrapper(Now() - CLOSED_AFTER, DateTimeField()))
        .filter(created_at__lt=F("before"))
        .values("before")
        .annotate(count=Count("*"))
    ),
    tenant_id=uuid.UUID,
)
_SINCE = Compiled(
    lambda tenant_id, since: _of(tenant_id).filter(created_at__gte=since).values("id"),
    tenant_id=uuid.UUID,
    since=datetime,
)


class History(Rows):
    """All executions of a tenant, the newest first; counted and sliced as a queryset is."""

    def __init__(self, tenant_id: uuid.UUID) -> None:
        super().__init__(_ALL, {"tenant_id": tenant_id})

    def __getitem__(self, part: slice) -> list[Row]:
        if part.start <= _SHALLOW_ROWS:
            return super().__getitem__(part)
        place = next(iter(_PLACES(**self.parameters)[part.start : part.start + 1]), None)
        if place is None:
            return []
        rows = _FROM_PLACE(**self.parameters, created_at=place["created_at"], pk=place["id"])
        return rows[0 : part.stop - part.start]

    def count(self) -> int:
        tenant_id: Any = self.parameters["tenant_id"]
        closed = _closed.get(tenant_id)
        if closed is None or closed.believed_until < time.monotonic():
            return _count_anew(tenant_id)
        return closed.total(tenant_id)


@dataclass(frozen=True, slots=True)
class _Closed:
    """How many executions there are `before` a time that no insert can still precede."""

    before: datetime
    count: int
    believed_until: float

    def total(self, tenant_id: uuid.UUID) -> int:
        """With what came since."""
        return self.count + _SINCE(tenant_id=tenant_id, since=self.before).count()


_closed: dict[uuid.UUID, _Closed] = {}


def _count_anew(tenant_id: uuid.UUID) -> int:
    """The whole count, of which what is closed is kept."""
    started = time.monotonic()
    closed = _CLOSED(tenant_id=tenant_id).first()
    if closed is None:
        return _ALL(tenant_id=tenant_id).count()
    ended = time.monotonic()
    believed = max(_BELIEVED_SECONDS, _BELIEVED_TIMES * (ended - started))
    if len(_closed) >= _BELIEVED_TENANTS:
        _closed.clear()
    _closed[tenant_id] = _Closed(**closed, believed_until=ended + believed)
    return _closed[tenant_id].total(tenant_id)
