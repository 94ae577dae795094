"""The history in the admin. It is read-only."""

import uuid
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db.models import Q, QuerySet
from django.db.models.functions import Left
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import mark_safe
from unfold.contrib.filters.admin import AutocompleteSelectFilter, ChoicesDropdownFilter

from agents.models import Agent
from executions.admin.approvals import ApprovalAdmin
from executions.admin.changelist import HistoryChangeList
from executions.admin.conversations import ConversationAdmin
from executions.admin.filters import (
    AgentFilter,
    DatesFilter,
    ErrorCodeFilter,
    ModelFilter,
    PeriodFilter,
    has_start,
)
from executions.admin.report_filters import (
    ErrorReasonFilter,
    FailedToolFilter,
    ProviderFilter,
    StopReasonFilter,
)
from executions.display import cost, duration, latency, short_cost, step_texts, tokens, tone
from executions.events.stream import event_number, numbered_frame, open_stream, stream_execution
from executions.models import Approval, Conversation, Execution
from executions.operators import can_cancel, cancel_as_operator
from map_project.api.errors import ApiError
from map_project.tenants.admin import ReadOnlyAdmin

__all__ = ["ApprovalAdmin", "ConversationAdmin", "ExecutionAdmin"]

STEPS_PER_PAGE = 100


@admin.register(Execution)
class ExecutionAdmin(ReadOnlyAdmin):
    """The history, and the page of one execution. Both are read-only."""

    list_display = (
        "time",
        "agent_and_tenant",
        "prompt_preview",
        "model_and_key",
        "status_badge",
        "latency",
        "token_counts",
        "cost",
    )
    list_display_links = ("time", "prompt_preview")
    list_filter = (
        PeriodFilter,
        ("tenant", AutocompleteSelectFilter),
        AgentFilter,
        ModelFilter,
        ("status", ChoicesDropdownFilter),
        ErrorCodeFilter,
        *(ErrorReasonFilter, StopReasonFilter, ProviderFilter, FailedToolFilter),
        ("created_at", DatesFilter),
    )
    list_filter_submit = True
    list_select_related = ("tenant",)
    list_per_page = 50
    show_full_result_count = False
    sortable_by = ()
    ordering = ("-created_at", "-id")
    search_fields = ("prompt", "response")
    search_help_text = "Search prompts and responses (choose a tenant and a time range first)"

    def get_changelist(self, request: HttpRequest, **options: Any) -> type[HistoryChangeList]:
        return HistoryChangeList

    def get_queryset(self, request: HttpRequest) -> QuerySet[Execution]:
        executions: QuerySet[Execution] = super().get_queryset(request)
        if request.resolver_match and request.resolver_match.kwargs:
            return executions
        # This condition always holds. It selects the partial index `execution_by_time`.
        executions = executions.filter(latency_ms__gte=0)
        return executions.defer("prompt", "response").annotate(prompt_start=Left("prompt", 120))

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Execution], search_term: str
    ) -> tuple[QuerySet[Execution], bool]:
        """Search within one tenant and a time range: PostgreSQL reads every text in it."""
        if not search_term:
            return queryset, False
        if not (has_start(request) and request.GET.get("tenant__id__exact")):
            messages.warning(request, "Choose a tenant and a time range in Filters to search.")
            return queryset.none(), False
        matches = Q(prompt__icontains=search_term) | Q(response__icontains=search_term)
        return queryset.filter(matches), False

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """The page of one execution."""
        if not self.has_view_permission(request) or request.method not in {"GET", "HEAD"}:
            raise PermissionDenied
        execution = self.get_object(request, unquote(object_id))
        if execution is None:
            messages.warning(request, "This execution does not exist.")
            return HttpResponseRedirect(reverse("admin:index"))
        steps = Paginator(execution.steps.order_by("position"), STEPS_PER_PAGE)
        page = steps.get_page(request.GET.get("steps"))
        context = {
            **self.admin_site.each_context(request),
            "title": execution.agent_name,
            "opts": self.opts,
            "original": execution,
            "execution": execution,
            "tone": tone(execution.status),
            "latency": latency(execution, timezone.now()),
            "tokens": tokens(execution),
            "cost": cost(execution.cost_usd),
            "page": page,
            "steps": [(step, duration(step.latency_ms), step_texts(step)) for step in page],
            "is_active": execution.status in Execution.ACTIVE,
            "is_unfinished": execution.status in Execution.UNFINISHED,
            "pending": _pending_approvals(execution),
            "can_cancel": can_cancel(request),
            "agent_exists": Agent.objects.filter(pk=execution.agent_id).exists(),
            "conversation_exists": execution.conversation_id is not None
            and Conversation.objects.filter(pk=execution.conversation_id).exists(),
        }
        return TemplateResponse(request, "executions/execution.html", context)

    def get_urls(self) -> list[URLPattern]:
        cancel_view = self.admin_site.admin_view(self.cancel_view)
        events_view = self.admin_site.admin_view(self.events_view)
        return [
            path("<uuid:pk>/cancel/", cancel_view, name="cancel_execution"),
            path("<uuid:pk>/events/", events_view, name="execution_events"),
            *super().get_urls(),
        ]

    def events_view(self, request: HttpRequest, pk: uuid.UUID) -> HttpResponseBase:
        """Stream the events of a run to its page."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        get_object_or_404(Execution, pk=pk)
        try:
            after = event_number(request.headers.get("Last-Event-ID"), "Last-Event-ID")
            with open_stream() as closing:
                return stream_execution(pk, -1 if after is None else after, closing, numbered_frame)
        except ApiError as error:
            return HttpResponse(status=error.status_code)

    def cancel_view(self, request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
        """Cancel a run that has not ended, on POST."""
        if request.method != "POST" or not can_cancel(request):
            raise PermissionDenied
        execution = get_object_or_404(Execution, pk=pk)
        if cancel_as_operator(execution, request.user):
            messages.success(request, "The run was cancelled.")
        else:
            messages.warning(request, "The run had ended before.")
        return HttpResponseRedirect(
            reverse("admin:executions_execution_change", args=[execution.pk])
        )

    @admin.display(description="time (UTC)")
    def time(self, execution: Execution) -> str:
        return format_html(
            '<span class="desk-nowrap" title="{}">{}</span>',
            execution.created_at.isoformat(),
            f"{execution.created_at:%d %b %H:%M:%S}",
        )

    @admin.display(description="agent, tenant")
    def agent_and_tenant(self, execution: Execution) -> str:
        return _two_lines(execution.agent_name, execution.tenant)

    @admin.display(description="model, API key")
    def model_and_key(self, execution: Execution) -> str:
        key = f"{execution.key_prefix}…" if execution.key_prefix else ""
        return _two_lines(execution.model, key)

    @admin.display(description="prompt")
    def prompt_preview(self, execution: Any) -> str:
        return format_html('<span class="desk-clip">{}</span>', execution.prompt_start)

    @admin.display(description="status")
    def status_badge(self, execution: Execution) -> str:
        return format_html(
            '<span class="desk-badge desk-{}">{}</span> <span class="desk-faint">{}</span>',
            tone(execution.status),
            _breakable(execution.status),
            _breakable(execution.error_code),
        )

    @admin.display(description="latency")
    def latency(self, execution: Execution) -> str:
        shown = latency(execution, timezone.now())
        # The column has no room for "1 min 20 s so far" on one line.
        value = shown.removesuffix(" so far")
        return format_html(
            '<span class="desk-nowrap">{}</span>{}', value, shown.removeprefix(value)
        )

    @admin.display(description="tokens")
    def token_counts(self, execution: Execution) -> str:
        """Input and output, each on one line."""
        parts = ((part,) for part in tokens(execution).split(", "))
        return format_html_join(" ", '<span class="desk-nowrap">{}</span>', parts)

    @admin.display(description="cost (USD)")
    def cost(self, execution: Execution) -> str:
        return format_html('<span class="desk-nowrap">{}</span>', short_cost(execution.cost_usd))


def _pending_approvals(execution: Execution) -> list[Approval]:
    """What the run waits for."""
    if execution.status != Execution.Status.REQUIRES_ACTION:
        return []
    return [*execution.approvals.filter(status=Approval.Status.PENDING).order_by("position")]


def _breakable(code: str) -> str:
    """A code, which may be broken after an underscore."""
    return format_html_join(mark_safe("_<wbr>"), "{}", zip(code.split("_")))


def _two_lines(first: object, second: object) -> str:
    """Two names, each cut if the column is too narrow."""
    return format_html(
        '<span class="desk-short" title="{}">{}</span><br>'
        '<span class="desk-short desk-faint" title="{}">{}</span>',
        *(first, first, second, second),
    )
