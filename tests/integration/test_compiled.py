"""What is compiled answers as the plain ORM with the serializers does, row for row."""

import uuid
from collections.abc import Iterable
from typing import Any

import pytest
from django.conf import settings
from django.db.models import Model

import agents.queries
import tools.queries
from agents.models import Agent, AgentTool
from agents.serializers import AgentSerializer
from executions import history, queries
from executions.models import Execution
from executions.serializers import ExecutionSerializer
from executions.snapshots import Snapshot
from map_project.postgresql.compiled import Compiled
from map_project.tenants.authentication import Caller, find_caller
from map_project.tenants.keys import issue_key
from map_project.tenants.models import Tenant
from tests.factories import AgentFactory, ExecutionFactory, ToolFactory
from tools.models import Tool
from tools.serializers import ToolSerializer
from tools.services import create_tool


@pytest.fixture(autouse=True)
def _rows(tenant: Tenant, other_tenant: Tenant) -> None:
    for owner in (tenant, other_tenant):
        ToolFactory.create_batch(3, tenant=owner)
        for agent in AgentFactory.create_batch(3, tenant=owner, with_tools=3):
            # By code point, "Z" is before "a", whatever the database's collation says.
            for name in ("a", "Z", "ä"):
                tool = ToolFactory.create(tenant=owner, name=f"{name} of {agent.name}")
                AgentTool.objects.create(agent=agent, tool=tool)
            ExecutionFactory.create_batch(2, agent=agent)


def plain(serializer: Any, rows: Iterable[Model]) -> list[dict[str, Any]]:
    """As DRF would answer them; its UUIDs are texts."""
    return [dict(item) for item in serializer(rows, many=True).data]


def written(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: str(v) if isinstance(v, uuid.UUID) else v for k, v in row.items()} for row in rows]


def test_tools(tenant: Tenant) -> None:
    expected = plain(ToolSerializer, Tool.objects.filter(tenant=tenant))
    rows = tools.queries.ALL(tenant_id=tenant.pk)
    assert written(rows) == expected
    assert written(rows[2:5]) == expected[2:5]
    assert rows.count() == len(expected)


def test_a_new_tool(tenant: Tenant) -> None:
    row = create_tool(tenant_id=tenant.pk, name="new", description="d")
    assert list(row["parameters"]) == ["type", "properties"]
    made = Tool.objects.get(pk=row["id"])
    assert written([row]) == plain(ToolSerializer, [made])
    like = Tool.objects.create(tenant=tenant, name="like", description="d")
    like.refresh_from_db()
    differ = {"id", "name", "created_at", "updated_at"}
    columns = {field.attname for field in Tool._meta.fields} - differ
    assert {n: getattr(made, n) for n in columns} == {n: getattr(like, n) for n in columns}
    assert made.created_at == made.updated_at


def test_a_changed_tool(tenant: Tenant, other_tenant: Tenant) -> None:
    tool, bystander = Tool.objects.filter(tenant=tenant)[:2]
    texts = {"name": None, "description": "changed"}
    row = tools.queries.CHANGE(tenant_id=tenant.pk, pk=tool.pk, **texts)
    assert row is not None
    assert written([row]) == plain(ToolSerializer, Tool.objects.filter(pk=tool.pk))
    assert (row["name"], row["description"]) == (tool.name, "changed")
    assert row["created_at"] == tool.created_at < row["updated_at"]
    assert tools.queries.CHANGE(tenant_id=other_tenant.pk, pk=tool.pk, **texts) is None
    was = (bystander.name, bystander.description, bystander.updated_at)
    bystander.refresh_from_db()
    assert (bystander.name, bystander.description, bystander.updated_at) == was


def test_a_removed_tool(tenant: Tenant, other_tenant: Tenant) -> None:
    tool = ToolFactory.create(tenant=tenant)
    before = Tool.objects.count()
    assert tools.queries.REMOVE(tenant_id=other_tenant.pk, pk=tool.pk) is None
    assert tools.queries.REMOVE(tenant_id=tenant.pk, pk=tool.pk) == {"id": tool.pk}
    assert tools.queries.REMOVE(tenant_id=tenant.pk, pk=tool.pk) is None
    assert Tool.objects.count() == before - 1


def test_tools_of_an_agent(tenant: Tenant, other_tenant: Tenant) -> None:
    agent = Agent.objects.filter(tenant=tenant).latest("created_at")
    expected = plain(ToolSerializer, Tool.objects.filter(agents=agent))
    rows = tools.queries.OF_AGENT(tenant_id=tenant.pk, name=agent.name)
    assert written(rows) == expected
    assert len(expected) == rows.count() == 6
    assert tools.queries.OF_AGENT(tenant_id=other_tenant.pk, name=agent.name).count() == 0


def test_agents(tenant: Tenant) -> None:
    expected = plain(AgentSerializer, Agent.objects.filter(tenant=tenant))
    assert written(agents.queries.ALL(tenant_id=tenant.pk)) == expected
    names = [tool["name"] for tool in expected[0]["tools"]]
    assert names == sorted(names)
    assert len(names) == 6


def test_agents_with_a_tool(tenant: Tenant) -> None:
    tool = Tool.objects.filter(tenant=tenant, agents__isnull=False).latest("created_at")
    expected = plain(AgentSerializer, Agent.objects.filter(tools=tool))
    assert written(agents.queries.WITH_TOOL(tenant_id=tenant.pk, name=tool.name)) == expected


@pytest.mark.parametrize(
    ("one", "model", "serializer"),
    [
        (tools.queries.ONE, Tool, ToolSerializer),
        (agents.queries.ONE, Agent, AgentSerializer),
        (history.ONE, Execution, ExecutionSerializer),
    ],
)
def test_one(
    one: Compiled, model: type[Model], serializer: Any, tenant: Tenant, other_tenant: Tenant
) -> None:
    row = model._default_manager.filter(tenant=tenant)[0]
    (expected,) = plain(serializer, [row])
    (found,) = written(one(tenant_id=tenant.pk, pk=row.pk))
    # One execution tells more than a list of them: tests/contract/test_history.py.
    assert {name: found[name] for name in expected} == expected
    assert one(tenant_id=other_tenant.pk, pk=row.pk).first() is None


@pytest.mark.parametrize("allowed_models", [None, [], ["gpt-4o", "ä"]])
def test_the_caller_of_a_key(tenant: Tenant, allowed_models: list[str] | None) -> None:
    Tenant.objects.filter(pk=tenant.pk).update(
        allowed_models=allowed_models, rate_limit_requests=7, rate_limit_window_seconds=None
    )
    row, key = issue_key(tenant=tenant)
    assert find_caller(key) == Caller(
        tenant_id=tenant.pk,
        key_id=row.pk,
        key_prefix=row.prefix,
        rate_limit_requests=7,
        rate_limit_window_seconds=settings.RATE_LIMIT_WINDOW_SECONDS,
        allowed_models=None if allowed_models is None else frozenset(allowed_models),
    )


def test_the_agent_of_a_run(tenant: Tenant) -> None:
    agent = Agent.objects.filter(tenant=tenant)[0]
    row = queries.AGENT(tenant_id=tenant.pk, pk=agent.pk).first()
    assert row is not None
    found = Snapshot.of(tenant.pk, agent.pk, row)
    assert list(found.tools) == [tool.name for tool in agent.tools_by_name()]
    for name in ("name", "role", "version", "model", "max_steps"):
        assert getattr(found, name) == getattr(agent, name)


def test_the_record_of_a_run(tenant: Tenant, other_tenant: Tenant) -> None:
    agent = Agent.objects.filter(tenant=tenant)[0]
    execution_id = uuid.uuid4()
    values: dict[str, Any] = {
        "id": execution_id,
        "tenant_id": tenant.pk,
        "agent_id": agent.pk,
        "version": agent.version,
        "prompt": "p",
        "model": "gpt-4o",
        "provider": "mock",
        "system_prompt": "s",
        "response": "r",
        "latency_ms": 7,
        "request_id": "q",
    }
    assert queries.RECORD(**{**values, "version": agent.version + 1}) == []
    assert queries.RECORD(**{**values, "tenant_id": other_tenant.pk}) == []
    (recorded,) = queries.RECORD(**values)
    execution = Execution.objects.get(pk=execution_id)
    del values["version"], values["id"]
    values |= {"agent_name": agent.name, "status": "succeeded", "error_code": "", **recorded}
    assert {name: getattr(execution, name) for name in values} == values


def test_a_parameter_that_is_not_in_the_query_is_refused() -> None:
    compiled = Compiled(lambda name: Tool.objects.values("id"), name=str)
    with pytest.raises(ValueError, match="not in the query"):
        list(compiled(name="x"))
