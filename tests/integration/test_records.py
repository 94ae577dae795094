"""The SQL statement that inserts an execution, compared with the ORM; and the snapshots that it checks."""

import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models.functions import Now

from agents.language_models import KnownModel
from agents.models import Agent, AgentTool
from executions import snapshots
from executions.inserts import RunRequest, insert_execution
from executions.jobs import leases
from executions.models import Execution
from map_project.tenants.models import Tenant
from ratelimit.idempotency import KeyedRequest
from tests.api import Api
from tests.factories import AgentFactory, ToolFactory
from tools.models import Tool

TIME_LIMIT = timedelta(seconds=60)


@pytest.fixture
def agent(tenant: Tenant) -> Agent:
    agent: Agent = AgentFactory.create(tenant=tenant, name="Ада \U0001f600", with_tools=2)
    return agent


def request_for(agent: Agent) -> RunRequest:
    snapshot = snapshots.read(agent.tenant_id, agent.pk)
    prompt = "A 'prompt'.\r\n\u20ac %s"
    return RunRequest(
        snapshot,
        KnownModel("m", "openai"),
        prompt,
        "request-1",
        "map_prefix12",
        {"ключ": "\u20ac"},
        KeyedRequest(agent.tenant_id, "key-1", "f" * 64),
    )


def columns(execution: Execution) -> dict[str, Any]:
    """Return all columns that two executions of the same run have in common."""
    execution.refresh_from_db()
    values = {field.attname: getattr(execution, field.attname) for field in Execution._meta.fields}
    del values["id"]
    created_at = values.pop("created_at")
    times = ("started_at", "finished_at", "finish_by", "lease_expires_at")
    return values | {name: values[name] and values[name] - created_at for name in times}


@pytest.mark.parametrize(
    ("inserted", "of_orm"),
    [
        (
            {
                "status": Execution.Status.SUCCEEDED,
                "stop_reason": "completed",
                "response": "A response.",
                "latency_ms": 70_000,
            },
            {
                "status": "succeeded",
                "response": "A response.",
                "latency_ms": 70_000,
                "started_at": Now(),
                "finished_at": Now(),
            },
        ),
        (
            {"status": Execution.Status.RUNNING, "time_limit": TIME_LIMIT},
            {
                "status": "running",
                "stop_reason": "",
                "latency_ms": 0,
                "started_at": Now(),
                "finish_by": Now() + TIME_LIMIT,
                "lease_owner": leases.owner(),
                "lease_expires_at": Now() + leases.LEASE,
            },
        ),
        (
            {"status": Execution.Status.QUEUED},
            {
                "status": "queued",
                "stop_reason": "",
                "latency_ms": 0,
                "background": True,
                "attempt": 0,
            },
        ),
    ],
    ids=["succeeded", "running", "queued"],
)
def test_the_row_is_the_one_that_the_orm_inserts(
    agent: Agent, inserted: dict[str, Any], of_orm: dict[str, Any]
) -> None:
    request, execution_id = request_for(agent), uuid.uuid4()
    created_at = insert_execution(execution_id, request, **inserted)
    execution = Execution.objects.get(pk=execution_id)
    assert execution.created_at == created_at
    expected = Execution.objects.create(
        tenant_id=agent.tenant_id,
        agent_id=agent.pk,
        agent_name=agent.name,
        prompt=request.prompt,
        model="m",
        provider="openai",
        system_prompt=request.agent.system_prompt,
        request_id="request-1",
        key_prefix="map_prefix12",
        metadata={"ключ": "\u20ac"},
        idempotency_key="key-1",
        **of_orm,
    )
    assert columns(execution) == columns(expected)


def test_nothing_is_inserted_if_the_agent_has_changed(agent: Agent) -> None:
    request, execution_id = request_for(agent), uuid.uuid4()
    Agent.objects.filter(pk=agent.pk).update(role="changed")
    assert insert_execution(execution_id, request, status=Execution.Status.SUCCEEDED) is None
    assert not Execution.objects.filter(pk=execution_id).exists()


def test_nothing_is_inserted_if_the_agent_is_deleted(agent: Agent) -> None:
    request, execution_id = request_for(agent), uuid.uuid4()
    agent.delete()
    assert insert_execution(execution_id, request, status=Execution.Status.SUCCEEDED) is None


def test_the_agent_of_another_tenant_is_not_read(agent: Agent, other_tenant: Tenant) -> None:
    with pytest.raises(Agent.DoesNotExist):
        snapshots.read(other_tenant.pk, agent.pk)


def test_a_snapshot_has_the_columns_of_its_agent(agent: Agent) -> None:
    # By code point, "Z" is before "a", whatever the collation of the database is.
    for name in ("a", "Z", "ä"):
        tool = ToolFactory.create(tenant=agent.tenant, name=name)
        AgentTool.objects.create(agent=agent, tool=tool)
    agent.refresh_from_db()
    snapshot = snapshots.read(agent.tenant_id, agent.pk)
    assert list(snapshot.tool_names) == sorted(agent.tools.values_list("name", flat=True))
    for name in ("tenant_id", "name", "version", "model", "max_steps"):
        assert getattr(snapshot, name) == getattr(agent, name)


def test_a_tool_that_changes_while_its_agent_is_read(api: Api, tenant: Tenant) -> None:
    """The snapshot of the first attempt has the tool's new name, but the agent's old version."""
    agent = AgentFactory.create(tenant=tenant, with_tools=1)
    changed: list[str] = []

    def rename(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        result = execute(sql, params, many, context)
        if not changed and 'FROM "agents_agent"' in sql:
            changed.append(sql)
            Tool.objects.filter(agents=agent).update(name="renamed")
        return result

    with connection.execute_wrapper(rename):
        run = api.run(agent.pk)
    assert changed
    assert (run.status, run.json["tools_available"]) == (200, ["renamed"])
    assert "renamed" in run.json["response"]
