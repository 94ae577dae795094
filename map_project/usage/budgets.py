"""Budgets of tenants: what they have spent, and whether a call of a model may be made.

Spending is not counted separately. It is the cost of the ended runs of the period (`DailyCost`, and
`EndedRun` for those that are not in the totals yet) and the cost so far of unfinished runs. What calls in
progress may cost at most is reserved: a column of their running executions. So the transaction that ends an
execution, or queues it again, also ends its reservation, whichever process does this.
"""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, Literal

from django.db import OperationalError, connection

from map_project.api.texts import plain_amount, utc_text
from map_project.postgresql.queries import LOCK_NOT_AVAILABLE, fetch_rows, sqlstate
from map_project.tenants.models import DEFAULT_WARNING_PERCENT
from map_project.usage.periods import next_month

PeriodName = Literal["day", "month"]

# One statement, and so one snapshot: a run that ends meanwhile is counted exactly once. An unfinished run
# counts in the current period, and an ended one in that of its end.
_SPENDING = """
WITH clock AS MATERIALIZED (
    SELECT (STATEMENT_TIMESTAMP() AT TIME ZONE 'UTC')::date AS day,
        date_trunc('month', STATEMENT_TIMESTAMP() AT TIME ZONE 'UTC')::date AS month
), amounts AS (
    SELECT tenant_id, total.day, cost_usd, 0 AS reserved_usd
    FROM usage_dailycost total, clock
    WHERE tenant_id = ANY(%(tenant_ids)s) AND total.day >= clock.month
    UNION ALL
    SELECT tenant_id, (hour AT TIME ZONE 'UTC')::date, cost_usd, 0
    FROM usage_endedrun WHERE tenant_id = ANY(%(tenant_ids)s) AND cost_usd > 0
    UNION ALL
    SELECT tenant_id, clock.day, COALESCE(cost_usd, 0),
        CASE WHEN status = 'running' AND id IS DISTINCT FROM %(own_id)s THEN COALESCE(reserved_usd, 0)
        ELSE 0 END
    FROM executions_execution, clock
    WHERE tenant_id = ANY(%(tenant_ids)s) AND status IN ('queued', 'running', 'requires_action')
)
SELECT tenant.id, budget_warning_percent, clock.day, clock.month, budget_usd_day, budget_usd_month,
    COALESCE(sum(cost_usd) FILTER (WHERE amounts.day >= clock.day), 0) AS day_usd,
    COALESCE(sum(cost_usd) FILTER (WHERE amounts.day >= clock.month), 0) AS month_usd,
    COALESCE(sum(reserved_usd), 0) AS reserved_usd
FROM tenants_tenant tenant CROSS JOIN clock LEFT JOIN amounts ON tenant_id = tenant.id
WHERE tenant.id = ANY(%(tenant_ids)s)
GROUP BY tenant.id, clock.day, clock.month
"""
# Of the database: the number of these locks, and one lock for each hash of a tenant's ID.
_LOCK = "SELECT pg_advisory_xact_lock(7214306, hashtext(%s))"


@dataclass(frozen=True, slots=True)
class Period:
    """A budget in its current period, which is a day or a month in UTC. `spent_usd` has no reservations."""

    name: PeriodName
    starts_on: date
    resets_at: datetime
    limit_usd: Decimal
    spent_usd: Decimal

    @property
    def is_exhausted(self) -> bool:
        """Whether no money is left."""
        return self.spent_usd >= self.limit_usd

    @property
    def percent(self) -> int:
        """Percent of the budget, rounded down."""
        return int(100 * self.spent_usd / self.limit_usd) if self.limit_usd else 100

    def details(self) -> dict[str, str]:
        """Return the budget as errors and events have it."""
        return {
            "limit_usd": plain_amount(self.limit_usd),
            "spent_usd": plain_amount(self.spent_usd),
            "resets_at": utc_text(self.resets_at),
        }


@dataclass(frozen=True, slots=True)
class Spending:
    """What a tenant has spent of each of its budgets, and what calls in progress may cost at most."""

    tenant_id: uuid.UUID
    warning_percent: int
    reserved_usd: Decimal
    periods: tuple[Period, ...]

    @property
    def exhausted(self) -> Period | None:
        """Return the exhausted budget. Of both, the one that is reset later: no run starts before."""
        exhausted = [period for period in self.periods if period.is_exhausted]
        return max(exhausted, key=lambda period: period.resets_at, default=None)

    @property
    def tightest(self) -> Period:
        """Return the budget with the least money left. Raises ValueError without a budget."""
        return min(self.periods, key=lambda period: period.limit_usd - period.spent_usd)


class Decision(Enum):
    """What to do with a call of a model."""

    ADMIT = "admit"
    WAIT = "wait"  # the rest of the budget is reserved by other calls, which will cost less
    REFUSE = "refuse"


def decide(spending: Spending, estimate_usd: Decimal) -> Decision:
    """Decide about a call that costs at most `estimate_usd`.

    Calls that together fit into the budget are admitted. A call that does not fit is admitted alone, so that
    all of the money can be spent: then the budget is exceeded by less than the cost of this call.
    """
    if spending.exhausted:
        return Decision.REFUSE
    committed_usd = spending.reserved_usd + estimate_usd
    fits = all(period.spent_usd + committed_usd <= period.limit_usd for period in spending.periods)
    return Decision.ADMIT if fits or not spending.reserved_usd else Decision.WAIT


def read_spending(tenant_id: uuid.UUID, own_id: uuid.UUID | None = None) -> Spending:
    """Return the spending of a tenant, without the reservation of the execution `own_id`."""
    return read_all([tenant_id], own_id)[0]


def read_all(tenant_ids: Iterable[uuid.UUID], own_id: uuid.UUID | None = None) -> list[Spending]:
    """Return the spending of tenants. One query, without locks. Raises DatabaseError."""
    rows = fetch_rows(_SPENDING, {"tenant_ids": [*tenant_ids], "own_id": own_id})
    return [*map(_spending, rows)]


class LockTimeout(Exception):
    """Too many calls wait for the lock of a tenant."""


def lock(tenant_id: uuid.UUID) -> None:
    """Let no other process decide about the tenant's calls until the end of the current transaction.

    Raises DatabaseError, and LockTimeout, after which the transaction has to end.
    """
    with connection.cursor() as cursor:
        try:
            cursor.execute(_LOCK, [str(tenant_id)])
        except OperationalError as error:
            if sqlstate(error) == LOCK_NOT_AVAILABLE:
                raise LockTimeout from error
            raise


def _spending(row: Mapping[str, Any]) -> Spending:
    day, month = row["day"], row["month"]
    ends: Sequence[tuple[PeriodName, date, date]] = (
        ("day", day, day + timedelta(days=1)),
        ("month", month, next_month(month)),
    )
    periods = (
        Period(
            name=name,
            starts_on=start,
            resets_at=datetime.combine(end, time(), UTC),
            limit_usd=row[f"budget_usd_{name}"],
            spent_usd=row[f"{name}_usd"],
        )
        for name, start, end in ends
        if row[f"budget_usd_{name}"] is not None
    )
    warning_percent = row["budget_warning_percent"] or DEFAULT_WARNING_PERCENT
    return Spending(row["id"], warning_percent, row["reserved_usd"], tuple(periods))
