"""`/api/v1/history`"""

from datetime import UTC, datetime, timedelta

import pytest

from agents.models import Agent
from executions.models import Execution, Step
from map_project.tenants.models import Tenant
from tests.api import Api
from tests.contract.shapes import ids, is_time
from tests.contract.writes import AGENT
from tests.factories import AgentFactory, ExecutionFactory

FIELDS = [
    "id",
    "agent_id",
    "agent_name",
    "prompt",
    "model",
    "response",
    "status",
    "created_at",
    "request_id",
]

# The additional fields of a single execution.
DETAIL_FIELDS = [
    "stop_reason",
    "error_code",
    "error_reason",
    "provider_error",
    "provider",
    "input_tokens",
    "output_tokens",
    "cost_usd",
    "latency_ms",
    "background",
    "attempt",
    "started_at",
    "finished_at",
    "metadata",
    "idempotency_key",
    "previous_execution_id",
    "conversation_id",
    "dropped_exchanges",
    "output_schema",
    "output",
    "output_errors",
    "system_prompt",
    "steps",
]


@pytest.fixture
def agent(tenant: Tenant) -> Agent:
    return AgentFactory.create(tenant=tenant)


def test_a_run_is_stored_with_all_fields(api: Api, agent: Agent) -> None:
    result = api.run(agent.pk, prompt=" p\n", model="gpt-4")
    run = result.json
    response = api.get(f"history/{run['execution_id']}")
    assert response.status == 200
    assert list(response.json) == [*FIELDS, *DETAIL_FIELDS]
    assert response.json | {"latency_ms": 0} == {
        "id": run["execution_id"],
        "agent_id": str(agent.pk),
        "agent_name": agent.name,
        "prompt": " p\n",
        "model": "gpt-4",
        "response": run["response"],
        "status": "succeeded",
        "created_at": run["executed_at"],
        "stop_reason": "completed",
        "error_code": None,
        "error_reason": None,
        "provider_error": None,
        "provider": "mock",
        "input_tokens": None,
        "output_tokens": None,
        "cost_usd": None,
        "latency_ms": 0,
        "request_id": result.headers["x-request-id"],
        "background": False,
        "attempt": 1,
        "started_at": run["executed_at"],
        "finished_at": run["executed_at"],
        "metadata": None,
        "idempotency_key": None,
        "previous_execution_id": None,
        "conversation_id": None,
        "dropped_exchanges": 0,
        "output_schema": None,
        "output": None,
        "output_errors": None,
        "system_prompt": f"You are {agent.name}, analyst.\n\nLooks into things.",
        "steps": [],
    }
    assert is_time(response.json["created_at"])
    listed = api.get("history").json
    not_truncated = {"prompt_truncated": False, "response_truncated": False}
    assert listed["items"] == [{name: response.json[name] for name in FIELDS} | not_truncated]


def test_steps_are_paginated(api: Api, agent: Agent) -> None:
    execution = ExecutionFactory.create(agent=agent)
    steps = [
        Step(execution=execution, position=position, kind="tool", name=str(position), latency_ms=1)
        for position in range(130)
    ]
    Step.objects.bulk_create(steps[::-1])
    path = f"history/{execution.pk}"
    names = [str(position) for position in range(130)]
    assert [step["name"] for step in api.get(path).json["steps"]] == names[:100]
    page = api.get(f"{path}/steps?limit=50&offset=90").json
    assert [step["name"] for step in page["items"]] == names[90:]
    assert (page["total"], page["has_more"]) == (130, False)
    first = api.get(f"{path}/steps").json
    assert (len(first["items"]), first["has_more"]) == (20, True)
    assert first["items"] == api.get(path).json["steps"][:20]
    assert api.get(f"{path}/steps?limit=0").error_code == "INVALID_PAGINATION"


@pytest.mark.parametrize(
    ("text", "listed"),
    [
        ("x" * 16384, "x" * 16384),
        ("x" * 16385, "x" * 16384),
        ("x" * 1_000_000, "x" * 16384),
        ("é" * 8192, "é" * 8192),
        ("x" + "é" * 8192, "x" + "é" * 8191),
        ("xy" + "\U0001f600" * 4096, "xy" + "\U0001f600" * 4095),
    ],
)
def test_a_list_has_the_first_16_kib_of_a_text(
    api: Api, agent: Agent, text: str, listed: str
) -> None:
    execution = ExecutionFactory.create(agent=agent, prompt=text, response=text)
    [item] = api.get("history").json["items"]
    assert (item["prompt"], item["response"]) == (listed, listed)
    is_truncated = listed != text
    assert (item["prompt_truncated"], item["response_truncated"]) == (is_truncated, is_truncated)
    detail = api.get(f"history/{execution.pk}").json
    assert (detail["prompt"], detail["response"]) == (text, text)


def test_the_newest_comes_first(api: Api, agent: Agent) -> None:
    runs = [api.run(agent.pk).json["execution_id"] for _ in range(4)]
    assert ids(api.get("history").json) == runs[::-1]
    assert ids(api.get("history?limit=2&offset=1").json) == [runs[2], runs[1]]


def test_executions_of_the_same_time_are_ordered_by_descending_id(api: Api, agent: Agent) -> None:
    now = datetime.now(UTC)
    same = ExecutionFactory.create_batch(5, agent=agent, created_at=now)
    older = ExecutionFactory.create(agent=agent, created_at=now - timedelta(seconds=1))
    expected = sorted((str(row.pk) for row in same), reverse=True)
    assert ids(api.get("history").json) == [*expected, str(older.pk)]


def test_tools_and_agents_of_the_same_time_are_ordered_by_id(api: Api, tenant: Tenant) -> None:
    now = datetime.now(UTC)
    agents = AgentFactory.create_batch(4, tenant=tenant, created_at=now, with_tools=1)
    tools = [agent.tools.get() for agent in agents]
    for tool in tools:
        tool.created_at = now
        tool.save()
    for route, rows in (("agents", agents), ("tools", tools)):
        assert ids(api.get(route).json) == sorted(str(row.pk) for row in rows)


def test_changing_or_deleting_an_agent_keeps_its_history(api: Api, agent: Agent) -> None:
    run = api.run(agent.pk).json["execution_id"]
    before = api.get(f"history/{run}").json
    api.put(f"agents/{agent.pk}", {**AGENT, "name": "renamed"})
    assert api.get(f"history/{run}").json == before
    assert api.run(agent.pk).json["agent_name"] == "renamed"
    api.delete(f"agents/{agent.pk}")
    assert api.get(f"history/{run}").json == before
    assert [item["agent_name"] for item in api.get("history").json["items"]] == [
        "renamed",
        agent.name,
    ]


def test_a_new_agent_of_the_same_name_does_not_inherit_the_history(api: Api, agent: Agent) -> None:
    run = api.run(agent.pk).json["execution_id"]
    api.delete(f"agents/{agent.pk}")
    new_id = api.post("agents", {**AGENT, "name": agent.name}).json["id"]
    assert new_id != str(agent.pk)
    assert api.get(f"history/{run}").json["agent_id"] == str(agent.pk)


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_the_history_is_read_only(api: Api, agent: Agent, method: str) -> None:
    run = api.run(agent.pk).json["execution_id"]
    before = api.get(f"history/{run}").json
    for path in (f"history/{run}", "history"):
        response = api.call(method, path, {"prompt": "other"})
        assert (response.status, response.error_code) == (405, "METHOD_NOT_ALLOWED")
        assert response.headers["allow"] == "GET, HEAD"
    assert api.get(f"history/{run}").json == before
    assert Execution.objects.filter(tenant=agent.tenant).count() == 1


def test_each_tenant_sees_its_own_executions(
    api: Api, other_api: Api, agent: Agent, other_tenant: Tenant
) -> None:
    other_api.run(AgentFactory.create(tenant=other_tenant).pk)
    run = api.run(agent.pk).json["execution_id"]
    assert ids(api.get("history").json) == [run]
    assert api.get("history").json["total"] == 1
