"""The dashboard: runs, failures, latency, and tenants close to their rate limit."""

import logging
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, TypeVar
from urllib.parse import urlencode

from django.db import DatabaseError
from django.db.models.functions import Left
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone

from executions.display import duration, latency, tone
from executions.models import Execution
from map_project.desk import metrics, quotas
from map_project.desk.budgets import nearly_spent
from map_project.desk.metrics import DAY, RANGES, Counts, Range
from map_project.desk.queue import queue
from map_project.postgresql.queries import QUERY_CANCELED, sqlstate
from map_project.tenants.models import MAX_WINDOW_SECONDS, Tenant

logger = logging.getLogger("map.desk")

Result = TypeVar("Result")

TENANTS_SHOWN = 7
RUNS_SHOWN = 6
FAILURES_SHOWN = 6


def dashboard(request: HttpRequest) -> dict[str, Any]:
    """The template context. A panel whose query timed out is None, and its place says so."""
    selected = RANGES.get(request.GET.get("range", ""), DAY)
    now = timezone.now()
    counts = none_on_timeout(lambda: metrics.counts(selected, now))
    latencies = none_on_timeout(lambda: metrics.latencies(now)) or ()
    latency_range = selected if selected.width < DAY.width else DAY
    series = none_on_timeout(lambda: metrics.latency_series(latency_range, now))
    charts: dict[str, Any] = {}
    if counts:
        charts["runs"] = runs_chart(counts, selected, now)
        charts["tenants"] = tenants_chart(counts)
    if series:
        charts["latency"] = latency_chart(series, latency_range, now)
    return {
        "title": "Dashboard",
        "ranges": RANGES.values(),
        "range": selected,
        "now": now,
        "counts": counts,
        "tiles": tiles(counts, selected) if counts else [],
        "charts": charts,
        "failures": failures(counts, selected) if counts else [],
        "is_empty": counts is not None and not counts.total and not Tenant.objects.exists(),
        "latency": [
            (label, *format_latency(latency))
            for label, latency in zip(("1 h", "24 h"), latencies, strict=False)
        ],
        "latency_range": latency_range,
        "budgets": none_on_timeout(lambda: nearly_spent(now)),
        "quotas": none_on_timeout(lambda: near_their_limit(now)),
        "latest": none_on_timeout(lambda: latest_runs(now)),
        "queue": none_on_timeout(lambda: queue(now)),
    }


def none_on_timeout(query: Callable[[], Result]) -> Result | None:
    """The result of the query; None if it exceeded the statement timeout."""
    try:
        return query()
    except DatabaseError as error:
        if sqlstate(error) != QUERY_CANCELED:
            raise
        logger.warning("a query of the dashboard exceeded the statement timeout")
        return None


def tiles(counts: Counts, selected: Range) -> list[dict[str, Any]]:
    """The numbers at the top, with their links."""
    total = counts.total
    succeeded = counts.by_status.get("succeeded", 0)
    failed = counts.by_status.get("failed", 0)
    share = f"{100 * succeeded / total:.1f} %" if total else "-"
    return [
        {
            "label": "Runs",
            "value": f"{total:,}",
            "icon": "bolt",
            "url": history_url(period=selected.name),
        },
        {"label": "Succeeded", "value": share, "icon": "check_circle", "tone": "good"},
        {
            "label": "Failed",
            "value": f"{failed:,}",
            "icon": "error",
            "tone": "bad" if failed else "good",
            "url": history_url(period=selected.name, status__exact="failed"),
        },
        {
            "label": "Active tenants",
            "value": f"{len(counts.by_tenant):,}",
            "icon": "apartment",
            "url": reverse("admin:tenants_tenant_changelist"),
        },
    ]


def history_url(**parameters: object) -> str:
    """The URL of the history with these filters."""
    return f"{reverse('admin:executions_execution_changelist')}?{urlencode(parameters)}"


def runs_chart(counts: Counts, selected: Range, now: datetime, **filters: object) -> dict[str, Any]:
    """Runs by time, stacked by status. `filters` are those of the history to which a bar leads."""
    times = selected.times(now)
    return {
        "url": history_url(**filters),
        "labels": [time.isoformat() for time in times],
        "width": selected.width.total_seconds(),
        "series": [
            {
                "label": status,
                "tone": tone(status),
                "values": [counts.by_bucket.get((time, status), 0) for time in times],
            }
            for status in counts.by_status
        ],
    }


def tenants_chart(counts: Counts) -> dict[str, Any]:
    """The tenants with the most runs, stacked by status, with links to their pages."""
    busiest = counts.busiest(TENANTS_SHOWN)
    names = Tenant.objects.in_bulk([tenant_id for tenant_id, _ in busiest])
    return {
        "labels": [str(names.get(tenant_id, tenant_id)) for tenant_id, _ in busiest],
        "urls": [reverse("admin:tenants_tenant_change", args=(pk,)) for pk, _ in busiest],
        "series": [
            {
                "label": status,
                "tone": tone(status),
                "values": [by_status.get(status, 0) for _, by_status in busiest],
            }
            for status in counts.by_status
        ],
    }


def failures(counts: Counts, selected: Range) -> list[dict[str, Any]]:
    """Error codes, or statuses without one, the most frequent first, with links to their runs."""
    found = counts.failures()
    most = found[0][1] if found else 0
    return [
        {
            "code": code,
            "runs": runs,
            "width": 100 * runs / most,
            "url": history_url(
                period=selected.name, **{"error_code" if code.isupper() else "status__exact": code}
            ),
        }
        for code, runs in found[:FAILURES_SHOWN]
    ]


def format_latency(latency: metrics.Latency) -> tuple[str, str]:
    """p50 and p95 in readable units."""
    p50, p95 = ("-" if ms is None else duration(ms) for ms in (latency.p50, latency.p95))
    return p50, p95


def latency_chart(
    series: Mapping[datetime, metrics.Latency], selected: Range, now: datetime
) -> dict[str, Any]:
    """p50 and p95 by time."""
    times = selected.times(now)
    no_runs = metrics.Latency(None, None)
    return {
        "url": history_url(),
        "labels": [time.isoformat() for time in times],
        "width": selected.width.total_seconds(),
        "p50": [series.get(time, no_runs).p50 for time in times],
        "p95": [series.get(time, no_runs).p95 for time in times],
    }


def near_their_limit(now: datetime) -> dict[str, Any]:
    """The quota usage of the busiest tenants, closest to the limit first."""
    since = now - timedelta(seconds=MAX_WINDOW_SECONDS)
    tenants = Tenant.objects.filter(pk__in=metrics.busy_since(since, 3 * TENANTS_SHOWN))
    usages = quotas.usages(tenants)
    if usages is None:
        return {"redis_unavailable": True}
    ordered = sorted(
        usages.values(), key=lambda item: (-item.usage.used / item.usage.limit, item.tenant.name)
    )
    return {"usages": ordered[:TENANTS_SHOWN]}


def latest_runs(now: datetime) -> list[dict[str, Any]]:
    """The latest runs of all tenants."""
    # This condition always holds. It selects the partial index `execution_by_time`.
    runs = Execution.objects.filter(latency_ms__gte=0)
    runs = runs.select_related("tenant").defer("prompt", "response")
    runs = runs.annotate(prompt_start=Left("prompt", 140))[:RUNS_SHOWN]
    return [{"run": run, "tone": tone(run.status), "latency": latency(run, now)} for run in runs]
