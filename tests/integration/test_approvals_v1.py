"""Approvals at `/v1`, and in the streams of both APIs, at a live server with a worker."""

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from openai import OpenAI

from agents.models import Agent, LanguageModel
from executions.events.reading import available
from executions.models import Approval, EventBatch, Execution
from map_project.tenants.models import Tenant
from tests.api import Answer, Api, LiveApi
from tests.checkouts import eventually
from tests.clients.open_responses import check_event, check_response
from tests.conftest import api_of
from tests.effects_server import EffectsServer, effects_server
from tests.factories import AgentFactory, TenantFactory, ToolFactory
from tests.live import serving, working
from tests.streams import check_whole, read_stream
from tests.stub_model import StubModel, completion, streamed

TOOLS = {"TOOL_ALLOWED_NETWORKS": "127.0.0.1/32"}
# No other test has queued runs of this model, which the worker here would make.
MODEL = "careful at v1"
DELETE = '{"customer": 4711}'
CALL = completion("I will delete it.", calls=[("delete", DELETE)])
DONE = completion("It was deleted.")


@pytest.fixture(scope="module")
def model(model_server: StubModel) -> Iterator[LanguageModel]:
    # Before the processes start, which cache the models for a while.
    row = LanguageModel.objects.create(
        name=MODEL, provider="openai", base_url=model_server.url, max_retries=0
    )
    yield row
    row.delete()


@pytest.fixture(scope="module")
def port(model: LanguageModel) -> Iterator[int]:
    """A server and a worker that may call tools on loopback."""
    with serving(**TOOLS) as port, working(**TOOLS):
        yield port


@pytest.fixture
def live(port: int, api: Api) -> LiveApi:
    return LiveApi(port, api.key)


@pytest.fixture
def stub(model: LanguageModel, model_server: StubModel) -> StubModel:
    return model_server.says(CALL, DONE)


@pytest.fixture
def effects() -> Iterator[EffectsServer]:
    with effects_server() as server:
        yield server


@pytest.fixture
def agent(tenant: Tenant, effects: EffectsServer, stub: StubModel) -> Agent:
    agent: Agent = AgentFactory.create(tenant=tenant, model=MODEL)
    tool = ToolFactory.create(
        tenant=tenant, name="delete", kind="http", config=effects.config(), approval="always"
    )
    agent.tools.add(tool)
    return agent


def respond(api: Api, agent: Agent, value: Any = "Delete it.", **more: Any) -> Answer:
    answer = api.post("/v1/responses", {"model": agent.name, "input": value, **more})
    if answer.status == 200:
        check_response(answer.json)
    return answer


def answer_of(request: dict[str, Any], approve: bool = True, **more: Any) -> dict[str, Any]:
    kind = "mcp_approval_response"
    return {"type": kind, "approval_request_id": request["id"], "approve": approve, **more}


def requests_of(response: Any) -> list[dict[str, Any]]:
    return [item for item in response["output"] if item["type"] == "mcp_approval_request"]


def types_of(response: Any) -> list[str]:
    return [item["type"] for item in response["output"]]


def test_a_response_waits_and_continues(
    live: LiveApi, agent: Agent, effects: EffectsServer
) -> None:
    response = respond(live, agent).json
    assert (response["status"], response["completed_at"]) == ("completed", None)
    assert types_of(response) == ["message", "mcp_approval_request"]
    (request,) = requests_of(response)
    approval = Approval.objects.get(execution_id=response["id"].removeprefix("resp_"))
    assert request == {
        "id": f"mcpr_{approval.pk.hex}",
        "type": "mcp_approval_request",
        "name": "delete",
        "server_label": "map",
        "arguments": DELETE,
    }
    assert live.get(f"/v1/responses/{response['id']}").json == response
    assert not effects.effects
    answer = answer_of(request, reason="The customer has asked for it.")
    continued = respond(live, agent, [answer], previous_response_id=response["id"]).json
    assert (continued["id"], continued["status"]) == (response["id"], "completed")
    assert types_of(continued) == ["message", "mcp_approval_request", "mcp_call", "message"]
    call = continued["output"][2]
    assert (call["approval_request_id"], call["output"]) == (request["id"], "done")
    assert call["arguments"] == DELETE
    assert len(effects.effects) == 1
    approval.refresh_from_db()
    assert approval.reason == "The customer has asked for it."
    again = respond(live, agent, [answer])
    assert (again.status, again.json) == (200, continued)
    assert len(effects.effects) == 1


def test_a_declined_call_is_not_made(live: LiveApi, agent: Agent, effects: EffectsServer) -> None:
    response = respond(live, agent).json
    (request,) = requests_of(response)
    continued = respond(live, agent, [answer_of(request, approve=False)]).json
    call = continued["output"][2]
    assert (call["status"], call["approval_request_id"]) == ("failed", request["id"])
    assert not effects.effects
    other = respond(live, agent, [answer_of(request)])
    assert (other.status, other.json["error"]["code"]) == (409, "approval_decided")
    assert other.headers["x-should-retry"] == "false"


def test_the_requests_of_a_response_can_be_answered_one_after_the_other(
    live: LiveApi, agent: Agent, stub: StubModel, effects: EffectsServer
) -> None:
    stub.says(completion("", calls=[("delete", "1"), ("delete", DELETE)]), DONE)
    first, second = requests_of(respond(live, agent).json)
    partly = respond(live, agent, [answer_of(second)]).json
    assert types_of(partly) == ["mcp_approval_request"] * 2
    whole = respond(live, agent, [answer_of(first, approve=False)]).json
    assert types_of(whole)[2:] == ["mcp_call", "mcp_call", "message"]
    assert len(effects.effects) == 1


def test_a_continued_response_in_the_background(
    live: LiveApi, agent: Agent, effects: EffectsServer
) -> None:
    started = respond(live, agent, background=True).json
    url = f"/v1/responses/{started['id']}"
    assert eventually(lambda: live.get(url).json["status"] == "completed")
    (request,) = requests_of(live.get(url).json)
    queued = respond(live, agent, [answer_of(request)], background=True)
    assert queued.headers["openai-poll-after-ms"]
    assert eventually(lambda: live.get(url).json["output"][-1]["type"] == "message")
    assert "openai-poll-after-ms" not in live.get(url).headers


def test_one_slot_is_enough_to_continue(live: LiveApi, agent: Agent) -> None:
    Tenant.objects.filter(pk=agent.tenant_id).update(max_concurrent_runs=1)
    # Until the cached key has expired.
    assert eventually(lambda: live.get("me").status == 200)
    (request,) = requests_of(respond(live, agent).json)
    continued = respond(live, agent, [answer_of(request)]).json
    assert types_of(continued)[-1] == "message"


@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize("door", ["native", "v1"])
def test_a_stream_ends_when_the_run_waits_and_continues_afterwards(
    *, port: int, live: LiveApi, agent: Agent, stub: StubModel, door: str, background: bool
) -> None:
    stub.says(streamed(CALL), streamed(DONE))
    body: dict[str, Any] = {"prompt": "Delete it."}
    path = f"agents/{agent.pk}/run"
    if door == "v1":
        path, body = "/v1/responses", {"model": agent.name, "input": "Delete it."}
    body |= {"stream": True, "background": background}
    first = read_stream(port, live.key, "POST", path, body)
    check_whole(first)
    for frame in first:
        check_event(frame.event)
    last = first[-1].event
    assert last["type"] == "response.completed"
    (request,) = requests_of(last["response"])
    execution_id = uuid.UUID(last["response"]["id"].removeprefix("resp_"))
    events = f"history/{execution_id}/events"
    waiting = [frame.event for frame in read_stream(port, live.key, "GET", events)]
    assert waiting == [frame.event for frame in first]
    after = f"{events}?starting_after={last['sequence_number']}"
    assert read_stream(port, live.key, "GET", after) == []

    body = {"model": agent.name, "input": [answer_of(request)], "stream": True}
    whole = read_stream(port, live.key, "POST", "/v1/responses", body)
    check_whole(whole)
    for frame in whole:
        check_event(frame.event)
    assert [frame.event for frame in whole[: len(first) - 1]] == waiting[:-1]
    assert whole[len(first) - 1].type == "response.in_progress"
    rest = [frame.event for frame in read_stream(port, live.key, "GET", after)]
    assert rest == [frame.event for frame in whole[len(first) :]]
    assert types_of(whole[-1].event["response"])[-1] == "message"


def test_the_events_of_a_run_that_was_not_streamed_are_the_same_afterwards(
    live: LiveApi, agent: Agent, stub: StubModel
) -> None:
    """They follow from the steps and the approvals, also once stored events have been deleted."""
    stub.says(CALL, CALL, DONE)
    (request,) = requests_of(respond(live, agent).json)
    again = respond(live, agent, [answer_of(request)]).json
    response = respond(live, agent, [answer_of(requests_of(again)[-1], approve=False)]).json
    execution = Execution.objects.get(pk=response["id"].removeprefix("resp_"))
    assert not EventBatch.objects.filter(execution_id=execution.pk).exists()
    events = [*available(execution)]
    assert [event.number for event in events] == [*range(len(events))]
    types = [event.type for event in events]
    assert types.count("response.in_progress") == 3
    assert types[-1] == "response.completed"
    assert types.count("response.completed") == 1


@pytest.mark.parametrize("ending", ["cancelled", "incomplete"])
@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_has_seen_the_run_wait_receives_its_end(
    *, port: int, live: LiveApi, agent: Agent, stub: StubModel, ending: str, stream: bool
) -> None:
    stub.says(streamed(CALL) if stream else CALL)
    body = {"prompt": "Delete it.", "stream": stream}
    if stream:
        first = read_stream(port, live.key, "POST", f"agents/{agent.pk}/run", body)
        number = first[-1].event["sequence_number"]
        pk = first[-1].event["response"]["id"].removeprefix("resp_")
    else:
        pk = live.post(f"agents/{agent.pk}/run", body).json["execution_id"]
        events = read_stream(port, live.key, "GET", f"history/{pk}/events")
        number = events[-1].event["sequence_number"]
    if ending == "cancelled":
        live.post(f"history/{uuid.UUID(pk)}/cancel")
    else:
        Approval.objects.filter(execution_id=pk).update(expires_at="2026-01-01T00:00:00Z")
        url = f"history/{uuid.UUID(pk)}"
        assert eventually(lambda: live.get(url).json["stop_reason"] == "approval_expired")
    path = f"history/{uuid.UUID(pk)}/events?starting_after={number}"
    (frame,) = read_stream(port, live.key, "GET", path)
    assert frame.type == f"response.{ending}"


def test_a_chat_completion_cannot_wait(port: int, live: LiveApi, agent: Agent) -> None:
    body = {"model": agent.name, "messages": [{"role": "user", "content": "Delete it."}]}
    answer = live.post("/v1/chat/completions", body)
    assert (answer.status, answer.json["error"]["code"]) == (409, "approval_required")
    assert answer.headers["x-should-retry"] == "false"
    assert live.get("history").json["items"][0]["status"] == "requires_action"


def test_openai_s_sdk_answers_a_request(port: int, agent: Agent, api: Api) -> None:
    client = OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key=str(api.key), max_retries=0)
    response = client.responses.create(model=agent.name, input="Delete it.")
    (request,) = [item for item in response.output if item.type == "mcp_approval_request"]
    response = client.responses.create(
        model=agent.name,
        previous_response_id=response.id,
        input=[
            {"type": "mcp_approval_response", "approval_request_id": request.id, "approve": True}
        ],
    )
    assert response.output_text == "I will delete it.It was deleted."
    following = client.responses.create(
        model=agent.name, previous_response_id=response.id, input="And now?"
    )
    assert following.output_text == "It was deleted."


class TestInvalidAnswers:
    def test_unknown_and_foreign_requests(self, live: LiveApi, agent: Agent) -> None:
        other = TenantFactory.create()
        foreign = AgentFactory.create(tenant=other, model=MODEL)
        (request,) = requests_of(respond(live, agent).json)
        answers = (
            respond(live, agent, [answer_of({"id": f"mcpr_{uuid.uuid4().hex}"})]),
            respond(live, agent, [answer_of({"id": "nonsense"})]),
            respond(LiveApi(live.port, api_of(other).key), foreign, [answer_of(request)]),
        )
        for answer in answers:
            error = answer.json["error"]
            assert (answer.status, error["code"]) == (404, "approval_not_found")
            assert error["param"] == "input[0].approval_request_id"
        assert Approval.objects.get(pk=request["id"].removeprefix("mcpr_")).status == "pending"

    def test_a_decision_requires_its_own_scope(
        self, live: LiveApi, tenant: Tenant, agent: Agent
    ) -> None:
        (request,) = requests_of(respond(live, agent).json)
        runner = LiveApi(live.port, api_of(tenant, ["read", "run"]).key)
        refused = respond(runner, agent, [answer_of(request)])
        assert (refused.status, refused.json["error"]["code"]) == (403, "insufficient_scope")
        assert Approval.objects.get(pk=request["id"].removeprefix("mcpr_")).status == "pending"

    def test_requests_of_another_response(
        self, live: LiveApi, agent: Agent, stub: StubModel
    ) -> None:
        stub.says(CALL)
        first, second = respond(live, agent).json, respond(live, agent).json
        answers = [answer_of(requests_of(each)[0]) for each in (first, second)]
        assert respond(live, agent, answers).status == 400
        answer = respond(live, agent, answers[:1], previous_response_id=second["id"])
        assert (answer.status, answer.json["error"]["param"]) == (400, "previous_response_id")
        assert not Approval.objects.exclude(status="pending").filter(tenant=agent.tenant).exists()

    def test_a_request_that_is_approved_and_declined_is_not_decided(
        self, live: LiveApi, agent: Agent
    ) -> None:
        (request,) = requests_of(respond(live, agent).json)
        answers = [answer_of(request), {**answer_of(request), "approve": False}]
        for both in (answers, answers[::-1]):
            answer = respond(live, agent, both)
            assert (answer.status, answer.json["error"]["param"]) == (400, "input")
        assert Approval.objects.get(pk=request["id"].removeprefix("mcpr_")).status == "pending"
        assert respond(live, agent, answers[:1] * 2).status == 200

    @pytest.mark.parametrize(
        ("fields", "param"),
        [
            ({"approve": "yes"}, "approve"),
            ({"approve": None}, "approve"),
            ({"approval_request_id": 1}, "approval_request_id"),
            ({"reason": 1}, "reason"),
            ({"reason": "x" * 1_001}, "reason"),
        ],
    )
    def test_invalid_fields(
        self, live: LiveApi, agent: Agent, fields: dict[str, Any], param: str
    ) -> None:
        answer = respond(live, agent, [{**answer_of({"id": "mcpr_"}), **fields}])
        assert (answer.status, answer.json["error"]["param"]) == (400, f"input[0].{param}")

    def test_earlier_answers_before_a_message_are_ignored(
        self, live: LiveApi, agent: Agent, stub: StubModel
    ) -> None:
        (request,) = requests_of(respond(live, agent).json)
        stub.says(DONE)
        message = {"role": "user", "content": "Never mind."}
        answer = respond(live, agent, [message, request, answer_of(request), message])
        assert (answer.status, types_of(answer.json)) == (200, ["message"])
        assert Approval.objects.get(pk=request["id"].removeprefix("mcpr_")).status == "pending"
