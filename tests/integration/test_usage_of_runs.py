"""Each kind of run is in the usage once it has ended: of both doors, with tools, approvals and failures."""

import ipaddress
import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db.models.functions import Now

from agents.models import Agent, LanguageModel
from executions.approvals.services import end_expired
from executions.jobs.runs import run_queued
from executions.models import Approval
from map_project.tenants.models import Tenant
from tests.api import Api
from tests.effects_server import effects_server
from tests.factories import AgentFactory, ToolFactory
from tests.stub_model import StubModel, completion, error, streamed
from tests.usage import difference, totals

MODEL = "priced for usage"
CALLS = completion("", calls=[("act", "{}"), ("nothing", "{}")])
DONE = completion("Done.")


@pytest.fixture
def stub(model_server: StubModel) -> Iterator[StubModel]:
    """The server of the model, which uses 12 input tokens and 3 output tokens for each response."""
    row = LanguageModel.objects.create(
        name=MODEL,
        provider="openai",
        base_url=model_server.url,
        max_retries=0,
        input_price_per_million="1",
        output_price_per_million="2",
    )
    yield model_server.says(DONE)
    row.delete()


@pytest.fixture
def agent(tenant: Tenant, stub: StubModel) -> Agent:
    agent: Agent = AgentFactory.create(tenant=tenant, model=MODEL)
    return agent


@pytest.fixture
def careful(agent: Agent, settings: Any) -> Iterator[Agent]:
    """The agent with a tool whose calls need approval."""
    settings.TOOL_ALLOWED_NETWORKS = (ipaddress.ip_network("127.0.0.1/32"),)
    with effects_server() as effects:
        tool = ToolFactory.create(
            tenant=agent.tenant,
            name="act",
            kind="http",
            config=effects.config(),
            approval="always",
        )
        agent.tools.add(tool)
        yield agent


def usage(tenant: Tenant) -> dict[str, Any]:
    """The amounts that are not 0, after a comparison with a recount."""
    assert not difference(tenant)
    return {name: value for name, value in totals(tenant).items() if value and name != "latency_ms"}


ONE = {"runs": 1, "input_tokens": 12, "output_tokens": 3}


def door(name: str, agent: Agent) -> tuple[str, dict[str, Any]]:
    """Return the path and the body of a run at one of the doors."""
    named = {"model": f"agent:{agent.pk}"}
    doors: dict[str, tuple[str, dict[str, Any]]] = {
        "run": (f"/api/v1/agents/{agent.pk}/run", {"prompt": "x"}),
        "responses": ("/v1/responses", {**named, "input": "x"}),
        "chat": (
            "/v1/chat/completions",
            {**named, "messages": [{"role": "user", "content": "x"}]},
        ),
    }
    return doors[name]


@pytest.mark.parametrize("name", ["run", "responses", "chat"])
@pytest.mark.parametrize("stream", [False, True])
def test_doors(api: Api, agent: Agent, stub: StubModel, name: str, stream: bool) -> None:
    stub.says(streamed(DONE) if stream else DONE)
    path, body = door(name, agent)
    response = api.post(path, {**body, "stream": stream})
    assert response.status == 200, response.content
    found = usage(agent.tenant)
    assert float(found.pop("cost_usd")) == 0.000018
    assert found == ONE


def test_a_background_run_counts_when_it_ends(api: Api, agent: Agent) -> None:
    execution_id = start(api, agent)
    assert usage(agent.tenant) == {}
    run_queued(uuid.UUID(execution_id))
    found = usage(agent.tenant)
    assert {name: found[name] for name in ONE} == ONE


def test_a_cancelled_run(api: Api, agent: Agent) -> None:
    api.post(f"history/{start(api, agent)}/cancel")
    assert usage(agent.tenant) == {"runs": 1}


def test_a_failed_run(api: Api, agent: Agent, stub: StubModel) -> None:
    stub.says(error(400))
    assert api.post(f"agents/{agent.pk}/run", {"prompt": "x"}).status == 502
    assert usage(agent.tenant) == {"runs": 1}
    assert api.get("usage").json["totals"]["failures"] == 1


@pytest.mark.parametrize(("approve", "calls"), [(True, {"tool_calls": 1}), (False, {})])
def test_approvals(
    api: Api, careful: Agent, stub: StubModel, approve: bool, calls: dict[str, int]
) -> None:
    """The call of a tool that does not exist never counts."""
    execution_id, approval = waiting(api, careful, stub)
    assert usage(careful.tenant) == {}
    assert api.post(f"approvals/{approval.pk}", {"approve": approve}).status == 200
    run_queued(uuid.UUID(execution_id))
    found = usage(careful.tenant)
    assert float(found.pop("cost_usd")) == 0.000036
    assert found == {"runs": 1, "input_tokens": 24, "output_tokens": 6, **calls}


@pytest.mark.parametrize("cancelled", [False, True])
def test_an_expired_approval(api: Api, careful: Agent, stub: StubModel, cancelled: bool) -> None:
    execution_id, approval = waiting(api, careful, stub)
    if cancelled:
        api.post(f"history/{execution_id}/cancel")
    else:
        Approval.objects.filter(pk=approval.pk).update(expires_at=Now() - timedelta(seconds=1))
        end_expired()
    approval.refresh_from_db()
    assert approval.status == "expired"
    found = usage(careful.tenant)
    assert float(found.pop("cost_usd")) == 0.000018
    assert found == ONE


def start(api: Api, agent: Agent) -> str:
    body = {"prompt": "x", "background": True}
    execution_id: str = api.post(f"agents/{agent.pk}/run", body).json["execution_id"]
    return execution_id


def waiting(api: Api, agent: Agent, stub: StubModel) -> tuple[str, Approval]:
    """Return a run that waits for the approval of a call."""
    stub.says(CALLS, DONE)
    execution_id = start(api, agent)
    run_queued(uuid.UUID(execution_id))
    return execution_id, Approval.objects.get(execution_id=execution_id, status="pending")
