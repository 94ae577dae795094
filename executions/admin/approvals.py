"""Approvals in the admin: the tool calls that wait for a decision, and their page."""

import uuid
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.db.models.functions import Left
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from unfold.contrib.filters.admin import AutocompleteSelectFilter, DropdownFilter

from executions.admin.changelist import HistoryChangeList
from executions.approvals.serializers import DecisionSerializer
from executions.approvals.services import OPERATOR, decide
from executions.display import approval_tone, indented_json
from executions.models import Approval
from map_project.api import audit
from map_project.api.errors import ApiError
from map_project.tenants.admin import ReadOnlyAdmin

_ANY = "any"
_PREVIEW_CHARACTERS = 300


class StatusFilter(DropdownFilter):
    """The status. By default, the list shows what waits for a decision."""

    title = "status"
    parameter_name = "status"
    all_option = None

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [*((value, value) for value in Approval.Status.values), (_ANY, "any")]

    def value(self) -> str:
        value = self.used_parameters.get(self.parameter_name)
        name = value[0] if isinstance(value, list) and value else value
        return name if name in {*Approval.Status.values, _ANY} else Approval.Status.PENDING.value

    def queryset(self, request: HttpRequest, queryset: QuerySet[Approval]) -> QuerySet[Approval]:
        return queryset if self.value() == _ANY else queryset.filter(status=self.value())


@admin.register(Approval)
class ApprovalAdmin(ReadOnlyAdmin):
    """The approvals, the newest first, and the page of one, on which operators decide."""

    list_display = (
        *("created_at", "tenant", "tool_name", "arguments_preview", "status_badge"),
        *("expires_at", "decided_by"),
    )
    list_filter = (("tenant", AutocompleteSelectFilter), StatusFilter)
    list_filter_submit = True
    list_select_related = ("tenant",)
    list_per_page = 50
    show_full_result_count = False
    sortable_by = ()
    ordering = ("-created_at", "-id")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Approval]:
        start = Left("arguments", _PREVIEW_CHARACTERS)
        return super().get_queryset(request).defer("arguments").annotate(arguments_start=start)

    def get_changelist(self, request: HttpRequest, **options: Any) -> type[HistoryChangeList]:
        return HistoryChangeList

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """The page of one approval."""
        if not self.has_view_permission(request) or request.method not in {"GET", "HEAD"}:
            raise PermissionDenied
        approval = self.get_object(request, unquote(object_id))
        if approval is None:
            messages.warning(request, "This approval does not exist.")
            return HttpResponseRedirect(reverse("admin:index"))
        context = {
            **self.admin_site.each_context(request),
            "title": approval.tool_name,
            "opts": self.opts,
            "original": approval,
            "approval": approval,
            "tone": approval_tone(approval.status),
            "arguments": indented_json(approval.arguments),
            "can_decide": approval.status == Approval.Status.PENDING and _can_decide(request),
        }
        return TemplateResponse(request, "executions/approval.html", context)

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.decide_view)
        return [path("<uuid:pk>/decide/", view, name="decide_approval"), *super().get_urls()]

    def decide_view(self, request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
        """Approve or decline a call, on POST."""
        if request.method != "POST" or not _can_decide(request):
            raise PermissionDenied
        approval = get_object_or_404(Approval, pk=pk)
        reason = request.POST.get("reason", "").strip()
        serializer = DecisionSerializer(
            data={"approve": request.POST.get("decision") == "approve", "reason": reason}
        )
        if request.POST.get("decision") not in {"approve", "decline"} or not serializer.is_valid():
            messages.error(
                request, "Choose Approve or Decline. A reason has up to 1,000 characters."
            )
        else:
            _decide(request, approval, serializer.validated_data)
        return HttpResponseRedirect(reverse("admin:executions_approval_change", args=[pk]))

    @admin.display(description="arguments")
    def arguments_preview(self, approval: Any) -> str:
        return format_html('<span class="desk-clip">{}</span>', approval.arguments_start)

    @admin.display(description="status")
    def status_badge(self, approval: Approval) -> str:
        return format_html(
            '<span class="desk-badge desk-{}">{}</span>',
            approval_tone(approval.status),
            approval.status,
        )


def _decide(request: HttpRequest, approval: Approval, decision: dict[str, Any]) -> None:
    try:
        is_new = decide(approval=approval, decided_by=OPERATOR, **decision)
    except ApiError as error:
        messages.warning(request, str(error.message))
        return
    if is_new:
        text = audit.changes(
            {"status": Approval.Status.PENDING.value, "reason": ""},
            {"status": approval.status, "reason": approval.reason},
        )
        audit.record(approval, text, user=request.user)
    messages.success(request, f"The call was {approval.status}.")


def _can_decide(request: HttpRequest) -> bool:
    """Whether the user is an operator. Other columns of an approval cannot be changed."""
    return request.user.has_perm("executions.change_approval")
