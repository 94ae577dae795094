"""The use of quotas right now, read without taking a unit, in one round trip."""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass

from django.conf import settings

from map_project.tenants.models import Tenant
from ratelimit.limiter import LimiterUnavailable, Quota, Usage, peek


@dataclass(frozen=True, slots=True)
class Use:
    """A tenant, and how much of its quota is in use."""

    tenant: Tenant
    usage: Usage

    @property
    def percent(self) -> int:
        """Of the quota; more than 100 for a while after it was lowered."""
        return round(100 * self.usage.used / self.usage.limit)

    @property
    def bar(self) -> int:
        """The same, for something that ends at 100."""
        return min(self.percent, 100)

    @property
    def tone(self) -> str:
        """How near the limit."""
        return "bad" if self.percent >= 100 else "warn" if self.percent >= 80 else "good"

    @property
    def free_in_seconds(self) -> int:
        """Until the oldest unit comes free."""
        return -(-self.usage.next_free_us // 1_000_000)


def quota(tenant: Tenant) -> Quota:
    """The tenant's quota, its own or the setting's."""
    return Quota(
        tenant.pk,
        tenant.rate_limit_requests or settings.RATE_LIMIT_REQUESTS,
        tenant.rate_limit_window_seconds or settings.RATE_LIMIT_WINDOW_SECONDS,
    )


def uses(tenants: Iterable[Tenant]) -> dict[uuid.UUID, Use] | None:
    """By tenant; None where Redis does not answer."""
    wanted = list(tenants)
    try:
        found = peek([quota(tenant) for tenant in wanted])
    except LimiterUnavailable:
        return None
    return {tenant.pk: Use(tenant, use) for tenant, use in zip(wanted, found, strict=True)}
