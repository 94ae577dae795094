"""The page "Failures": why runs failed, by error, by model and by tool, with the latest examples."""

import uuid
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from django.db.models import Count, Max, QuerySet
from django.db.models.functions import Left
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from executions.models import Execution
from executions.tool_calls import failed_calls_since
from map_project.desk.dashboard import none_on_timeout
from map_project.desk.operations.selection import DAY, TODAY, WEEK, Selection, render, require
from map_project.tenants.models import Tenant

ROWS_SHOWN = 20
EXAMPLES_SHOWN = 10
# Tools and their errors, before the errors of each tool are joined.
GROUPS_READ = 500
_FAILED = Execution.Status.FAILED.value
_STATUS = {"status__exact": _FAILED}
_ERROR = ("error_code", "error_reason", "stop_reason")
_MODEL = ("model", "provider")


def failures_view(request: HttpRequest) -> HttpResponse:
    """The failed runs of a period, of one tenant or of all."""
    require(request, "executions.view_execution")
    selection = Selection.of(request, (TODAY, DAY, WEEK), TODAY, timezone.now())
    context = {
        "title": "Failures",
        "selection": selection,
        "history_url": selection.history(**_STATUS),
        "errors": none_on_timeout(lambda: by_error(selection)),
        "models": none_on_timeout(lambda: by_model(selection)),
        "tenants": none_on_timeout(lambda: by_tenant(selection)),
        "tools": none_on_timeout(lambda: by_tool(selection)),
        "examples": none_on_timeout(lambda: examples(selection)),
    }
    return render(request, "desk/failures.html", context)


def failed_runs(selection: Selection) -> QuerySet[Execution]:
    """The runs of the selection that failed, from the index `execution_failed`."""
    runs = Execution.objects.filter(status=_FAILED, created_at__gte=selection.since).order_by()
    return runs.filter(tenant=selection.tenant) if selection.tenant else runs


def by_error(selection: Selection) -> list[dict[str, Any]]:
    """Failed runs by error code, reason and stop reason, the most frequent first."""
    return [
        {**row, "url": selection.history(**{name: row[name] for name in _ERROR}, **_STATUS)}
        for row in _counted(failed_runs(selection), *_ERROR)
    ]


def by_model(selection: Selection) -> list[dict[str, Any]]:
    """Failed runs by model and provider."""
    return [
        {**row, "url": selection.history(**{name: row[name] for name in _MODEL}, **_STATUS)}
        for row in _counted(failed_runs(selection), *_MODEL)
    ]


def by_tenant(selection: Selection) -> list[dict[str, Any]]:
    """Failed runs by tenant; nothing if one is selected."""
    if selection.tenant:
        return []
    rows = _counted(failed_runs(selection), "tenant_id")
    names = Tenant.objects.in_bulk([row["tenant_id"] for row in rows])
    return [
        {
            **row,
            "name": str(names.get(row["tenant_id"], row["tenant_id"])),
            "url": selection.url(tenant=str(row["tenant_id"])),
        }
        for row in rows
    ]


def by_tool(selection: Selection) -> list[dict[str, Any]]:
    """Tool calls that ended with an error, by tool."""
    steps = failed_calls_since(selection.since)
    if selection.tenant:
        steps = steps.filter(execution__tenant=selection.tenant)
    tools: dict[tuple[uuid.UUID, str], list[dict[str, Any]]] = defaultdict(list)
    for row in _counted(steps, "execution__tenant_id", "name", "error", limit=GROUPS_READ):
        tools[row["execution__tenant_id"], row["name"]].append(row)
    largest = sorted(tools.items(), key=lambda item: -_total(item[1]))[:ROWS_SHOWN]
    names = Tenant.objects.in_bulk({tenant_id for (tenant_id, _), _ in largest})
    return [
        {
            "name": name,
            "tenant": names.get(tenant_id, tenant_id),
            "number": _total(rows),
            "errors": [(row["error"], row["number"]) for row in rows],
            "latest": max(row["latest"] for row in rows),
            "url": selection.history(failed_tool=name, tenant__id__exact=tenant_id),
        }
        for (tenant_id, name), rows in largest
    ]


def examples(selection: Selection) -> list[Execution]:
    """The latest failed runs, with the beginning of what the model's provider responded."""
    runs = failed_runs(selection).select_related("tenant")
    runs = runs.defer("prompt", "response", "provider_message")
    runs = runs.annotate(message=Left("provider_message", 300))
    return [*runs.order_by("-created_at", "-id")[:EXAMPLES_SHOWN]]


def _counted(rows: QuerySet[Any], *columns: str, limit: int = ROWS_SHOWN) -> list[dict[str, Any]]:
    """The number of rows by these columns, and the time of the latest one; the most frequent first."""
    counts = rows.values(*columns).annotate(number=Count("*"), latest=Max("created_at"))
    return [*counts.order_by("-number", *columns)[:limit]]


def _total(rows: Iterable[dict[str, Any]]) -> int:
    return sum(row["number"] for row in rows)
