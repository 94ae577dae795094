"""Conversations in the admin. They are read-only."""

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db.models import Count, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html
from unfold.contrib.filters.admin import AutocompleteSelectFilter

from executions.admin.changelist import HistoryChangeList
from executions.conversations.items import ItemList
from executions.display import indented_json, tone
from executions.models import Conversation, Execution
from map_project.tenants.admin import ReadOnlyAdmin

EXCHANGES_PER_PAGE = 20


@admin.register(Conversation)
class ConversationAdmin(ReadOnlyAdmin):
    """The conversations, the newest first, and the page of one with its exchanges."""

    list_display = ("created_at", "tenant", "runs", "metadata_preview", "id")
    list_filter = (("tenant", AutocompleteSelectFilter),)
    list_filter_submit = True
    list_select_related = ("tenant",)
    list_per_page = 50
    show_full_result_count = False
    sortable_by = ()
    ordering = ("-created_at", "-id")

    def get_changelist(self, request: HttpRequest, **options: Any) -> type[HistoryChangeList]:
        return HistoryChangeList

    def get_queryset(self, request: HttpRequest) -> QuerySet[Conversation]:
        conversations: QuerySet[Conversation] = super().get_queryset(request)
        executions = Execution.objects.filter(conversation_id=OuterRef("pk")).order_by()
        counts = executions.values("conversation_id").annotate(count=Count("*")).values("count")
        return conversations.annotate(run_count=Coalesce(Subquery(counts), 0))

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """The page of one conversation."""
        if not self.has_view_permission(request) or request.method not in {"GET", "HEAD"}:
            raise PermissionDenied
        conversation = self.get_object(request, unquote(object_id))
        if conversation is None:
            messages.warning(request, "This conversation does not exist.")
            return HttpResponseRedirect(reverse("admin:index"))
        items = ItemList(conversation)
        executions = items.executions.only(
            "status", "error_code", "agent_name", "model", "created_at"
        )
        page = Paginator(executions, EXCHANGES_PER_PAGE).get_page(request.GET.get("page"))
        context = {
            **self.admin_site.each_context(request),
            "title": f"Conversation of {conversation.created_at:%d %b %Y %H:%M:%S} UTC",
            "opts": self.opts,
            "original": conversation,
            "conversation": conversation,
            "page": page,
            "exchanges": _exchanges([*page], items),
        }
        return TemplateResponse(request, "executions/conversation.html", context)

    @admin.display(description="runs")
    def runs(self, conversation: Any) -> int:
        return conversation.run_count

    @admin.display(description="metadata")
    def metadata_preview(self, conversation: Conversation) -> str:
        pairs = ", ".join(f"{name}: {text}" for name, text in (conversation.metadata or {}).items())
        return format_html('<span class="desk-clip">{}</span>', pairs or "-")


def _exchanges(executions: list[Execution], items: ItemList) -> list[dict[str, Any]]:
    """The executions of a page, each with its messages and tool calls."""
    by_execution: dict[Any, list[dict[str, Any]]] = {row.pk: [] for row in executions}
    for item in items.of([*by_execution]):
        texts = [("Arguments", item.arguments), ("Result", item.output)]
        labelled = [(label, indented_json(text)) for label, text in texts if text]
        by_execution[item.execution_id].append({"item": item, "texts": labelled})
    return [
        {"execution": row, "tone": tone(row.status), "parts": by_execution[row.pk]}
        for row in executions
    ]
