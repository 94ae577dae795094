"""A report as JSON, and as CSV."""

from collections.abc import Mapping
from typing import Any

from map_project.api.csv_text import csv_text
from map_project.usage.periods import Period
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


def report_csv(report: Report) -> str:
    """Return a line for each group; without groups, a line of the totals."""
    body = report_body(report)
    lines = [
        [value for name, item in line.items() for value in _cells(name, item)]
        for line in (body["items"] if report.group_by else [body["totals"]])
    ]
    groups = [column for name in report.group_by for column in _columns(name)]
    return csv_text([*groups, *body["totals"]], lines)


def file_name(period: Period) -> str:
    """Return the name of a CSV file: of the first and the last day, without its extension."""
    first, last = (moment.astimezone(period.zone).date() for moment in (period.begin, period.end))
    return f"usage-{first}-to-{last}"


def cost(amounts: Amounts) -> str:
    """Return the cost with all its digits, without trailing zeros."""
    return f"{amounts.cost_usd.normalize():f}"


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


def _cells(name: str, item: Any) -> list[Any]:
    return [*item.values()] if isinstance(item, Mapping) else [item]
