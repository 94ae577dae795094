"""The dashboard: who is running what, who is near the limit, what failed."""

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, TypeVar
from urllib.parse import urlencode

from django.db import DatabaseError
from django.db.models.functions import Left
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone

from executions.admin import duration, tone
from executions.models import Execution
from map_project.desk import metrics, quotas
from map_project.desk.metrics import DAY, RANGES, Counts, Range
from map_project.tenants.models import MAX_WINDOW_SECONDS, Tenant

logger = logging.getLogger("map.desk")

Found = TypeVar("Found")

DEFAULT_RANGE = "24h"
TENANTS_SHOWN = 7
RUNS_SHOWN = 6
TIMED_OUT = "57014"  # SQLSTATE


def dashboard(request: HttpRequest) -> dict[str, Any]:
    """What the dashboard's template shows. A panel whose statement took too long says so."""
    wanted = RANGES.get(request.GET.get("range", ""), RANGES[DEFAULT_RANGE])
    now = timezone.now()
    counted = in_time(lambda: metrics.counts(wanted, now))
    series = wanted if wanted.width < DAY.width else DAY
    latency = in_time(lambda: metrics.latencies(now))
    drawn = in_time(lambda: metrics.latency_series(series, now))
    charts = {
        "runs": runs_chart(counted, wanted, now) if counted else None,
        "tenants": tenants_chart(counted, wanted) if counted else None,
        "failures": failures_chart(counted, wanted) if counted else None,
        "latency": latency_chart(drawn, series, now) if drawn else None,
    }
    return {
        "title": "Dashboard",
        "ranges": RANGES.values(),
        "range": wanted,
        "now": now,
        "counts": counted,
        "tiles": tiles(counted, wanted) if counted else [],
        "charts": {name: chart for name, chart in charts.items() if chart},
        "latency": [
            (label, *spelled(of)) for label, of in zip(("1 h", "24 h"), latency or (), strict=False)
        ],
        "latency_range": series,
        "quotas": in_time(lambda: near_their_limit(now)),
        "latest": in_time(latest_runs),
    }


def in_time(panel: Callable[[], Found]) -> Found | None:
    """What the panel shows; None where the database took longer than a statement may."""
    try:
        return panel()
    except DatabaseError as error:
        if getattr(error.__cause__, "sqlstate", None) != TIMED_OUT:
            raise
        logger.warning("a panel of the dashboard took too long")
        return None


def tiles(counted: Counts, wanted: Range) -> list[dict[str, Any]]:
    """The numbers on top, and where they lead."""
    total = counted.total
    succeeded = counted.by_status.get("succeeded", 0)
    failed = counted.by_status.get("failed", 0)
    share = f"{100 * succeeded / total:.1f} %" if total else "-"
    return [
        {
            "label": "Runs",
            "value": f"{total:,}",
            "icon": "bolt",
            "url": history_url(period=wanted.name),
        },
        {"label": "Succeeded", "value": share, "icon": "check_circle", "tone": "good"},
        {
            "label": "Failed",
            "value": f"{failed:,}",
            "icon": "error",
            "tone": "bad" if failed else "good",
            "url": history_url(period=wanted.name, status__exact="failed"),
        },
        {
            "label": "Active tenants",
            "value": f"{len(counted.by_tenant):,}",
            "icon": "apartment",
            "url": reverse("admin:tenants_tenant_changelist"),
        },
    ]


def history_url(**parameters: object) -> str:
    """The history, filtered."""
    return f"{reverse('admin:executions_execution_changelist')}?{urlencode(parameters)}"


def runs_chart(counted: Counts, wanted: Range, now: datetime) -> dict[str, Any]:
    """Runs by time, stacked by status."""
    times = wanted.times(now)
    return {
        "labels": [time.isoformat() for time in times],
        "width": wanted.width.total_seconds(),
        "series": [
            {
                "label": status,
                "tone": tone(status),
                "values": [counted.by_bucket.get((time, status), 0) for time in times],
            }
            for status in counted.by_status
        ],
    }


def tenants_chart(counted: Counts, wanted: Range) -> dict[str, Any]:
    """The busiest tenants, stacked by status; each leads to its page."""
    busiest = counted.busiest(TENANTS_SHOWN)
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
            for status in counted.by_status
        ],
    }


def failures_chart(counted: Counts, wanted: Range) -> dict[str, Any]:
    """Error codes, the most frequent first."""
    failures = counted.failures()[:6]
    return {"labels": [code for code, _ in failures], "values": [runs for _, runs in failures]}


def spelled(latency: metrics.Latency) -> tuple[str, str]:
    """Both in words."""
    p50, p95 = ("-" if ms is None else duration(ms) for ms in (latency.p50, latency.p95))
    return p50, p95


def latency_chart(found: Any, wanted: Range, now: datetime) -> dict[str, Any]:
    """p50 and p95 by time."""
    times = wanted.times(now)
    none = metrics.Latency(None, None)
    return {
        "labels": [time.isoformat() for time in times],
        "width": wanted.width.total_seconds(),
        "p50": [found.get(time, none).p50 for time in times],
        "p95": [found.get(time, none).p95 for time in times],
    }


def near_their_limit(now: datetime) -> dict[str, Any]:
    """The use of their quotas by the tenants that are busy now, the nearest to the limit first."""
    since = now - timedelta(seconds=MAX_WINDOW_SECONDS)
    tenants = Tenant.objects.filter(pk__in=metrics.busy_since(since, 3 * TENANTS_SHOWN))
    found = quotas.uses(tenants)
    if found is None:
        return {"lost": True}
    ordered = sorted(
        found.values(), key=lambda use: (-use.usage.used / use.usage.limit, use.tenant.name)
    )
    return {"uses": ordered[:TENANTS_SHOWN]}


def latest_runs() -> list[dict[str, Any]]:
    """The last runs of all."""
    # By the index `execution_by_time`, which has to be asked for.
    runs = Execution.objects.filter(latency_ms__gte=0)
    runs = runs.select_related("tenant").defer("prompt", "response")
    runs = runs.annotate(prompt_start=Left("prompt", 140))[:RUNS_SHOWN]
    return [
        {"run": run, "tone": tone(run.status), "took": duration(run.latency_ms)} for run in runs
    ]
