"""A report as JSON, and as CSV."""

from collections.abc import Mapping
from typing import Any

from django.http import HttpResponse

from map_project.api.csv_text import csv_text
from map_project.api.texts import plain_amount
from map_project.usage.reports import Amounts, Group, Report

# The columns in CSV of what consists of several fields.
_PARTS = {"agent": ("id", "name"), "key": ("id", "name", "prefix")}


def report_body(report: Report) -> dict[str, Any]:
    """Return a report as the body of a response."""
    return {
        "from": report.period.begin,
        "to": report.period.end,
        "timezone": report.period.zone.key,
        "group_by": [*report.group_by],
        "totals": _amounts(report.totals),
        "items": [
            {name: _part(group, name) for name in report.group_by} | _amounts(group.amounts)
            for group in report.groups
        ],
    }


def report_lines(report: Report) -> tuple[list[str], list[list[Any]]]:
    """Return the names of columns, and a line for each group; without groups, a line of the totals."""
    body = report_body(report)
    lines = [
        [value for item in line.values() for value in _cells(item)]
        for line in (body["items"] if report.group_by else [body["totals"]])
    ]
    groups = [column for name in report.group_by for column in _columns(name)]
    return [*groups, *body["totals"]], lines


def csv_response(report: Report, name: str = "usage") -> HttpResponse:
    """Return CSV that browsers save as a file. Its name ends with the first day, and the day of the end."""
    zone = report.period.zone
    begin, end = (
        f"{moment.astimezone(zone):%Y-%m-%d}" for moment in (report.period.begin, report.period.end)
    )
    return HttpResponse(
        csv_text(*report_lines(report)),
        content_type="text/csv; charset=utf-8; header=present",
        headers={"Content-Disposition": f'attachment; filename="{name}-{begin}-to-{end}.csv"'},
    )


def cost(amounts: Amounts) -> str:
    """Return the cost with all its digits, without trailing zeros."""
    return plain_amount(amounts.cost_usd)


def _amounts(amounts: Amounts) -> dict[str, Any]:
    return {
        "runs": amounts.runs,
        "failures": amounts.failures,
        "input_tokens": amounts.input_tokens,
        "output_tokens": amounts.output_tokens,
        "total_tokens": amounts.total_tokens,
        "cost_usd": cost(amounts),
        "tool_calls": amounts.tool_calls,
        "failed_tool_calls": amounts.failed_tool_calls,
    }


def _part(group: Group, name: str) -> Any:
    value = getattr(group, name)
    return {part: getattr(value, part) for part in _PARTS[name]} if name in _PARTS else value


def _columns(name: str) -> list[str]:
    return [f"{name}_{part}" for part in _PARTS[name]] if name in _PARTS else [name]


def _cells(item: Any) -> list[Any]:
    return [*item.values()] if isinstance(item, Mapping) else [item]
