"""The current usage of the tenants' quotas."""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass

from django.conf import settings

from map_project.tenants.models import Tenant
from ratelimit.limiter import LimiterUnavailable, Quota, Usage, default_limiter


@dataclass(frozen=True, slots=True)
class Use:
    """A tenant and the usage of its quota."""

    tenant: Tenant
    usage: Usage

    @property
    def percent(self) -> int:
        """Percentage of the quota in use; over 100 for a while after the quota was lowered."""
        return round(100 * self.usage.used / self.usage.limit)

    @property
    def bar(self) -> int:
        """The percentage for a progress bar, at most 100."""
        return min(self.percent, 100)

    @property
    def tone(self) -> str:
        """The style of the progress bar."""
        return "bad" if self.percent >= 100 else "warn" if self.percent >= 80 else "good"

    @property
    def free_in_seconds(self) -> int:
        """Whole seconds until the oldest unit is free."""
        return -(-self.usage.next_free_us // 1_000_000)


def quota(tenant: Tenant) -> Quota:
    """Return the tenant's quota: its own, or the default from the settings."""
    return Quota(
        tenant.pk,
        tenant.rate_limit_requests or settings.RATE_LIMIT_REQUESTS,
        tenant.rate_limit_window_seconds or settings.RATE_LIMIT_WINDOW_SECONDS,
    )


def uses(tenants: Iterable[Tenant]) -> dict[uuid.UUID, Use] | None:
    """Return the usage by tenant id, or None if Redis is unavailable."""
    tenants = list(tenants)
    try:
        usages = default_limiter().peek([quota(tenant) for tenant in tenants])
    except LimiterUnavailable:
        return None
    return {tenant.pk: Use(tenant, usage) for tenant, usage in zip(tenants, usages, strict=True)}
