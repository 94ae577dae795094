"""Tool calls that need the approval of a person, and the runs that wait for it."""

import hashlib
import ipaddress
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.db import connection
from django.db.models.functions import Now

from agents.models import Agent, LanguageModel
from executions.approvals.services import end_expired
from executions.jobs.recovery import recover_lost_runs
from executions.jobs.runs import run_queued
from executions.models import Approval, Execution
from map_project.tenants.models import Tenant
from map_project.webhooks.models import WebhookDelivery
from tests.api import Answer, Api, LiveApi
from tests.at_once import at_once
from tests.effects_server import EffectsServer, effects_server
from tests.factories import (
    AgentFactory,
    ApprovalFactory,
    ExecutionFactory,
    ToolFactory,
    WebhookFactory,
)
from tests.live import serving
from tests.stub_model import StubModel, completion, error

DELETE = '{"customer": 4711}'
CALL = completion("", calls=[("delete", DELETE)])


@pytest.fixture
def stub(model_server: StubModel) -> Iterator[StubModel]:
    """The server of the model `careful`, which requests a call and then responds "Done."."""
    model_server.says(CALL, completion("Done."))
    row = LanguageModel.objects.create(
        name="careful", provider="openai", base_url=model_server.url, max_retries=0
    )
    yield model_server
    row.delete()


@pytest.fixture
def effects(settings: Any) -> Iterator[EffectsServer]:
    settings.TOOL_ALLOWED_NETWORKS = (ipaddress.ip_network("127.0.0.1/32"),)
    with effects_server() as server:
        yield server


@pytest.fixture
def agent(tenant: Tenant, effects: EffectsServer) -> Agent:
    """An agent with the tool `delete`, which needs approval, and the tool `look`, which does not."""
    agent: Agent = AgentFactory.create(tenant=tenant, model="careful")
    add_tool(agent, effects, "delete", approval="always")
    add_tool(agent, effects, "look")
    return agent


def add_tool(agent: Agent, effects: EffectsServer, name: str, **fields: Any) -> None:
    config = effects.config(path=f"/{name}")
    agent.tools.add(
        ToolFactory.create(tenant=agent.tenant, name=name, kind="http", config=config, **fields)
    )


def start(api: Api, agent: Agent, **more: Any) -> str:
    body = {"prompt": "Delete it.", "background": True, **more}
    execution_id: str = api.post(f"agents/{agent.pk}/run", body).json["execution_id"]
    return execution_id


def waiting(api: Api, agent: Agent, **more: Any) -> tuple[str, list[str]]:
    """Return an execution that waits, and its approvals in the order of the calls."""
    execution_id = start(api, agent, **more)
    run_queued(uuid.UUID(execution_id))
    found = api.get(f"approvals?execution_id={execution_id}").json["items"]
    assert status_of(api, execution_id) == "requires_action"
    return execution_id, [each["id"] for each in sorted(found, key=lambda each: each["position"])]


def status_of(api: Api, execution_id: str) -> str:
    status: str = api.get(f"history/{execution_id}").json["status"]
    return status


def decide(api: Api, approval_id: str, approve: bool, **more: Any) -> Answer:
    return api.post(f"approvals/{approval_id}", {"approve": approve, **more})


def proceed(api: Api, execution_id: str) -> Any:
    """Run a queued execution, and return it."""
    run_queued(uuid.UUID(execution_id))
    return api.get(f"history/{execution_id}").json


def expire(execution_id: str) -> None:
    Approval.objects.filter(execution_id=execution_id).update(
        expires_at=Now() - timedelta(seconds=1)
    )


def test_a_run_waits_for_the_approval_of_a_call(
    api: Api, agent: Agent, stub: StubModel, effects: EffectsServer
) -> None:
    execution_id, (approval_id,) = waiting(api, agent)
    approval = api.get(f"approvals/{approval_id}").json
    tool = agent.tools.get(name="delete")
    assert {**approval, "created_at": 0, "expires_at": 0} == {
        "id": approval_id,
        "execution_id": execution_id,
        "position": 1,
        "tool_id": str(tool.pk),
        "tool_name": "delete",
        "arguments": DELETE,
        "arguments_sha256": hashlib.sha256(DELETE.encode()).hexdigest(),
        "status": "pending",
        "reason": None,
        "decided_by": None,
        "decided_at": None,
        "created_at": 0,
        "expires_at": 0,
    }
    execution = Execution.objects.get(pk=execution_id)
    assert (execution.lease_owner, execution.lease_expires_at) == ("", None)
    assert execution.finished_at is None
    assert [step.kind for step in execution.steps.order_by("position")] == ["model"]
    assert not effects.effects


def test_an_approved_call_is_made(
    api: Api, agent: Agent, stub: StubModel, effects: EffectsServer
) -> None:
    execution_id, (approval_id,) = waiting(api, agent)
    decided = decide(api, approval_id, True, reason="The customer has asked for it.")
    assert decided.status == 200
    assert (decided.json["status"], decided.json["decided_by"]) == ("approved", str(api.key)[:12])
    assert decided.json["reason"] == "The customer has asked for it."
    assert decided.json["decided_at"] < decided.json["expires_at"]
    assert not effects.effects
    found = proceed(api, execution_id)
    assert (found["status"], found["response"], found["attempt"]) == ("succeeded", "Done.", 2)
    assert effects.effects == [("/delete", f"{execution_id}-1")]
    call = found["steps"][1]
    assert (call["name"], call["input"], call["output"]) == ("delete", DELETE, "done")
    assert len(stub.requests) == 2


def test_a_declined_call_is_never_made(
    api: Api, agent: Agent, stub: StubModel, effects: EffectsServer
) -> None:
    execution_id, (approval_id,) = waiting(api, agent)
    assert decide(api, approval_id, False, reason="Not this one.").json["status"] == "declined"
    found = proceed(api, execution_id)
    assert (found["status"], found["steps"][1]["error"]) == ("succeeded", "declined")
    assert not effects.effects
    result = stub.requests[-1].body["messages"][-1]
    assert (result["role"], result["tool_call_id"]) == ("tool", "call_0")
    assert "declined" in result["content"]
    assert "Not this one." in result["content"]


def test_the_requested_arguments_are_executed_and_no_others(
    api: Api, agent: Agent, stub: StubModel, effects: EffectsServer
) -> None:
    """The model would request another call now, and the stored response was changed as well."""
    execution_id, (approval_id,) = waiting(api, agent)
    decide(api, approval_id, True)
    other = '{"customer": 1}'
    stub.says(completion("", calls=[("delete", other)]), completion("Done."))
    steps = Execution.objects.get(pk=execution_id).steps
    steps.update(tool_calls=[{"id": "call_0", "name": "delete", "arguments": other}])
    found = proceed(api, execution_id)
    assert [path for path, _ in effects.effects] == ["/delete"]
    assert found["steps"][1]["input"] == DELETE
    # The call that the model requests afterwards is another one.
    assert found["status"] == "requires_action"
    pending = api.get(f"approvals?execution_id={execution_id}&status=pending").json["items"]
    assert [each["arguments"] for each in pending] == [other]


def test_a_decision_can_be_repeated_and_not_changed(
    api: Api, agent: Agent, stub: StubModel
) -> None:
    _, (approval_id,) = waiting(api, agent)
    first = decide(api, approval_id, False)
    again = decide(api, approval_id, False)
    assert (again.status, again.json) == (200, first.json)
    other = decide(api, approval_id, True)
    assert (other.status, other.error_code) == (409, "APPROVAL_DECIDED")
    assert other.details == {"approval_id": approval_id, "status": "declined"}


def test_all_calls_of_a_response_are_decided_before_one_is_made(
    api: Api, agent: Agent, stub: StubModel, effects: EffectsServer
) -> None:
    calls = [("look", "{}"), ("delete", DELETE), ("look", "{}"), ("delete", "{}")]
    stub.says(completion("", calls=calls), completion("Done."))
    execution_id, (first, second) = waiting(api, agent)
    assert not effects.effects
    decide(api, second, True)
    assert status_of(api, execution_id) == "requires_action"
    decide(api, first, False)
    found = proceed(api, execution_id)
    assert [path for path, _ in effects.effects] == ["/look", "/look", "/delete"]
    names = [(step["name"], step["error"]) for step in found["steps"][1:5]]
    assert names == [("look", None), ("delete", "declined"), ("look", None), ("delete", None)]


def test_a_run_may_wait_several_times(
    api: Api, agent: Agent, stub: StubModel, effects: EffectsServer
) -> None:
    stub.says(*[CALL] * 5, completion("Done."))
    execution_id, (approval_id,) = waiting(api, agent)
    for _ in range(5):
        decide(api, approval_id, True)
        found = proceed(api, execution_id)
        pending = api.get(f"approvals?execution_id={execution_id}&status=pending").json["items"]
        approval_id = pending[0]["id"] if pending else ""
    assert (found["status"], len(effects.effects)) == ("succeeded", 5)


def test_a_call_that_no_person_decides_about_ends_the_run(
    api: Api, agent: Agent, stub: StubModel, effects: EffectsServer
) -> None:
    execution_id, (approval_id,) = waiting(api, agent)
    expire(execution_id)
    assert end_expired() >= 1
    found = api.get(f"history/{execution_id}").json
    assert (found["status"], found["stop_reason"]) == ("incomplete", "approval_expired")
    assert found["input_tokens"] == 12
    assert api.get(f"approvals/{approval_id}").json["status"] == "expired"
    late = decide(api, approval_id, True)
    assert (late.status, late.error_code) == (410, "APPROVAL_EXPIRED")
    assert not effects.effects
    assert len(stub.requests) == 1


def test_a_decision_that_is_too_late_ends_the_run_at_once(
    api: Api, agent: Agent, stub: StubModel
) -> None:
    execution_id, (approval_id,) = waiting(api, agent)
    expire(execution_id)
    assert decide(api, approval_id, True).status == 410
    assert status_of(api, execution_id) == "incomplete"


def test_a_run_that_waits_is_cancelled_at_once(
    api: Api, agent: Agent, stub: StubModel, effects: EffectsServer
) -> None:
    execution_id, (approval_id,) = waiting(api, agent)
    found = api.post(f"history/{execution_id}/cancel").json
    assert (found["status"], found["stop_reason"]) == ("cancelled", "cancelled_by_caller")
    assert decide(api, approval_id, True).error_code == "APPROVAL_EXPIRED"
    run_queued(uuid.UUID(execution_id))
    assert not effects.effects


def test_the_timeout_is_that_of_the_tool(api: Api, agent: Agent, stub: StubModel) -> None:
    agent.tools.filter(name="delete").update(approval_timeout_seconds=90)
    execution_id, _ = waiting(api, agent)
    approval = Approval.objects.get(execution_id=execution_id)
    seconds = (approval.expires_at - approval.created_at).total_seconds()
    assert seconds == pytest.approx(90, abs=1)


def test_the_time_in_which_a_run_waits_does_not_count(
    api: Api, agent: Agent, stub: StubModel
) -> None:
    execution_id, (approval_id,) = waiting(api, agent)
    hour = timedelta(hours=1)
    rows = Execution.objects.filter(pk=execution_id)
    rows.update(started_at=Now() - hour, finish_by=Now() - hour)
    Approval.objects.filter(pk=approval_id).update(created_at=Now() - hour)
    assert recover_lost_runs() == 0 or status_of(api, execution_id) == "requires_action"
    decide(api, approval_id, True)
    found = proceed(api, execution_id)
    assert found["status"] == "succeeded"
    assert found["latency_ms"] < 60_000


def test_a_run_that_waits_and_one_that_continues_are_not_charged_an_attempt(
    api: Api, agent: Agent, stub: StubModel
) -> None:
    """After three waits, a lost worker is still the first one."""
    stub.says(*[CALL] * 3, completion("Done."))
    execution_id, (approval_id,) = waiting(api, agent)
    for _ in range(3):
        decide(api, approval_id, True)
        proceed(api, execution_id)
        pending = api.get(f"approvals?execution_id={execution_id}&status=pending").json["items"]
        approval_id = pending[0]["id"] if pending else ""
    rows = Execution.objects.filter(pk=execution_id)
    rows.update(status="running", lease_expires_at=Now() - timedelta(seconds=1), finished_at=None)
    recover_lost_runs()
    assert rows.get().status == "queued"
    rows.update(status="failed")


def test_a_run_that_fails_after_an_approved_call_keeps_its_result(
    api: Api, agent: Agent, stub: StubModel, effects: EffectsServer
) -> None:
    execution_id, (approval_id,) = waiting(api, agent)
    decide(api, approval_id, True)
    stub.says(error(500))
    found = proceed(api, execution_id)
    assert (found["status"], found["steps"][1]["output"]) == ("failed", "done")
    assert decide(api, approval_id, True).json["status"] == "approved"
    stub.says(completion("It was deleted."))
    body = {"prompt": "Was it deleted?", "previous_execution_id": execution_id}
    assert api.post(f"agents/{agent.pk}/run", body).json["response"] == "It was deleted."
    assert [path for path, _ in effects.effects] == ["/delete"]
    results = [each for each in stub.requests[-1].body["messages"] if each["role"] == "tool"]
    assert [each["content"] for each in results] == ["done"]


def test_a_worker_that_is_lost_after_the_call_does_not_repeat_it(
    api: Api, agent: Agent, stub: StubModel, effects: EffectsServer
) -> None:
    execution_id, (approval_id,) = waiting(api, agent)
    decide(api, approval_id, True)

    def lose(_: object) -> dict[str, Any]:
        Execution.objects.filter(pk=execution_id).update(
            lease_owner="gone", lease_expires_at=Now() - timedelta(seconds=1)
        )
        connection.close()
        return completion("Lost.")

    stub.says(lose, completion("Done."))
    assert proceed(api, execution_id)["status"] == "running"
    recover_lost_runs()
    found = proceed(api, execution_id)
    assert (found["status"], found["response"]) == ("succeeded", "Done.")
    assert [path for path, _ in effects.effects] == ["/delete"]
    assert Approval.objects.filter(execution_id=execution_id).count() == 1


def test_a_tool_that_was_replaced_is_not_called(
    api: Api, agent: Agent, stub: StubModel, effects: EffectsServer
) -> None:
    execution_id, (approval_id,) = waiting(api, agent)
    decide(api, approval_id, True)
    agent.tools.filter(name="delete").update(name="old")
    add_tool(agent, effects, "delete")
    found = proceed(api, execution_id)
    assert found["steps"][1]["error"] == "not_called"
    assert not effects.effects


def test_of_two_decisions_at_once_one_is_stored(api: Api, agent: Agent, stub: StubModel) -> None:
    """Each of ten approvals is decided by four clients at the same time, on two servers."""
    stub.says(completion("", calls=[("delete", str(number)) for number in range(10)]))
    execution_id, approval_ids = waiting(api, agent)
    with serving() as first, serving() as second, ThreadPoolExecutor(4) as pool:
        clients = [LiveApi(port, api.key) for port in (first, second)]
        for approval_id in approval_ids:
            answers = [
                pool.submit(decide, clients[number % 2], approval_id, number < 2)
                for number in range(4)
            ]
            statuses = [answer.result().status for answer in answers]
            assert sorted(statuses) == [200, 200, 409, 409]
            stored = api.get(f"approvals/{approval_id}").json["status"]
            winners = {number < 2 for number, status in enumerate(statuses) if status == 200}
            assert winners == {stored == "approved"}
    assert status_of(api, execution_id) == "queued"
    api.post(f"history/{execution_id}/cancel")


def test_the_last_two_decisions_at_once_continue_the_run_once(
    api: Api, live_api: LiveApi, agent: Agent, stub: StubModel
) -> None:
    for _ in range(10):
        stub.says(completion("", calls=[("delete", "1"), ("delete", "2")]))
        execution_id, approval_ids = waiting(api, agent)
        answers = at_once([partial(decide, live_api, each, True) for each in approval_ids])
        assert [answer.status for answer in answers] == [200, 200]
        assert status_of(api, execution_id) == "queued"
        api.post(f"history/{execution_id}/cancel")


def test_a_conversation_is_busy_while_its_run_waits(
    api: Api, agent: Agent, stub: StubModel
) -> None:
    conversation_id = api.post("conversations", {}).json["id"]
    execution_id, (approval_id,) = waiting(api, agent, conversation_id=conversation_id)
    body = {"prompt": "And?", "conversation_id": conversation_id}
    busy = api.post(f"agents/{agent.pk}/run", body)
    assert (busy.status, busy.error_code) == (409, "CONVERSATION_BUSY")
    body = {"prompt": "And?", "previous_execution_id": execution_id}
    early = api.post(f"agents/{agent.pk}/run", body)
    assert early.error_code == "PREVIOUS_EXECUTION_NOT_FINISHED"
    decide(api, approval_id, True)
    proceed(api, execution_id)
    body = {"prompt": "And?", "conversation_id": conversation_id}
    assert api.post(f"agents/{agent.pk}/run", body).status == 200


def test_webhooks_report_that_a_run_waits(api: Api, agent: Agent, stub: StubModel) -> None:
    WebhookFactory.create(tenant=agent.tenant, event_types=["execution.requires_action"])
    execution_id, _ = waiting(api, agent)
    deliveries = WebhookDelivery.objects.filter(execution_id=execution_id)
    assert [each.event_type for each in deliveries] == ["execution.requires_action"]


def test_calls_that_a_limit_excludes_need_no_decision(
    api: Api, agent: Agent, stub: StubModel, effects: EffectsServer
) -> None:
    Agent.objects.filter(pk=agent.pk).update(max_steps=1)
    execution_id = start(api, agent)
    found = proceed(api, execution_id)
    assert (found["status"], found["stop_reason"]) == ("incomplete", "max_steps")
    assert found["steps"][1]["error"] == "not_called"
    assert not Approval.objects.filter(execution_id=execution_id).exists()


def test_a_foreground_run_returns_when_it_waits(
    api: Api, agent: Agent, stub: StubModel, effects: EffectsServer
) -> None:
    answer = api.post(f"agents/{agent.pk}/run", {"prompt": "Delete it."})
    assert answer.status == 200
    body = answer.json
    assert (body["status"], body["stop_reason"], body["response"]) == ("requires_action", None, "")
    assert "waits for approvals" in body["warning"]
    (approval,) = body["approvals"]
    assert approval == api.get(f"approvals/{approval['id']}").json
    decide(api, approval["id"], True)
    found = proceed(api, body["execution_id"])
    assert (found["status"], found["background"]) == ("succeeded", False)
    assert [path for path, _ in effects.effects] == ["/delete"]


def test_a_foreground_run_that_has_waited_is_recovered(
    api: Api, agent: Agent, stub: StubModel
) -> None:
    execution_id = api.post(f"agents/{agent.pk}/run", {"prompt": "Delete it."}).json["execution_id"]
    (approval,) = api.get(f"approvals?execution_id={execution_id}").json["items"]
    decide(api, approval["id"], True)
    rows = Execution.objects.filter(pk=execution_id)
    past = Now() - timedelta(seconds=1)
    rows.update(status="running", attempt=2, lease_owner="gone", lease_expires_at=past)
    recover_lost_runs()
    assert proceed(api, execution_id)["status"] == "succeeded"


def test_long_arguments_are_truncated_in_lists(api: Api, tenant: Tenant) -> None:
    """A run can request calls with 1 MiB of arguments, and a list has up to a hundred approvals."""
    execution = ExecutionFactory.create(agent=AgentFactory.create(tenant=tenant))
    texts = {1: '{"a": "x"}', 2: "x" * 16_384, 3: "x" * 16_385, 4: "xü" * 100_000}
    for position, text in texts.items():
        ApprovalFactory.create(execution=execution, position=position, arguments=text)
    items = {each["position"]: each for each in api.get("approvals").json["items"]}
    listed = {key: (item["arguments"], item["arguments_truncated"]) for key, item in items.items()}
    beginning = ("xü" * 100_000).encode()[:16_384].decode(errors="ignore")
    assert listed == {
        1: (texts[1], False),
        2: (texts[2], False),
        3: (texts[2], True),
        4: (beginning, True),
    }
    for position, item in items.items():
        whole = api.get(f"approvals/{item['id']}").json
        assert whole["arguments"] == texts[position]
        item.pop("arguments_truncated")
        assert whole == {**item, "arguments": texts[position]}


@pytest.mark.parametrize(
    ("query", "message"),
    [("status=open", "status must be one of"), ("execution_id=1", "execution_id must be a UUID")],
)
def test_invalid_filters_are_errors(api: Api, query: str, message: str) -> None:
    answer = api.get(f"approvals?{query}")
    assert (answer.status, answer.error_code) == (400, "BAD_REQUEST")
    assert message in answer.json["message"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "approve"),
        ({"approve": "yes"}, "approve"),
        ({"approve": None}, "approve"),
        ({"approve": True, "reason": "x" * 1_001}, "reason"),
        ({"approve": True, "reason": "\0"}, "reason"),
        ({"approve": True, "arguments": "{}"}, "arguments"),
    ],
)
def test_invalid_decisions_are_errors(
    api: Api, agent: Agent, stub: StubModel, body: Any, field: str
) -> None:
    _, (approval_id,) = waiting(api, agent)
    assert [*api.post(f"approvals/{approval_id}", body).fields] == [field]
    assert api.get(f"approvals/{approval_id}").json["status"] == "pending"


def test_a_declared_tool_needs_no_approval(api: Api) -> None:
    body = {"name": "t", "description": "d", "approval": "always"}
    assert [*api.post("tools", body).fields] == ["approval"]
    body = {"name": "t", "description": "d", "approval": "sometimes"}
    assert [*api.post("tools", body).fields] == ["approval"]
