"""The usage of a tenant by each of its aspects, with one pass over the rows."""

import uuid
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from map_project.postgresql.queries import fetch_rows
from map_project.usage.periods import Period
from map_project.usage.reports import Amounts, Group, groups_of, total

Value = TypeVar("Value", bound=Hashable)

# The hours of a day are added up first, because there are many of them.
_QUERY = """
WITH days AS MATERIALIZED (
    SELECT width_bucket(hour, %s::timestamptz[]) AS day_number, model, agent_id, key_prefix, status,
        sum(runs) AS runs, sum(input_tokens) AS input_tokens, sum(output_tokens) AS output_tokens,
        sum(cost_usd) AS cost_usd, sum(tool_calls) AS tool_calls,
        sum(failed_tool_calls) AS failed_tool_calls, max(hour) AS last_hour
    FROM usage_current WHERE tenant_id = %s AND hour >= %s AND hour < %s GROUP BY 1, 2, 3, 4, 5
)
SELECT day_number, model, agent_id, key_prefix, status,
    CASE grouping(day_number, model, agent_id, key_prefix)
        WHEN 7 THEN 'day' WHEN 11 THEN 'model' WHEN 13 THEN 'agent' ELSE 'key' END AS aspect,
    sum(runs) AS runs_sum, COALESCE(sum(runs) FILTER (WHERE status = 'failed'), 0) AS failures_sum,
    sum(input_tokens) AS input_tokens_sum, sum(output_tokens) AS output_tokens_sum,
    sum(cost_usd) AS cost_usd_sum, sum(tool_calls) AS tool_calls_sum,
    sum(failed_tool_calls) AS failed_tool_calls_sum, max(last_hour) AS last_hour
FROM days GROUP BY GROUPING SETS ((day_number, status), (model), (agent_id), (key_prefix))
"""


@dataclass(frozen=True, slots=True)
class Month:
    """The usage in a time range. Models, agents and keys are sorted by their costs, then their runs."""

    totals: Amounts
    days: Sequence[Group]
    days_by_status: Sequence[Group]
    statuses: Sequence[Group]
    models: Sequence[Group]
    agents: Sequence[Group]
    keys: Sequence[Group]
    # How many there are. Only the first of them are above.
    model_count: int
    agent_count: int
    key_count: int


def usage_by_aspect(tenant_id: uuid.UUID, period: Period, *, most: int) -> Month:
    """Return the usage of a tenant, and at most so many of its models, agents and keys."""
    days = period.days()
    rows: dict[str, list[dict[str, Any]]] = defaultdict(list)
    begins = [begin for _, begin in days]
    for row in fetch_rows(_QUERY, [begins, tenant_id, period.begin, period.end]):
        rows[row["aspect"]].append(row)
    found = {
        name: _largest(groups_of(tenant_id, period, [name], _largest_rows(rows[name], most)))
        for name in ("model", "agent", "key")
    }
    by_status = groups_of(tenant_id, period, ["day", "status"], rows["day"], days)
    return Month(
        totals=total(by_status),
        days=_joined(by_status, lambda group: group.day, status=""),
        days_by_status=by_status,
        statuses=_joined(by_status, lambda group: group.status, day=None),
        models=found["model"],
        agents=found["agent"],
        keys=found["key"],
        model_count=len(rows["model"]),
        agent_count=len(rows["agent"]),
        key_count=len(rows["key"]),
    )


def _largest_rows(rows: Iterable[dict[str, Any]], most: int) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: (-row["cost_usd_sum"], -row["runs_sum"]))[:most]


def _largest(groups: Iterable[Group]) -> list[Group]:
    return sorted(groups, key=lambda group: (-group.amounts.cost_usd, -group.amounts.runs))


def _joined(groups: Iterable[Group], of: Callable[[Group], Value], **cleared: Any) -> list[Group]:
    """Add up the groups that have the same value."""
    by_value: dict[Value, list[Group]] = defaultdict(list)
    for group in groups:
        by_value[of(group)].append(group)
    return [replace(same[0], amounts=total(same), **cleared) for same in by_value.values()]
