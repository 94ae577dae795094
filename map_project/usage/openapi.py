"""The OpenAPI operation of usage."""

from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema_view

from map_project.api.times import MOMENT_SCHEMA
from map_project.tenants.openapi import tenant_operation
from map_project.usage.periods import MAX_DAYS
from map_project.usage.reports import COLUMNS, MAX_GROUPS
from map_project.usage.serializers import UsageReportSerializer

_AMOUNTS = {
    "runs": 1204,
    "failures": 17,
    "input_tokens": 912340,
    "output_tokens": 201877,
    "total_tokens": 1114217,
    "cost_usd": "7.416103",
    "tool_calls": 640,
    "failed_tool_calls": 12,
}
_EXAMPLE = {
    "from": "2026-11-01T00:00:00Z",
    "to": "2026-12-01T00:00:00Z",
    "timezone": "UTC",
    "group_by": ["agent"],
    "totals": _AMOUNTS,
    "items": [
        {
            "agent": {"id": "0197a3c1-9d02-7b4e-8c15-2f6b7d0a9e31", "name": "Sales analyst"},
            **_AMOUNTS,
        }
    ],
}
_CSV = (200, "text/csv")
_CSV_EXAMPLE = (
    "day,runs,failures,input_tokens,output_tokens,total_tokens,cost_usd,tool_calls,failed_tool_calls\r\n"
    "2026-11-01,1204,17,912340,201877,1114217,7.416103,640,12\r\n"
)


def _parameter(name: str, schema: dict[str, Any], description: str, **more: Any) -> Any:
    return OpenApiParameter(name, schema, description=description, **more)


documented = extend_schema_view(
    retrieve=tenant_operation(
        "Read your usage",
        description="Returns what the runs that ended in a time range add up to, exact to the last run that "
        f"has ended. A range has at most {MAX_DAYS} days, and a response at most {MAX_GROUPS:,} groups. "
        "Usage is kept per hour of UTC: the range, and with `group_by=day` its days, must begin and end on "
        "full hours of UTC. Otherwise use days with `timezone=UTC`, or full hours of UTC without "
        "`group_by=day`. CSV has a line for each group.",
        operation_id="usage",
        tags=["usage"],
        parameters=[
            _parameter(
                "from",
                MOMENT_SCHEMA,
                "Beginning of the range, which is part of it: a date in the time zone, or an RFC 3339 time. "
                "Default: the beginning of the month in which the range ends.",
            ),
            _parameter(
                "to",
                MOMENT_SCHEMA,
                "End of the range, which is not part of it: a date in the time zone, or an RFC 3339 time. "
                "Default: the end of the current month.",
            ),
            _parameter(
                "timezone",
                {"type": "string", "default": "UTC"},
                "IANA name of the time zone in which days begin, such as `Europe/Berlin`.",
            ),
            _parameter(
                "group_by",
                {
                    "type": "array",
                    "items": {"type": "string", "enum": [*COLUMNS]},
                    "minItems": 1,
                    "uniqueItems": True,
                },
                "What the groups have in common: one or several, separated by commas. Without it, the "
                "response has only the totals.",
                explode=False,
            ),
            _parameter(
                "format",
                {"type": "string", "enum": ["json", "csv"]},
                "Format of the response. Default: the one that the header `Accept` prefers, else JSON.",
            ),
        ],
        responses={200: UsageReportSerializer, _CSV: {"type": "string"}},
        example=_EXAMPLE,
        example_of={_CSV: _CSV_EXAMPLE},
    )
)
