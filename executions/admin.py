"""The history in the admin: it is read there, and nothing else.

A page costs the same however long the history is: it is found by the place where the last one ended,
and nothing is counted. What filters and search have to look through is bounded by dates.
"""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db import OperationalError
from django.db.models import Q, QuerySet
from django.db.models.functions import Left
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.html import format_html
from unfold.contrib.filters.admin import (
    AutocompleteSelectFilter,
    ChoicesDropdownFilter,
    DropdownFilter,
    RangeDateFilter,
    TextFilter,
)
from unfold.paginator import InfinitePaginator
from unfold.views import ChangeList

from agents.models import Agent, LanguageModel
from executions.models import Execution
from map_project.api.fields import parse_uuid
from map_project.tenants.admin import ReadOnly

BEFORE = "before"
PERIODS = {
    "1h": ("Last hour", timedelta(hours=1)),
    "24h": ("Last 24 hours", timedelta(hours=24)),
    "7d": ("Last 7 days", timedelta(days=7)),
    "30d": ("Last 30 days", timedelta(days=30)),
    "all": ("Any time", None),
}
DEFAULT_PERIOD = "7d"
_CANCELED = "57014"  # SQLSTATE: the statement took too long


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page of the history ends: the next one begins with what is older."""

    created_at: datetime
    id: uuid.UUID

    @classmethod
    def parse(cls, text: str) -> "Place | None":
        """What `str` made; None of anything else."""
        time, _, pk = text.partition("_")
        parsed = parse_uuid(pk)
        try:
            return cls(datetime.fromisoformat(time), parsed) if parsed else None
        except ValueError:
            return None

    def __str__(self) -> str:
        return f"{self.created_at.isoformat()}_{self.id}"

    def older(self, executions: QuerySet[Execution]) -> QuerySet[Execution]:
        """Those after this place, in the history's order."""
        return executions.filter(
            Q(created_at__lt=self.created_at) | Q(created_at=self.created_at, pk__lt=self.id),
            # Says nothing new, but lets the index begin at the right place.
            created_at__lte=self.created_at,
        )


class OlderPaginator(InfinitePaginator):
    """Counts nothing; the links are the page's own."""

    template_name = "executions/older.html"


class HistoryPage(ChangeList):
    """One page of the history, and the place where the next one begins."""

    older_url = ""
    newest_url = ""

    def get_filters_params(self, params: Any = None) -> Any:
        self.params.pop(BEFORE, None)
        found = super().get_filters_params(params)
        found.pop(BEFORE, None)
        return found

    def get_queryset(self, request: HttpRequest, *args: Any, **options: Any) -> Any:
        executions = super().get_queryset(request, *args, **options)
        place = Place.parse(request.GET.get(BEFORE, ""))
        return place.older(executions) if place else executions

    def get_results(self, request: HttpRequest) -> None:
        rows = self._rows(request)
        self.result_list: Any = rows[: self.list_per_page]
        self.result_count = self.full_result_count = len(self.result_list)
        self.show_admin_actions = self.can_show_all = self.multi_page = False
        self.paginator = OlderPaginator(self.result_list, self.list_per_page)
        if BEFORE in request.GET:
            self.newest_url = self.get_query_string() or "?"
        if len(rows) > self.list_per_page:
            last = self.result_list[-1]
            place = {BEFORE: str(Place(last.created_at, last.pk))}
            self.older_url = f"?{urlencode({**self.params, **place}, doseq=True)}"

    def _rows(self, request: HttpRequest) -> list[Execution]:
        try:
            return list(self.queryset[: self.list_per_page + 1])
        except OperationalError as error:
            if getattr(error.__cause__, "sqlstate", None) != _CANCELED:
                raise
            text = "There is too much to look through in the time a page may take: narrow it down."
            messages.warning(request, text)
            return []


class PeriodFilter(DropdownFilter):
    """How far back. It yields to dates that are given, and is never forgotten."""

    title = "period"
    parameter_name = "period"
    all_option = None

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterator[tuple[str, str]]:
        return ((name, label) for name, (label, _) in PERIODS.items())

    def value(self) -> str:
        return period(self.used_parameters.get(self.parameter_name))

    def queryset(self, request: HttpRequest, queryset: QuerySet[Execution]) -> QuerySet[Execution]:
        span = PERIODS[self.value()][1]
        if span is None or any(dates(request)):
            return queryset
        return queryset.filter(created_at__gte=timezone.now() - span)


class DatesFilter(RangeDateFilter):
    """From the begin of a day (UTC) to the end of one; what is no date is left out."""

    def queryset(self, request: HttpRequest, queryset: QuerySet[Execution]) -> QuerySet[Execution]:
        first, last = dates(request)
        if first:
            queryset = queryset.filter(created_at__gte=first)
        if last:
            queryset = queryset.filter(created_at__lt=last + timedelta(days=1))
        return queryset


class AgentFilter(TextFilter):
    """The name of an agent as it was, or its id."""

    title = "agent (name or id)"
    parameter_name = "agent"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Execution]) -> QuerySet[Execution]:
        text = self.value()
        if not text:
            return queryset
        pk = parse_uuid(text)
        return queryset.filter(agent_id=pk) if pk else queryset.filter(agent_name=text)


class ModelFilter(DropdownFilter):
    """One of the models that can be run."""

    title = "model"
    parameter_name = "model"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, name) for name in LanguageModel.objects.values_list("name", flat=True)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Execution]) -> QuerySet[Execution]:
        return queryset.filter(model=self.value()) if self.value() else queryset


def period(text: Any) -> str:
    """A period's name; the default for what is none."""
    name = text[0] if isinstance(text, list) and text else text
    return name if name in PERIODS else DEFAULT_PERIOD


def dates(request: HttpRequest) -> tuple[datetime | None, datetime | None]:
    """The first and the last day asked for, as they begin; None for what is none."""
    return _day(request.GET.get("created_at_from")), _day(request.GET.get("created_at_to"))


def _day(text: str | None) -> datetime | None:
    try:
        return datetime.strptime(text or "", "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        return None


@admin.register(Execution)
class ExecutionAdmin(ReadOnly):
    """The history, and one execution, whole."""

    list_display = ("time", "tenant_name", "agent_name", "asked", "model_name", "outcome", "took")
    list_display_links = ("time", "asked")
    list_filter = (
        PeriodFilter,
        ("tenant", AutocompleteSelectFilter),
        AgentFilter,
        ModelFilter,
        ("status", ChoicesDropdownFilter),
        ("created_at", DatesFilter),
    )
    list_filter_submit = True
    list_select_related = ("tenant",)
    list_per_page = 50
    show_full_result_count = False
    sortable_by = ()
    ordering = ("-created_at", "-id")
    search_fields = ("prompt", "response")
    search_help_text = "Prompt and response, of one tenant"

    def get_changelist(self, request: HttpRequest, **options: Any) -> type[HistoryPage]:
        return HistoryPage

    def get_queryset(self, request: HttpRequest) -> QuerySet[Execution]:
        executions: QuerySet[Execution] = super().get_queryset(request)
        if request.resolver_match and request.resolver_match.kwargs:
            return executions
        start = Left("prompt", 120)
        # By the index `execution_by_time`, which has to be asked for.
        executions = executions.filter(latency_ms__gte=0)
        return executions.defer("prompt", "response").annotate(prompt_start=start)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Execution], search_term: str
    ) -> tuple[QuerySet[Execution], bool]:
        """Within a tenant and a stretch of time, since every text in it has to be read."""
        if not search_term:
            return queryset, False
        first, last = dates(request)
        bounded = first if first or last else period(request.GET.get("period")) != "all"
        if not (bounded and request.GET.get("tenant__id__exact")):
            messages.warning(request, "To search, choose a tenant and a period (see Filters).")
            return queryset.none(), False
        found = Q(prompt__icontains=search_term) | Q(response__icontains=search_term)
        return queryset.filter(found), False

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """One execution, drawn for reading."""
        if not self.has_view_permission(request) or request.method not in {"GET", "HEAD"}:
            raise PermissionDenied
        execution = self.get_object(request, unquote(object_id))
        if execution is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)
        context = {
            **self.admin_site.each_context(request),
            "title": f"{execution.agent_name}",
            "opts": self.opts,
            "original": execution,
            "execution": execution,
            "tone": tone(execution.status),
            "steps": execution.steps.order_by("position"),
            "agent_remains": Agent.objects.filter(pk=execution.agent_id).exists(),
        }
        return TemplateResponse(request, "executions/execution.html", context)

    @admin.display(description="time (UTC)")
    def time(self, execution: Execution) -> str:
        """When it was recorded."""
        return format_html(
            '<span class="desk-nowrap" title="{}">{}</span>',
            execution.created_at.isoformat(),
            f"{execution.created_at:%d %b %H:%M:%S}",
        )

    @admin.display(description="tenant")
    def tenant_name(self, execution: Execution) -> str:
        """In one line."""
        return format_html('<span class="desk-nowrap">{}</span>', execution.tenant)

    @admin.display(description="model")
    def model_name(self, execution: Execution) -> str:
        """In one line."""
        return format_html('<span class="desk-nowrap">{}</span>', execution.model)

    @admin.display(description="prompt")
    def asked(self, execution: Any) -> str:
        """The beginning of the prompt."""
        return format_html('<span class="desk-clip">{}</span>', execution.prompt_start)

    @admin.display(description="status")
    def outcome(self, execution: Execution) -> str:
        """The status, and why."""
        return format_html(
            '<span class="desk-badge desk-{}">{}</span> <span class="desk-faint">{}</span>',
            tone(execution.status),
            execution.status,
            execution.error_code,
        )

    @admin.display(description="latency")
    def took(self, execution: Execution) -> str:
        """Milliseconds, readable."""
        return format_html('<span class="desk-nowrap">{}</span>', duration(execution.latency_ms))


def tone(status: str) -> str:
    """How a status is coloured; what is not known is neutral."""
    tones = {"succeeded": "good", "failed": "bad", "incomplete": "warn", "running": "busy"}
    return tones.get(status, "plain")


def duration(milliseconds: float) -> str:
    """As a person would say it: 12 ms, 3.4 s."""
    if milliseconds < 1000:
        return f"{milliseconds:.0f} ms"
    return f"{milliseconds / 1000:.1f} s"
