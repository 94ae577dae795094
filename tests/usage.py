"""Rows of ended runs and of totals, the usage that the API returns, and a recount of the executions."""

import uuid
from datetime import UTC, datetime
from typing import Any

from django.db import connection
from django.db.models import Sum

from executions.models import Execution
from executions.steps import NOT_MADE_ERRORS
from map_project.tenants.models import Tenant
from map_project.usage.folding import fold_usage
from map_project.usage.models import EndedRun, HourlyUsage, Usage
from tests.api import Api
from tests.factories import ExecutionFactory

NOTHING = {
    "runs": 0,
    "failures": 0,
    "input_tokens": 0,
    "output_tokens": 0,
    "total_tokens": 0,
    "cost_usd": "0",
    "tool_calls": 0,
    "failed_tool_calls": 0,
}
AMOUNTS = [*NOTHING]
MARCH = "from=2026-03-01&to=2026-04-01"
NOON = datetime(2026, 3, 15, 12, tzinfo=UTC)


def ended(agent: Any, at: datetime = NOON, **fields: Any) -> Execution:
    execution: Execution = ExecutionFactory.create(agent=agent, finished_at=at, **fields)
    return execution


def totalled(tenant: Tenant, at: datetime = NOON, **fields: Any) -> None:
    """Create a row of the totals."""
    columns = {
        "model": "gpt-4o",
        "provider": "mock",
        "agent_id": uuid.uuid4(),
        "agent_name": "a",
        "key_prefix": "",
        "status": "succeeded",
        **dict.fromkeys(("input_tokens", "output_tokens", "cost_usd", "latency_ms"), 0),
        **dict.fromkeys(("tool_calls", "failed_tool_calls"), 0),
        "runs": 1,
        **fields,
    }
    HourlyUsage.objects.create(tenant=tenant, hour=at, **columns)


def read(api: Api, query: str) -> Any:
    response = api.get(f"usage?{query}")
    assert response.status == 200, response.content
    return response.json


def runs_by(api: Api, name: str, query: str = MARCH) -> dict[Any, int]:
    return {item[name]: item["runs"] for item in read(api, f"{query}&group_by={name}")["items"]}


_KEY = "tenant_id, hour, model, provider, agent_id, key_prefix, status"
_SUMS = "runs, input_tokens, output_tokens, cost_usd, tool_calls, failed_tool_calls, latency_ms"
# Both in one statement, and so of one snapshot.
_DIFFERENCE = f"""
WITH recount AS (
    SELECT tenant_id, date_trunc('hour', COALESCE(finished_at, created_at), 'UTC') AS hour, model,
        provider, agent_id, key_prefix, status, count(*) AS runs,
        COALESCE(sum(input_tokens), 0) AS input_tokens,
        COALESCE(sum(output_tokens), 0) AS output_tokens, COALESCE(sum(cost_usd), 0) AS cost_usd,
        sum((SELECT count(*) FROM executions_step
            WHERE execution_id = execution.id AND kind = 'tool'
            AND error <> ALL(%(not_made)s))) AS tool_calls,
        sum((SELECT count(*) FROM executions_step
            WHERE execution_id = execution.id AND kind = 'tool'
            AND error <> ALL(%(not_made)s) AND error <> '')) AS failed_tool_calls,
        sum(latency_ms) AS latency_ms
    FROM executions_execution execution
    WHERE tenant_id = ANY(%(tenants)s) AND status NOT IN ('queued', 'running', 'requires_action')
    GROUP BY {_KEY.replace("hour", "2")}
), usage AS (
    SELECT {_KEY}, {", ".join(f"sum({name}) AS {name}" for name in _SUMS.split(", "))}
    FROM usage_current WHERE tenant_id = ANY(%(tenants)s) GROUP BY {_KEY}
)
(SELECT 'recount', {_KEY}, {_SUMS} FROM recount EXCEPT SELECT 'recount', {_KEY}, {_SUMS} FROM usage)
UNION ALL
(SELECT 'usage', {_KEY}, {_SUMS} FROM usage EXCEPT SELECT 'usage', {_KEY}, {_SUMS} FROM recount)
"""


def difference(*tenants: Tenant) -> list[Any]:
    """Return the rows in which the usage and a recount differ."""
    parameters: dict[str, Any] = {
        "tenants": [tenant.pk for tenant in tenants],
        "not_made": [*NOT_MADE_ERRORS],
    }
    with connection.cursor() as cursor:
        cursor.execute(_DIFFERENCE, parameters)
        return [*cursor.fetchall()]


def totals(tenant: Tenant) -> dict[str, Any]:
    names = _SUMS.split(", ")
    return Usage.objects.filter(tenant=tenant).aggregate(**{name: Sum(name) for name in names})


def fold_all(tenant: Tenant) -> None:
    """Fold until no row of the tenant is left. Servers of other tests fold as well."""
    while EndedRun.objects.filter(tenant=tenant).exists():
        fold_usage()
