"""The current usage of quotas. Reading it is one Redis round trip and consumes nothing."""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass

from django.conf import settings

from map_project.tenants.models import Tenant
from ratelimit.limiter import LimiterUnavailable, Quota, Usage, default_limiter


@dataclass(frozen=True, slots=True)
class TenantUsage:
    """A tenant and its quota usage."""

    tenant: Tenant
    usage: Usage

    @property
    def percent(self) -> int:
        """Percent of the quota; over 100 after the quota was lowered."""
        return round(100 * self.usage.used / self.usage.limit)

    @property
    def bar(self) -> int:
        """Width of the bar in percent."""
        return min(self.percent, 100)

    @property
    def tone(self) -> str:
        """Color class: how close the tenant is to the limit."""
        return "bad" if self.percent >= 100 else "warn" if self.percent >= 80 else "good"

    @property
    def next_slot_seconds(self) -> int:
        """Seconds until the oldest request leaves the window."""
        return -(-self.usage.next_free_us // 1_000_000)


def quota(tenant: Tenant) -> Quota:
    """The tenant's own quota, or the default from the settings."""
    return Quota(
        tenant.pk,
        tenant.rate_limit_requests or settings.RATE_LIMIT_REQUESTS,
        tenant.rate_limit_window_seconds or settings.RATE_LIMIT_WINDOW_SECONDS,
    )


def usages(tenants: Iterable[Tenant]) -> dict[uuid.UUID, TenantUsage] | None:
    """Usage by tenant ID; None if Redis is unavailable."""
    rows = list(tenants)
    try:
        found = default_limiter().peek([quota(tenant) for tenant in rows])
    except LimiterUnavailable:
        return None
    return {
        tenant.pk: TenantUsage(tenant, usage) for tenant, usage in zip(rows, found, strict=True)
    }
