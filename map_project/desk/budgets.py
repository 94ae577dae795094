"""Budgets in the admin: what tenants have spent of them."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from map_project.api.texts import plain_amount
from map_project.tenants.models import Tenant
from map_project.usage.budgets import Period, read_all
from map_project.usage.models import BudgetWarning

TENANTS_SHOWN = 7


@dataclass(frozen=True, slots=True)
class TenantBudget:
    """One budget of a tenant in its current period."""

    tenant: Tenant
    period: Period
    warning_percent: int

    @property
    def spent(self) -> str:
        """The amount without trailing zeros."""
        return plain_amount(self.period.spent_usd)

    @property
    def limit(self) -> str:
        """The amount without trailing zeros."""
        return plain_amount(self.period.limit_usd)

    @property
    def bar(self) -> int:
        """Width of the bar in percent."""
        return min(self.period.percent, 100)

    @property
    def tone(self) -> str:
        """Color class: how close the tenant is to the limit."""
        if self.period.is_exhausted:
            return "bad"
        return "warn" if self.period.percent >= self.warning_percent else "good"


def budgets_of(tenants: Iterable[Tenant]) -> list[TenantBudget]:
    """Return the budgets of tenants, closest to the limit first. At most one query."""
    by_id = {tenant.pk: tenant for tenant in tenants if tenant.has_budget}
    found = [
        TenantBudget(by_id[spending.tenant_id], period, spending.warning_percent)
        for spending in (read_all(by_id) if by_id else ())
        for period in spending.periods
    ]
    return sorted(found, key=lambda item: (-item.period.percent, item.tenant.name))


def nearly_spent(now: datetime) -> list[TenantBudget]:
    """Return budgets whose tenants were warned in the current period, closest to the limit first."""
    today = now.astimezone(UTC).date()
    warnings = BudgetWarning.objects.filter(starts_on__in={today, today.replace(day=1)})
    latest = warnings.order_by("-starts_on", "-id").values("tenant_id")[: 10 * TENANTS_SHOWN]
    found = budgets_of(Tenant.objects.filter(pk__in=latest))
    return [item for item in found if item.tone != "good"][:TENANTS_SHOWN]
