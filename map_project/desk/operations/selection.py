"""The time range and the tenant of a report, and the links of its rows to the history."""

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.contrib import admin
from django.contrib.admin.widgets import AutocompleteSelect
from django.core.exceptions import BadRequest, PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from unfold.contrib.filters.forms import AutocompleteDropdownForm

from executions.models import Execution
from map_project.desk.dashboard import history_url
from map_project.tenants.models import Tenant


def midnight(now: datetime) -> datetime:
    """The start of the day (UTC)."""
    return now.replace(hour=0, minute=0, second=0, microsecond=0)


@dataclass(frozen=True, slots=True)
class Period:
    """A time range up to now."""

    name: str
    label: str
    begin: Callable[[datetime], datetime]

    def history_filters(self, now: datetime) -> dict[str, str]:
        """The parameters of the history for the same range."""
        if self.name == TODAY.name:
            return {"created_at_from": f"{now:%Y-%m-%d}"}
        return {"period": self.name}


HOUR = Period("1h", "1 hour", lambda now: now - timedelta(hours=1))
TODAY = Period("today", "Today", midnight)
DAY = Period("24h", "24 hours", lambda now: now - timedelta(hours=24))
WEEK = Period("7d", "7 days", lambda now: now - timedelta(days=7))


class TenantFilter(forms.Form):
    """The tenant of a page; all tenants if it is blank."""

    tenant = forms.ModelChoiceField(
        queryset=Tenant.objects.all(),
        required=False,
        widget=AutocompleteSelect(
            Execution._meta.get_field("tenant"),
            admin.site,
            attrs={"class": "unfold-filter-autocomplete", "data-placeholder": "All tenants"},
        ),
    )
    # The script and the styles of the field.
    Media = AutocompleteDropdownForm.Media


@dataclass(frozen=True, slots=True)
class Selection:
    """What a page shows: a period up to `now`, of one tenant or of all."""

    periods: Sequence[Period]
    period: Period
    now: datetime
    form: TenantFilter
    tenant: Tenant | None

    @classmethod
    def of(
        cls, request: HttpRequest, periods: Sequence[Period], default: Period, now: datetime
    ) -> "Selection":
        """The selection in the query of a request. Raises BadRequest for a tenant that does not exist."""
        form, tenant = selected_tenant(request)
        by_name = {period.name: period for period in periods}
        period = by_name.get(request.GET.get("period", ""), default)
        return cls(periods, period, now, form, tenant)

    @property
    def since(self) -> datetime:
        """The begin of the period."""
        return self.period.begin(self.now)

    @property
    def tenant_id(self) -> uuid.UUID | None:
        """The ID of the tenant."""
        return self.tenant.pk if self.tenant else None

    def links(self) -> list[tuple[Period, str]]:
        """The periods with their URLs."""
        return [(period, self.url(period=period.name)) for period in self.periods]

    def url(self, **parameters: str) -> str:
        """The URL of this page with other parameters."""
        kept = {"period": self.period.name}
        if self.tenant:
            kept["tenant"] = str(self.tenant.pk)
        return f"?{urlencode({**kept, **parameters})}"

    def history(self, **filters: object) -> str:
        """The URL of the history with this selection and the filters that have a value."""
        given = {name: value for name, value in filters.items() if value}
        if self.tenant:
            given.setdefault("tenant__id__exact", self.tenant.pk)
        return history_url(**self.period.history_filters(self.now), **given)


def selected_tenant(request: HttpRequest) -> tuple[TenantFilter, Tenant | None]:
    """The filter of a page, and the tenant that it selects. Raises BadRequest if it does not exist."""
    form = TenantFilter(request.GET)
    if not form.is_valid():
        raise BadRequest("This tenant does not exist.")
    return form, form.cleaned_data["tenant"]


def require(request: HttpRequest, permission: str) -> None:
    """Raise PermissionDenied if the user does not have the permission."""
    if not request.user.has_perm(permission):
        raise PermissionDenied


def render(request: HttpRequest, template: str, context: dict[str, Any]) -> HttpResponse:
    """A page in the layout of the admin."""
    request.current_app = admin.site.name
    return TemplateResponse(request, template, {**admin.site.each_context(request), **context})
