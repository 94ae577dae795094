"""The page "Stale keys": valid keys of all tenants that have not been used for 30 days."""

from datetime import datetime, timedelta
from typing import Any

from django.db.models import Q, QuerySet
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from unfold.contrib.filters.admin import DropdownFilter

from map_project.desk.operations.selection import render, require
from map_project.tenants.models import ApiKey

STALE_AFTER = timedelta(days=30)
KEYS_SHOWN = 200
LAST_ACTIVITY = Coalesce("last_used_at", "created_at")


def stale_keys(keys: QuerySet[ApiKey], *, at: datetime) -> QuerySet[ApiKey]:
    """Keys that are valid at this time and were neither used nor created in the 30 days before."""
    return keys.alias(last_activity=LAST_ACTIVITY).filter(
        Q(expires_at=None) | Q(expires_at__gt=at),
        revoked_at=None,
        last_activity__lt=at - STALE_AFTER,
    )


class UseFilter(DropdownFilter):
    """Keys by their use."""

    title = "use"
    parameter_name = "use"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("stale", f"Valid, unused for {STALE_AFTER.days} days")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> QuerySet[ApiKey]:
        return stale_keys(queryset, at=timezone.now()) if self.value() == "stale" else queryset


def stale_keys_view(request: HttpRequest) -> HttpResponse:
    """The keys that have been unused the longest, of all tenants."""
    require(request, "tenants.view_apikey")
    keys = stale_keys(ApiKey.objects.select_related("tenant"), at=timezone.now())
    # From the index `api_key_by_activity`. One more key shows whether there are more.
    rows = [*keys.order_by(LAST_ACTIVITY, "id")[: KEYS_SHOWN + 1]]
    context = {
        "title": "Stale keys",
        "keys": rows[:KEYS_SHOWN],
        "days": STALE_AFTER.days,
        "has_more": len(rows) > KEYS_SHOWN,
        "all_url": f"{reverse('admin:tenants_apikey_changelist')}?use=stale",
        "may_change_keys": request.user.has_perm("tenants.change_apikey"),
    }
    return render(request, "desk/stale_keys.html", context)
