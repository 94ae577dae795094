"""Simultaneous calls against a live server: two processes, many threads, a connection each."""

import uuid
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial
from typing import Any

import pytest
from django.db import transaction

from agents.models import Agent, AgentTool
from agents.services import update_agent
from executions.models import Execution
from map_project.tenants.models import Tenant
from tests.api import Answer, LiveApi
from tests.at_once import at_once
from tests.conftest import api_of
from tests.factories import AgentFactory, TenantFactory, ToolFactory
from tools.models import Tool

ROUNDS = 8
CROWD = 8

Call = Callable[[], Answer]


def outcomes(calls: list[Call]) -> Counter[str]:
    """How often each answer came: its status, and the error's code if it is one."""
    return Counter(map(outcome, at_once(calls)))


def outcome(answer: Answer) -> str:
    return f"{answer.status} {answer.error_code}" if answer.status >= 400 else str(answer.status)


def tool_body(name: str) -> dict[str, object]:
    return {"name": name, "description": "d"}


def agent_body(name: str, *tools: Tool) -> dict[str, object]:
    tool_ids = [str(tool.pk) for tool in tools]
    return {"name": name, "role": "r", "description": "d", "tool_ids": tool_ids}


KINDS: dict[str, tuple[Any, Any, Callable[[str], dict[str, object]]]] = {
    "tool": (Tool, ToolFactory, tool_body),
    "agent": (Agent, AgentFactory, agent_body),
}


def new_name() -> str:
    return uuid.uuid4().hex


@pytest.mark.parametrize("resource", ["tool", "agent"])
def test_one_name_made_by_many(live_api: LiveApi, tenant: Tenant, resource: str) -> None:
    model, _, body = KINDS[resource]
    for _ in range(ROUNDS):
        name = new_name()
        found = outcomes([partial(live_api.post, f"{resource}s", body(name))] * CROWD)
        assert found == {"201": 1, f"400 DUPLICATE_{resource.upper()}_NAME": CROWD - 1}
        assert model.objects.filter(tenant=tenant, name=name).count() == 1


@pytest.mark.parametrize("resource", ["tool", "agent"])
@pytest.mark.parametrize("method", ["put", "patch"])
def test_one_name_taken_by_many(
    live_api: LiveApi, tenant: Tenant, resource: str, method: str
) -> None:
    _, factory, body = KINDS[resource]
    rows = factory.create_batch(CROWD, tenant=tenant)
    for _ in range(ROUNDS):
        sent = body(new_name()) if method == "put" else {"name": new_name()}
        found = outcomes(
            [partial(getattr(live_api, method), f"{resource}s/{row.pk}", sent) for row in rows]
        )
        assert found == {"200": 1, f"400 DUPLICATE_{resource.upper()}_NAME": CROWD - 1}


def test_names_swapped(live_api: LiveApi, tenant: Tenant) -> None:
    """Two that want each other's name: neither gets it. At one moment they wait for each other in
    the index, and both are told to try again when the time for a lock is over.
    """
    one, two = ToolFactory.create_batch(2, tenant=tenant)
    for _ in range(ROUNDS):
        found = outcomes(
            [
                partial(live_api.patch, f"tools/{one.pk}", {"name": two.name}),
                partial(live_api.patch, f"tools/{two.pk}", {"name": one.name}),
            ]
        )
        assert set(found) <= {"400 DUPLICATE_TOOL_NAME", "503 SERVICE_UNAVAILABLE"}
    for tool in (one, two):
        assert live_api.get(f"tools/{tool.pk}").json["name"] == tool.name


@pytest.mark.parametrize("way", ["post", "patch", "put"])
def test_a_tool_associated_while_it_is_deleted(live_api: LiveApi, tenant: Tenant, way: str) -> None:
    """Either the tool stays and is in use, or it is gone and was never associated."""
    for _ in range(ROUNDS):
        tool, agent = ToolFactory.create(tenant=tenant), AgentFactory.create(tenant=tenant)
        body = agent_body(new_name(), tool)
        associate: dict[str, Call] = {
            "post": partial(live_api.post, "agents", body),
            "patch": partial(live_api.patch, f"agents/{agent.pk}", {"tool_ids": body["tool_ids"]}),
            "put": partial(live_api.put, f"agents/{agent.pk}", body),
        }
        delete: Call = partial(live_api.delete, f"tools/{tool.pk}")
        associated, deleted = at_once([associate[way], delete])
        if deleted.status == 204:
            assert outcome(associated) == "403 CROSS_TENANT_TOOL"
            assert associated.details == {"tool_id": str(tool.pk)}
            assert not Agent.objects.filter(tenant=tenant, name=body["name"]).exists()
        else:
            assert outcome(deleted) == "400 TOOL_IN_USE"
            assert associated.status in {200, 201}
            dependents = [agent["id"] for agent in deleted.details["dependent_agents"]]
            assert dependents == [associated.json["id"]]
            assert live_api.get(f"agents/{dependents[0]}").json["tools"][0]["id"] == str(tool.pk)
        assert_no_orphans(tenant)


def assert_no_orphans(tenant: Tenant) -> None:
    pairs = AgentTool.objects.filter(agent__tenant=tenant)
    assert pairs.count() == pairs.filter(tool__tenant=tenant).count()
    tools = Tool.objects.filter(tenant=tenant).values("pk")
    assert not pairs.exclude(tool__in=tools).exists()


def test_many_agents_take_a_tool_while_it_is_deleted(live_api: LiveApi, tenant: Tenant) -> None:
    for _ in range(ROUNDS):
        tools = ToolFactory.create_batch(3, tenant=tenant)
        takes = [
            # Each in another order: whoever locks several tools may not wait for one who waits.
            partial(
                live_api.post, "agents", agent_body(new_name(), *tools[n % 3 :], *tools[: n % 3])
            )
            for n in range(CROWD)
        ]
        deletes = [partial(live_api.delete, f"tools/{tool.pk}") for tool in tools]
        found = outcomes([*takes, *deletes])
        assert set(found) <= {"201", "403 CROSS_TENANT_TOOL", "204", "400 TOOL_IN_USE"}
        assert found["201"] + found["403 CROSS_TENANT_TOOL"] == CROWD
        assert found["201"] == 0 or found["204"] == 0
        assert_no_orphans(tenant)


@pytest.mark.parametrize("method", ["put", "patch"])
def test_an_agent_changed_while_it_is_deleted(
    live_api: LiveApi, tenant: Tenant, method: str
) -> None:
    tools = ToolFactory.create_batch(2, tenant=tenant)
    for _ in range(ROUNDS):
        agent = AgentFactory.create(tenant=tenant, with_tools=1)
        change = partial(
            getattr(live_api, method), f"agents/{agent.pk}", agent_body(new_name(), *tools)
        )
        changed, deleted, read = at_once(
            [
                change,
                partial(live_api.delete, f"agents/{agent.pk}"),
                partial(live_api.get, f"agents/{agent.pk}"),
            ]
        )
        assert outcome(changed) in {"200", "404 AGENT_NOT_FOUND"}
        assert outcome(deleted) == "204"
        assert outcome(read) in {"200", "404 AGENT_NOT_FOUND"}
        assert not Agent.objects.filter(pk=agent.pk).exists()
        assert not AgentTool.objects.filter(agent_id=agent.pk).exists()


def test_a_tool_changed_while_it_is_deleted(live_api: LiveApi, tenant: Tenant) -> None:
    for _ in range(ROUNDS):
        tool = ToolFactory.create(tenant=tenant)
        changed, deleted = at_once(
            [
                partial(live_api.patch, f"tools/{tool.pk}", {"description": "new"}),
                partial(live_api.delete, f"tools/{tool.pk}"),
            ]
        )
        assert outcome(changed) in {"200", "404 TOOL_NOT_FOUND"}
        assert outcome(deleted) == "204"
        assert not Tool.objects.filter(pk=tool.pk).exists()


@pytest.mark.parametrize("resource", ["tool", "agent"])
def test_deleted_by_many(live_api: LiveApi, tenant: Tenant, resource: str) -> None:
    _, factory, _ = KINDS[resource]
    for _ in range(ROUNDS):
        row = factory.create(tenant=tenant)
        found = outcomes([partial(live_api.delete, f"{resource}s/{row.pk}")] * CROWD)
        assert found == {"204": 1, f"404 {resource.upper()}_NOT_FOUND": CROWD - 1}


def test_one_agent_changed_by_many(live_api: LiveApi, tenant: Tenant) -> None:
    """The last one wins, whole: the tools are those that one of them sent."""
    tools = ToolFactory.create_batch(CROWD, tenant=tenant)
    agent = AgentFactory.create(tenant=tenant)
    for _ in range(ROUNDS):
        bodies = [
            {"role": f"role {n}", "tool_ids": [str(tool.pk) for tool in tools[: n + 1]]}
            for n in range(CROWD)
        ]
        found = outcomes([partial(live_api.patch, f"agents/{agent.pk}", body) for body in bodies])
        assert found == {"200": CROWD}
        left = live_api.get(f"agents/{agent.pk}").json
        assert len(left["tools"]) == int(left["role"].removeprefix("role ")) + 1


@pytest.mark.parametrize("change", [{"name": "new"}, {"description": "new"}])
def test_a_tool_changed_while_it_is_associated(
    live_api: LiveApi, tenant: Tenant, change: dict[str, str]
) -> None:
    """The change waits for the association, and so counts up the version of this agent as well."""
    tool, agent = ToolFactory.create(tenant=tenant), AgentFactory.create(tenant=tenant)
    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            update_agent(agent=agent, fields={"tool_ids": [tool.pk]})
            changed = pool.submit(live_api.patch, f"tools/{tool.pk}", change)
            wait([changed], 0.3)
            agent.refresh_from_db()
            associated = agent.version
        assert changed.result().status == 200
    agent.refresh_from_db()
    assert agent.version > associated
    assert live_api.run(agent.pk).json["tools_available"] == [changed.result().json["name"]]


@pytest.mark.parametrize(("quota", "more"), [(1, 11), (7, 5), (12, 0), (5, 15)])
def test_exactly_the_quota_passes(live_port: int, quota: int, more: int) -> None:
    tenant = TenantFactory.create(rate_limit_requests=quota)
    agent = AgentFactory.create(tenant=tenant, with_tools=1)
    # All keys of a tenant share its quota.
    keys = [api_of(tenant).key for _ in range(3)]
    calls = [
        partial(LiveApi(live_port, keys[n % 3]).run, agent.pk, f"prompt {n}")
        for n in range(quota + more)
    ]
    answers = at_once(calls)
    found = Counter(map(outcome, answers))
    assert found == Counter({"200": quota, "429 RATE_LIMIT_EXCEEDED": more})
    recorded = set(Execution.objects.filter(tenant=tenant).values_list("pk", flat=True))
    passed = [answer for answer in answers if answer.status == 200]
    assert recorded == {uuid.UUID(answer.json["execution_id"]) for answer in passed}
    assert len(recorded) == quota
    remaining = sorted(int(answer.headers["x-ratelimit-remaining"]) for answer in passed)
    assert remaining == list(range(quota))


def test_runs_while_the_agent_is_deleted(live_api: LiveApi, tenant: Tenant) -> None:
    """A run that is answered is recorded, also if its agent is gone by then."""
    for _ in range(5):
        agent = AgentFactory.create(tenant=tenant, with_tools=2)
        *runs, deleted = at_once(
            [partial(live_api.run, agent.pk)] * CROWD
            + [partial(live_api.delete, f"agents/{agent.pk}")]
        )
        assert deleted.status == 204
        assert {outcome(run) for run in runs} <= {"200", "404 AGENT_NOT_FOUND"}
        ran = {uuid.UUID(run.json["execution_id"]) for run in runs if run.status == 200}
        recorded = Execution.objects.filter(tenant=tenant, agent_id=agent.pk)
        assert set(recorded.values_list("pk", flat=True)) == ran


def test_runs_while_the_tools_change(live_api: LiveApi, tenant: Tenant) -> None:
    """Every run sees the tools as they were at one moment: before a change or after it, no mixture."""
    few, many = (
        ToolFactory.create_batch(2, tenant=tenant),
        ToolFactory.create_batch(5, tenant=tenant),
    )
    agent = AgentFactory.create(tenant=tenant)
    sets = [[str(tool.pk) for tool in tools] for tools in (few, many)]
    allowed = [sorted(tool.name for tool in tools) for tools in ([], few, many)]
    for round_ in range(8):
        change = partial(live_api.patch, f"agents/{agent.pk}", {"tool_ids": sets[round_ % 2]})
        *runs, changed = at_once([partial(live_api.run, agent.pk)] * CROWD + [change])
        assert changed.status == 200
        for run in runs:
            assert run.status == 200
            assert run.json["tools_available"] in allowed
