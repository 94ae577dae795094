"""The page "Usage": what the runs of a tenant add up to in a month, with its parts as CSV."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from django.core.exceptions import BadRequest
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.text import slugify

from executions.display import short_cost, tone
from map_project.api.errors import ApiError
from map_project.desk.dashboard import history_url, none_on_timeout
from map_project.desk.operations.selection import TenantFilter, render, require, selected_tenant
from map_project.tenants.models import Tenant
from map_project.usage.formats import cost, csv_response
from map_project.usage.months import Month, usage_by_aspect
from map_project.usage.periods import Period, first_day, month_of, next_month
from map_project.usage.reports import COLUMNS, Amounts, Group, usage_of

ROWS_SHOWN = 20
COLUMN_NAMES = (
    *("Runs", "Failed", "Input tokens", "Output tokens", "Cost (USD)", "Tool calls"),
    "Failed calls",
)
_UTC = ZoneInfo("UTC")
_DAY_SECONDS = 86_400


@dataclass(frozen=True, slots=True)
class Choice:
    """The tenant and the month of the page."""

    tenant: Tenant | None
    first_day: date
    form: TenantFilter

    @classmethod
    def of(cls, request: HttpRequest, now: datetime) -> "Choice":
        """The choice in the query of a request; the current month if it has none."""
        form, tenant = selected_tenant(request)
        return cls(tenant, first_day(request.GET.get("month", "")) or _first(now.date()), form)

    @property
    def month(self) -> str:
        """The month as a parameter."""
        return f"{self.first_day:%Y-%m}"

    @property
    def period(self) -> Period:
        """The month in UTC."""
        return month_of(self.first_day, _UTC)

    def url(self, other_month: date | None = None, **parameters: str) -> str:
        """The URL of this page with another month or other parameters."""
        kept = {"tenant": str(self.tenant.pk)} if self.tenant else {}
        month = f"{other_month or self.first_day:%Y-%m}"
        return f"?{urlencode({**kept, 'month': month, **parameters})}"

    def links(self, now: datetime) -> list[tuple[date, str]]:
        """The months before and after this one, and this one, with their URLs; none in the future."""
        before = _first(self.first_day - timedelta(days=1))
        after = next_month(self.first_day)
        months = [month for month in (before, self.first_day, after) if month <= now.date()]
        return [(month, self.url(month)) for month in months]


def usage_view(request: HttpRequest) -> HttpResponse:
    """The usage of a tenant in a month, or a part of it as CSV."""
    require(request, "executions.view_execution")
    now = timezone.now()
    choice = Choice.of(request, now)
    if choice.tenant and request.GET.get("format") == "csv":
        return _csv(choice.tenant, choice, request.GET.get("group_by", "day"))
    context: dict[str, Any] = {
        "title": "Usage",
        "choice": choice,
        "links": choice.links(now),
        "now": now,
        "columns": COLUMN_NAMES,
    }
    if choice.tenant:
        context |= _context(choice.tenant, choice)
    return render(request, "desk/usage.html", context)


def _csv(tenant: Tenant, choice: Choice, group_by: str) -> HttpResponse:
    if group_by not in COLUMNS:
        raise BadRequest("There is no such part.")
    try:
        report = usage_of(tenant.pk, choice.period, [group_by])
    except ApiError as error:
        raise BadRequest(error.message) from None
    return csv_response(report, f"usage-{slugify(tenant.name) or tenant.pk}-{group_by}")


def _context(tenant: Tenant, choice: Choice) -> dict[str, Any]:
    month = none_on_timeout(lambda: usage_by_aspect(tenant.pk, choice.period, most=ROWS_SHOWN))
    if month is None:
        return {"is_too_slow": True}
    return {
        "month": month,
        "tiles": _tiles(month.totals, tenant, choice),
        "tables": _tables(month, choice),
        "charts": {"runs": _chart(month, tenant, choice)},
    }


def _tiles(totals: Amounts, tenant: Tenant, choice: Choice) -> list[dict[str, Any]]:
    """Label, value, note, icon and link of the numbers at the top."""
    tokens = f"{totals.input_tokens:,} in, {totals.output_tokens:,} out"
    failed_calls = f"{totals.failed_tool_calls:,} failed" if totals.failed_tool_calls else ""
    return [
        {"label": "Runs", "value": f"{totals.runs:,}", "icon": "bolt"},
        {
            "label": "Failed",
            "value": f"{totals.failures:,}",
            "icon": "error",
            "tone": "bad" if totals.failures else "good",
            "url": _history(tenant, choice, status__exact="failed"),
        },
        {"label": "Cost (USD)", "value": short_cost(totals.cost_usd), "icon": "money"},
        {
            "label": "Tool calls",
            "value": f"{totals.tool_calls:,}",
            "icon": "build",
            "note": failed_calls,
        },
        {"label": "Tokens", "value": f"{totals.total_tokens:,}", "icon": "numbers", "note": tokens},
    ]


def _history(tenant: Tenant, choice: Choice, **filters: object) -> str:
    begin, end = (f"{at:%Y-%m-%dT%H:%M}" for at in (choice.period.begin, choice.period.end))
    dates = {"created_at_from": begin, "created_at_to": end}
    return history_url(tenant__id__exact=tenant.pk, **dates, **filters)


def _tables(month: Month, choice: Choice) -> list[dict[str, Any]]:
    """Title, first column, rows, number of all rows, and URL of the CSV of each table."""
    parts: list[tuple[str, str, Sequence[Group], int]] = [
        ("model", "Model", month.models, month.model_count),
        ("agent", "Agent", month.agents, month.agent_count),
        ("key", "API key", month.keys, month.key_count),
        ("status", "Status", month.statuses, len(month.statuses)),
        ("day", "Day", month.days, len(month.days)),
    ]
    return [
        {
            "label": label,
            "rows": [_row(name, group) for group in groups],
            "count": count,
            "csv": choice.url(format="csv", group_by=name),
        }
        for name, label, groups, count in parts
    ]


def _row(name: str, group: Group) -> dict[str, Any]:
    text, note = _label(name, group)
    amounts = group.amounts
    counts = (amounts.runs, amounts.failures, amounts.input_tokens, amounts.output_tokens)
    calls = (amounts.tool_calls, amounts.failed_tool_calls)
    before, after = ([f"{number:,}" for number in numbers] for numbers in (counts, calls))
    return {"text": text, "note": note, "figures": [*before, cost(amounts), *after]}


def _label(name: str, group: Group) -> tuple[str, str]:
    """The text of the first column, and what is in gray below it."""
    if name == "day":
        return f"{group.day:%-d %b}", ""
    if group.agent:
        return group.agent.name, ""
    if group.key:
        return group.key.name or "(no name)", f"{group.key.prefix}…" if group.key.prefix else ""
    return group.model or group.status, ""


def _chart(month: Month, tenant: Tenant, choice: Choice) -> dict[str, Any]:
    """Runs by day, stacked by status, the most frequent one first."""
    runs = {(group.day, group.status): group.amounts.runs for group in month.days_by_status}
    days = choice.period.days()
    return {
        "url": history_url(tenant__id__exact=tenant.pk),
        "labels": [begin.isoformat() for _, begin in days],
        "width": _DAY_SECONDS,
        "series": [
            {
                "label": status.status,
                "tone": tone(status.status),
                "values": [runs.get((day, status.status), 0) for day, _ in days],
            }
            for status in sorted(month.statuses, key=lambda group: -group.amounts.runs)
        ],
    }


def _first(day: date) -> date:
    return day.replace(day=1)
