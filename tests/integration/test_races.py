"""Simultaneous calls to a live server with two processes, and in one process."""

import time
import uuid
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial
from typing import Any

import pytest
from django.db import connection, transaction

from agents import language_models
from agents.models import Agent, AgentTool, LanguageModel
from agents.services import update_agent
from executions.models import Execution
from map_project.tenants.keys import issue_key
from map_project.tenants.models import Tenant
from map_project.tenants.scopes import SCOPES
from tests.api import Answer, LiveApi
from tests.at_once import at_once
from tests.conftest import api_of
from tests.factories import AgentFactory, TenantFactory, ToolFactory
from tools.models import Tool

ROUNDS = 8
CALLS = 8

Call = Callable[[], Answer]


def outcomes(calls: list[Call]) -> Counter[str]:
    """Return how often each status, with the code of an error, occurred."""
    return Counter(map(outcome, at_once(calls)))


def outcome(response: Answer) -> str:
    return (
        f"{response.status} {response.error_code}"
        if response.status >= 400
        else str(response.status)
    )


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
def test_many_creations_with_one_name(live_api: LiveApi, tenant: Tenant, resource: str) -> None:
    model, _, body = KINDS[resource]
    for _ in range(ROUNDS):
        name = new_name()
        found = outcomes([partial(live_api.post, f"{resource}s", body(name))] * CALLS)
        assert found == {"201": 1, f"400 DUPLICATE_{resource.upper()}_NAME": CALLS - 1}
        assert model.objects.filter(tenant=tenant, name=name).count() == 1


@pytest.mark.parametrize("resource", ["tool", "agent"])
@pytest.mark.parametrize("method", ["put", "patch"])
def test_many_changes_to_one_name(
    live_api: LiveApi, tenant: Tenant, resource: str, method: str
) -> None:
    _, factory, body = KINDS[resource]
    rows = factory.create_batch(CALLS, tenant=tenant)
    for _ in range(ROUNDS):
        sent = body(new_name()) if method == "put" else {"name": new_name()}
        found = outcomes(
            [partial(getattr(live_api, method), f"{resource}s/{row.pk}", sent) for row in rows]
        )
        assert found == {"200": 1, f"400 DUPLICATE_{resource.upper()}_NAME": CALLS - 1}


def test_names_swapped(live_api: LiveApi, tenant: Tenant) -> None:
    """Neither tool gets the other's name. The changes can wait for each other in the index; then the
    lock timeout ends them with 503.
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


@pytest.mark.parametrize("method", ["post", "patch", "put"])
def test_a_tool_associated_while_it_is_deleted(
    live_api: LiveApi, tenant: Tenant, method: str
) -> None:
    """Either the tool is kept and in use, or it is deleted and was never associated."""
    for _ in range(ROUNDS):
        tool, agent = ToolFactory.create(tenant=tenant), AgentFactory.create(tenant=tenant)
        body = agent_body(new_name(), tool)
        associate: dict[str, Call] = {
            "post": partial(live_api.post, "agents", body),
            "patch": partial(live_api.patch, f"agents/{agent.pk}", {"tool_ids": body["tool_ids"]}),
            "put": partial(live_api.put, f"agents/{agent.pk}", body),
        }
        delete: Call = partial(live_api.delete, f"tools/{tool.pk}")
        associated, deleted = at_once([associate[method], delete])
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


def test_many_agents_associate_tools_that_are_deleted(live_api: LiveApi, tenant: Tenant) -> None:
    for _ in range(ROUNDS):
        tools = ToolFactory.create_batch(3, tenant=tenant)
        creations = [
            # Each in a different order: the locks of several tools must not cause a deadlock.
            partial(
                live_api.post, "agents", agent_body(new_name(), *tools[n % 3 :], *tools[: n % 3])
            )
            for n in range(CALLS)
        ]
        deletions = [partial(live_api.delete, f"tools/{tool.pk}") for tool in tools]
        found = outcomes([*creations, *deletions])
        assert set(found) <= {"201", "403 CROSS_TENANT_TOOL", "204", "400 TOOL_IN_USE"}
        assert found["201"] + found["403 CROSS_TENANT_TOOL"] == CALLS
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
def test_many_deletions_of_one_row(live_api: LiveApi, tenant: Tenant, resource: str) -> None:
    _, factory, _ = KINDS[resource]
    for _ in range(ROUNDS):
        row = factory.create(tenant=tenant)
        found = outcomes([partial(live_api.delete, f"{resource}s/{row.pk}")] * CALLS)
        assert found == {"204": 1, f"404 {resource.upper()}_NOT_FOUND": CALLS - 1}


def test_many_changes_of_one_agent(live_api: LiveApi, tenant: Tenant) -> None:
    """The last change applies as a whole: role and tools are from the same request."""
    tools = ToolFactory.create_batch(CALLS, tenant=tenant)
    agent = AgentFactory.create(tenant=tenant)
    for _ in range(ROUNDS):
        bodies = [
            {"role": f"role {n}", "tool_ids": [str(tool.pk) for tool in tools[: n + 1]]}
            for n in range(CALLS)
        ]
        found = outcomes([partial(live_api.patch, f"agents/{agent.pk}", body) for body in bodies])
        assert found == {"200": CALLS}
        result = live_api.get(f"agents/{agent.pk}").json
        assert len(result["tools"]) == int(result["role"].removeprefix("role ")) + 1


@pytest.mark.parametrize("change", [{"name": "new"}, {"description": "new"}])
def test_a_tool_changed_while_it_is_associated(
    live_api: LiveApi, tenant: Tenant, change: dict[str, str]
) -> None:
    """The change waits for the association, so it also increments the version of this agent."""
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


@pytest.mark.parametrize(("quota", "surplus"), [(1, 11), (7, 5), (12, 0), (5, 15)])
def test_exactly_the_quota_passes(live_port: int, quota: int, surplus: int) -> None:
    tenant = TenantFactory.create(rate_limit_requests=quota)
    agent = AgentFactory.create(tenant=tenant, with_tools=1)
    # All keys of a tenant share its quota.
    keys = [api_of(tenant).key for _ in range(3)]
    calls = [
        partial(LiveApi(live_port, keys[n % 3]).run, agent.pk, f"prompt {n}")
        for n in range(quota + surplus)
    ]
    responses = at_once(calls)
    found = Counter(map(outcome, responses))
    assert found == Counter({"200": quota, "429 RATE_LIMIT_EXCEEDED": surplus})
    recorded = set(Execution.objects.filter(tenant=tenant).values_list("pk", flat=True))
    passed = [response for response in responses if response.status == 200]
    assert recorded == {uuid.UUID(response.json["execution_id"]) for response in passed}
    assert len(recorded) == quota
    remaining = sorted(int(response.headers["x-ratelimit-remaining"]) for response in passed)
    assert remaining == list(range(quota))


def test_runs_while_the_agent_is_deleted(live_api: LiveApi, tenant: Tenant) -> None:
    """A successful run is recorded, even if its agent has been deleted meanwhile."""
    for _ in range(5):
        agent = AgentFactory.create(tenant=tenant, with_tools=2)
        *runs, deleted = at_once(
            [partial(live_api.run, agent.pk)] * CALLS
            + [partial(live_api.delete, f"agents/{agent.pk}")]
        )
        assert deleted.status == 204
        assert {outcome(run) for run in runs} <= {"200", "404 AGENT_NOT_FOUND"}
        successful = {uuid.UUID(run.json["execution_id"]) for run in runs if run.status == 200}
        recorded = Execution.objects.filter(tenant=tenant, agent_id=agent.pk)
        assert set(recorded.values_list("pk", flat=True)) == successful


def test_runs_while_the_tools_change(live_api: LiveApi, tenant: Tenant) -> None:
    """Each run uses the tools before or after a change, never a mixture."""
    few, many = (
        ToolFactory.create_batch(2, tenant=tenant),
        ToolFactory.create_batch(5, tenant=tenant),
    )
    agent = AgentFactory.create(tenant=tenant)
    sets = [[str(tool.pk) for tool in tools] for tools in (few, many)]
    allowed = [sorted(tool.name for tool in tools) for tools in ([], few, many)]
    for round_ in range(8):
        change = partial(live_api.patch, f"agents/{agent.pk}", {"tool_ids": sets[round_ % 2]})
        *runs, changed = at_once([partial(live_api.run, agent.pk)] * CALLS + [change])
        assert changed.status == 200
        for run in runs:
            assert run.status == 200
            assert run.json["tools_available"] in allowed


def test_simultaneous_imports_create_each_tool_once(live_api: LiveApi, tenant: Tenant) -> None:
    paths: dict[str, Any] = {f"/{number}": {"get": {}} for number in range(20)}
    document = {"openapi": "3.0.0", "servers": [{"url": "https://a.example"}], "paths": paths}
    operations = [f"GET {path}" for path in paths]
    for number in range(ROUNDS):
        body = {"kind": "openapi", "document": document, "prefix": f"r{number}_"}
        # In opposite orders.
        calls = [
            partial(live_api.post, "tools/import", {**body, "operations": operations[::step]})
            for step in (1, -1) * (CALLS // 2)
        ]
        results = [response.json for response in at_once(calls)]
        assert all("created" in result for result in results), results
        assert sum(len(result["created"]) for result in results) == len(paths)
        assert sum(len(result["unchanged"]) for result in results) == (CALLS - 1) * len(paths)
    assert Tool.objects.filter(tenant=tenant).count() == ROUNDS * len(paths)


def test_a_key_is_rotated_once(live_port: int, tenant: Tenant) -> None:
    api = LiveApi(live_port, issue_key(tenant=tenant, scopes=SCOPES)[1])
    for _ in range(ROUNDS):
        row, _ = issue_key(tenant=tenant)
        found = outcomes([partial(api.post, f"keys/{row.pk}/rotate", {})] * CALLS)
        assert found == Counter({"201": 1, "409 KEY_NOT_VALID": CALLS - 1})


def test_of_keys_that_rotate_each_other_one_is_left(live_port: int, tenant: Tenant) -> None:
    for _ in range(ROUNDS):
        (first, first_key), (second, second_key) = (
            issue_key(tenant=tenant, scopes=["keys"]) for _ in range(2)
        )
        calls: list[Call] = [
            partial(LiveApi(live_port, key).post, f"keys/{row.pk}/rotate", {})
            for key, row in ((first_key, second), (second_key, first))
        ]
        assert outcomes(calls) == Counter({"201": 1, "401 INVALID_API_KEY": 1})


@pytest.mark.parametrize("query_seconds", [0, 1.3])
def test_requests_after_an_idle_time_know_a_model_of_another_process(query_seconds: float) -> None:
    """They do not use the old list while one of them reads the new one, as long as a query may take."""
    language_models.offered(None)
    # Without signals, as in another process.
    model = LanguageModel(name=str(uuid.uuid4()), provider="mock")
    LanguageModel.objects.bulk_create([model])
    time.sleep(2)

    def slowly(execute: Any, *arguments: Any) -> Any:
        time.sleep(query_seconds)
        return execute(*arguments)

    def find() -> str:
        try:
            with connection.execute_wrapper(slowly):
                return language_models.find(model.name, None).name
        finally:
            connection.close()

    try:
        assert set(at_once([find] * 16)) == {model.name}
    finally:
        LanguageModel.objects.filter(name=model.name).delete()
