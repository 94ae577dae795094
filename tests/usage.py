"""Rows of ended runs and of totals, and the usage that the API returns."""

import uuid
from datetime import UTC, datetime
from typing import Any

from executions.models import Execution
from map_project.tenants.models import Tenant
from map_project.usage.models import HourlyUsage
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
