"""Filters of the audit log."""

from collections.abc import Iterator
from typing import Any

from django.contrib.admin.models import DELETION, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db.models import Case, Exists, Model, OuterRef, Q, QuerySet, TextField, UUIDField, When
from django.db.models.functions import Cast
from django.http import HttpRequest
from unfold.contrib.filters.admin import TextFilter
from unfold.contrib.filters.forms import AutocompleteDropdownForm

from agents.models import Agent
from executions.admin import filters
from executions.models import Approval, Execution
from map_project.api.fields import parse_uuid
from map_project.tenants.models import ApiKey, Tenant
from map_project.webhooks.models import WebhookEndpoint
from tools.models import Tool

# Of the history, without the shortest.
PERIODS = {name: period for name, period in filters.PERIODS.items() if name != "1h"}
# Models with few rows of a tenant, and with many: their rows are looked up by their IDs.
_FEW: tuple[type[Model], ...] = (ApiKey, Tool, Agent, WebhookEndpoint)
_MANY: tuple[type[Model], ...] = (Execution, Approval)


class PeriodFilter(filters.PeriodFilter):
    """The time range."""

    field = "action_time"
    periods = PERIODS
    default = "30d"


class TenantFilter(TextFilter):
    """The tenant itself and its rows, also those that are deleted."""

    title = "tenant"
    parameter_name = "tenant"
    form_class = AutocompleteDropdownForm

    def choices(self, changelist: Any) -> Iterator[dict[str, Any]]:
        yield {
            "form": AutocompleteDropdownForm(
                request=changelist.model_admin.request,
                name=self.parameter_name,
                label=self.title,
                choices=(),
                field=Execution._meta.get_field("tenant"),
                model_admin=changelist.model_admin,
                data={self.parameter_name: self.value()},
            )
        }

    def queryset(self, request: HttpRequest, queryset: QuerySet[LogEntry]) -> QuerySet[LogEntry]:
        if not self.value():
            return queryset
        pk = parse_uuid(self.value() or "")
        tenant = Tenant.objects.filter(pk=pk).first() if pk else None
        return _of_tenant(tenant, queryset) if tenant else queryset.none()


def _of_tenant(tenant: Tenant, entries: QuerySet[LogEntry]) -> QuerySet[LogEntry]:
    """The entries about the tenant and about its rows, of those of the time range."""
    types = ContentType.objects.get_for_models(Tenant, *_FEW, *_MANY)
    condition = Q(content_type=types[Tenant], object_id=str(tenant.pk))
    for model in _FEW:
        rows = model._default_manager.filter(tenant=tenant).order_by()
        ids = rows.annotate(text=Cast("pk", TextField())).values("text")
        condition |= Q(content_type=types[model], object_id__in=ids)
    # A deletion is in the time range if a change before it is.
    deleted = entries.order_by().filter(
        action_flag=DELETION, change_message__contains=f'tenant: "{tenant.pk}"'
    )
    condition |= Q(object_id__in=deleted.values("object_id"))
    for model in _MANY:
        # Without the case, PostgreSQL could cast the IDs of users, which are no UUIDs.
        row_id = Case(When(content_type=types[model], then=Cast("object_id", UUIDField())))
        entries = entries.alias(**{f"{model.__name__}_id": row_id})
        rows = model._default_manager.filter(tenant=tenant, pk=OuterRef(f"{model.__name__}_id"))
        condition |= Q(Exists(rows.order_by()))
    return entries.filter(condition)
