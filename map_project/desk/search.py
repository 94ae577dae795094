"""The admin's search by name, ID, request ID or key prefix."""

from collections.abc import Iterator
from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse

from agents.models import Agent
from executions.models import Conversation, Execution
from map_project.api.fields import parse_uuid
from map_project.tenants.models import ApiKey, Tenant
from tools.models import Tool

MAX_RESULTS_PER_KIND = 5


def search_results(request: HttpRequest, text: str) -> list[dict[str, str]]:
    """The rows that match the text and that the user may view."""
    text = text.strip()
    if not text or "\0" in text:
        return []
    return [
        {
            "title": str(row.agent_name if isinstance(row, Execution) else row),
            "description": f"{kind}: {row.tenant}" if hasattr(row, "tenant") else kind,
            "link": reverse(
                f"admin:{row._meta.label_lower.replace('.', '_')}_change", args=(row.pk,)
            ),
            "icon": icon,
        }
        for kind, icon, rows in _lookups(text)
        if request.user.has_perm(f"{rows.model._meta.app_label}.view_{rows.model._meta.model_name}")
        for row in rows[:MAX_RESULTS_PER_KIND]
    ]


def _lookups(text: str) -> Iterator[tuple[str, str, QuerySet[Any]]]:
    pk = parse_uuid(text.lower())
    agents = Agent.objects.select_related("tenant")
    tools = Tool.objects.select_related("tenant")
    executions = Execution.objects.select_related("tenant")
    # The default order would read all executions of a request ID that a client uses for every request.
    yield "Execution", "history", executions.filter(request_id=text).order_by()
    if pk:
        yield "Tenant", "apartment", Tenant.objects.filter(pk=pk)
        yield "Agent", "smart_toy", agents.filter(pk=pk)
        yield "Tool", "build", tools.filter(pk=pk)
        yield "Execution", "history", executions.filter(pk=pk)
        conversations = Conversation.objects.select_related("tenant")
        yield "Conversation", "forum", conversations.filter(pk=pk)
        return
    keys = ApiKey.objects.select_related("tenant")
    yield "Tenant", "apartment", Tenant.objects.filter(name__icontains=text)
    yield "API key", "key", keys.filter(prefix__startswith=text[:12])
    yield "Agent", "smart_toy", agents.filter(name__icontains=text)
    yield "Tool", "build", tools.filter(name__icontains=text)
