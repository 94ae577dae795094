"""The page "Tool calls": how often each tool was called, failed, and how long it took."""

import uuid
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from django.db.models import Count
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from executions.display import duration
from executions.steps import NOT_MADE_ERRORS
from executions.tool_calls import failed_calls_since
from map_project.desk.dashboard import none_on_timeout
from map_project.desk.operations.selection import DAY, HOUR, TODAY, Selection, render, require
from map_project.postgresql.queries import fetch_rows
from map_project.tenants.models import Tenant
from tools.models import Tool

ROWS_SHOWN = 50
# What the rows are sorted by: name, label, SQL.
ORDERS = (
    ("failures", "failures", "failures DESC, calls DESC"),
    ("p95", "p95", "percentiles[2] DESC"),
    ("max", "slowest call", "slowest DESC"),
    ("calls", "calls", "calls DESC"),
)
# PostgreSQL finds the calls in the index `step_tool_by_time`, and the tenants of the runs of the same
# period in `execution_by_age`. It looks up only older runs by their IDs, which is slow.
_CALLS = """
SELECT * FROM (
    SELECT tenant_id, name, count(*) AS calls, count(*) FILTER (WHERE error <> '') AS failures,
        percentile_disc(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY latency_ms) AS percentiles,
        max(latency_ms) AS slowest, max(created_at) AS latest
    FROM (
        SELECT step.name, step.error, step.latency_ms, step.created_at, coalesce(
            run.tenant_id, (SELECT tenant_id FROM executions_execution WHERE id = step.execution_id)
        ) AS tenant_id
        FROM executions_step AS step LEFT JOIN executions_execution AS run
            ON run.id = step.execution_id AND run.created_at >= %(since)s
        WHERE step.kind = 'tool' AND step.created_at >= %(since)s AND NOT step.is_running
            AND step.error <> ALL (%(not_made)s)
    ) AS calls {tenant}
    GROUP BY tenant_id, name
) AS tools ORDER BY {order}, tenant_id, name LIMIT %(limit)s
"""
ToolKey = tuple[uuid.UUID, str]


def tool_calls_view(request: HttpRequest) -> HttpResponse:
    """The calls of each tool in a period, of one tenant or of all."""
    require(request, "executions.view_execution")
    selection = Selection.of(request, (HOUR, TODAY, DAY), DAY, timezone.now())
    orders = {name: sql for name, _, sql in ORDERS}
    order = request.GET.get("sort", "")
    order = order if order in orders else "failures"
    context = {
        "title": "Tool calls",
        "selection": selection,
        "order": order,
        "orders": [(name, label, selection.url(sort=name)) for name, label, _ in ORDERS],
        "tools": none_on_timeout(lambda: tools(selection, orders[order])),
        "limit": ROWS_SHOWN,
    }
    return render(request, "desk/tool_calls.html", context)


def tools(selection: Selection, order: str) -> list[dict[str, Any]]:
    """A row for each tool, in the order of the SQL expression."""
    rows = _calls(selection, order)
    keys = [(row["tenant_id"], row["name"]) for row in rows]
    ids, tenants = _ids(keys), Tenant.objects.in_bulk({tenant_id for tenant_id, _ in keys})
    errors = _errors(selection) if any(row["failures"] for row in rows) else {}
    return [
        {
            **row,
            "tool_id": ids.get(key),
            "tenant": tenants.get(row["tenant_id"], row["tenant_id"]),
            "errors": errors.get(key, []),
            "share": f"{100 * row['failures'] / row['calls']:.1f} %",
            "p50": duration(row["percentiles"][0]),
            "p95": duration(row["percentiles"][1]),
            "slowest": duration(row["slowest"]),
            "url": selection.history(failed_tool=row["name"], tenant__id__exact=row["tenant_id"]),
        }
        for key, row in zip(keys, rows, strict=True)
    ]


def _calls(selection: Selection, order: str) -> list[dict[str, Any]]:
    tenant = "WHERE tenant_id = %(tenant_id)s" if selection.tenant else ""
    parameters: dict[str, object] = {
        "since": selection.since,
        "not_made": [*NOT_MADE_ERRORS],
        "tenant_id": selection.tenant and selection.tenant.pk,
        "limit": ROWS_SHOWN,
    }
    return fetch_rows(_CALLS.format(tenant=tenant, order=order), parameters)


def _ids(keys: Sequence[ToolKey]) -> dict[ToolKey, uuid.UUID]:
    """The tools that exist and have these names."""
    found = Tool.objects.filter(
        tenant_id__in={tenant_id for tenant_id, _ in keys}, name__in={name for _, name in keys}
    )
    return {
        (tenant_id, name): pk
        for tenant_id, name, pk in found.values_list("tenant_id", "name", "pk")
    }


def _errors(selection: Selection) -> dict[ToolKey, list[tuple[str, int]]]:
    """The errors of each tool, the most frequent first."""
    calls = failed_calls_since(selection.since).exclude(error__in=NOT_MADE_ERRORS)
    if selection.tenant:
        calls = calls.filter(execution__tenant=selection.tenant)
    groups = calls.values_list("execution__tenant_id", "name", "error").annotate(number=Count("*"))
    errors: dict[ToolKey, list[tuple[str, int]]] = defaultdict(list)
    for tenant_id, name, error, number in groups.order_by("-number", "error"):
        errors[tenant_id, name].append((error, number))
    return errors
