"""Streams and recovery of runs with an output schema."""

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from django.db.models.functions import Now

from agents.models import Agent, LanguageModel
from executions.jobs.runs import run_queued
from executions.models import EventBatch, Execution, Step
from map_project.tenants.models import Tenant
from tests.api import Api
from tests.checkouts import eventually
from tests.factories import AgentFactory
from tests.live import serving, start_worker, working
from tests.streams import Frame, check_whole, frames, read_stream, streaming
from tests.stub_model import HANG, StubModel, completion, streamed

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
INVALID, VALID = '{"a": "one", "b": 2}', '{"a": 1}'


@pytest.fixture(scope="module")
def model(model_server: StubModel) -> Iterator[StubModel]:
    """The server of the model `real`, which exists before the API is started: models are cached."""
    row = LanguageModel.objects.create(
        name="real", provider="openai", base_url=model_server.url, max_retries=0
    )
    yield model_server
    row.delete()


@pytest.fixture(scope="module")
def port(model: StubModel) -> Iterator[int]:
    with serving() as port:
        yield port


@pytest.fixture(scope="module")
def other_port(model: StubModel) -> Iterator[int]:
    with serving() as port:
        yield port


@pytest.fixture
def stub(model: StubModel) -> StubModel:
    model.requests.clear()
    return model


@pytest.fixture
def agent(tenant: Tenant, model: StubModel) -> Agent:
    return AgentFactory.create(tenant=tenant, output_schema=SCHEMA, model="real")


def run(port: int, api: Api, agent: Agent, **more: Any) -> list[Frame]:
    body = {"prompt": "Go", "stream": True, **more}
    return read_stream(port, api.key, "POST", f"agents/{agent.pk}/run", body)


def execution_id_of(stream: list[Frame]) -> str:
    return str(uuid.UUID(stream[0].event["response"]["id"].removeprefix("resp_")))


def messages_of(stream: list[Frame]) -> list[tuple[str, str]]:
    """Return the type and the text of each message, as it was streamed."""
    items = [frame.event["item"] for frame in stream if frame.type == "response.output_item.done"]
    return [(item["status"], item["content"][0]["text"]) for item in items]


def check_resumption(port: int, api: Api, whole: list[Frame]) -> None:
    path = f"history/{execution_id_of(whole)}/events"
    assert read_stream(port, api.key, "GET", path) == whole
    for number in range(len(whole)):
        found = read_stream(port, api.key, "GET", f"{path}?starting_after={number}")
        assert found == whole[number + 1 :]


def test_the_repaired_response_is_a_new_message(
    api: Api, port: int, other_port: int, stub: StubModel, agent: Agent
) -> None:
    stub.says(completion(INVALID), completion(VALID))
    stream = run(port, api, agent)
    check_whole(stream)
    assert messages_of(stream) == [("completed", INVALID), ("completed", VALID)]
    response = stream[-1].event["response"]
    assert (response["status"], len(response["output"])) == ("completed", 2)
    assert response["text"]["format"]["schema"] == SCHEMA
    assert response["usage"]["total_tokens"] == 30
    check_resumption(other_port, api, stream)
    found = api.get(f"history/{execution_id_of(stream)}").json
    assert (found["output"], found["response"]) == ({"a": 1}, VALID)
    # As it is after the events were deleted.
    EventBatch.objects.filter(execution_id=found["id"]).delete()
    later = read_stream(port, api.key, "GET", f"history/{found['id']}/events")
    check_whole(later)
    assert messages_of(later) == messages_of(stream)
    assert later[-1].event["response"] == response


def test_the_stream_of_a_run_without_a_valid_response(
    api: Api, port: int, other_port: int, stub: StubModel, agent: Agent
) -> None:
    stub.says(completion(INVALID), completion("no"))
    stream = run(port, api, agent)
    check_whole(stream)
    assert messages_of(stream) == [("completed", INVALID), ("completed", "no")]
    failure, last = (frame.event for frame in stream[-2:])
    assert (failure["type"], failure["code"]) == ("error", "output_invalid")
    assert last["type"] == "response.failed"
    assert last["response"]["error"]["code"] == "output_invalid"
    assert "The response is not JSON" in failure["message"] == last["response"]["error"]["message"]
    check_resumption(other_port, api, stream)
    assert api.get(f"history/{execution_id_of(stream)}").json["output"] is None


@dataclass(frozen=True)
class Phases:
    """Responses of a model, and the texts and phases of the messages: of the first event, and of the last."""

    answers: list[dict[str, Any]]
    texts: list[str]
    added: list[str | None]
    done: list[str]


@pytest.mark.parametrize(
    "case",
    [
        Phases(
            [completion("I look.", calls=[("none", "{}")]), completion(VALID)],
            ["I look.", VALID],
            ["commentary", None],
            ["commentary", "final_answer"],
        ),
        Phases(
            [completion("Sure!"), completion(VALID)],
            ["Sure!", VALID],
            ["commentary", None],
            ["commentary", "final_answer"],
        ),
        Phases(
            [completion(INVALID), completion(VALID)],
            [INVALID, VALID],
            [None, None],
            ["commentary", "final_answer"],
        ),
        Phases([completion(f"```json\n{VALID}\n```")], [VALID], ["final_answer"], ["final_answer"]),
    ],
)
def test_the_phase_of_a_message(
    *, api: Api, port: int, other_port: int, stub: StubModel, agent: Agent, case: Phases
) -> None:
    """Clients parse each message whose phase is not `commentary` as output, in a stream that of its start."""
    stub.says(*map(streamed, case.answers))
    stream = run(port, api, agent)
    check_whole(stream)
    started = [frame.event["item"] for frame in stream if frame.type.endswith("item.added")]
    assert [item["phase"] for item in started if item["type"] == "message"] == case.added
    output = stream[-1].event["response"]["output"]
    ended = [item for item in output if item["type"] == "message"]
    assert [item["phase"] for item in ended] == case.done
    assert [item["content"][0]["text"] for item in ended] == case.texts
    check_resumption(other_port, api, stream)


def test_the_stream_of_the_mock(api: Api, port: int, other_port: int, agent: Agent) -> None:
    stream = run(port, api, agent, model="gpt-4o")
    check_whole(stream)
    assert messages_of(stream) == [("completed", '{"a": 0}')]
    check_resumption(other_port, api, stream)
    assert api.get(f"history/{execution_id_of(stream)}").json["output"] == {"a": 0}


def interrupted(api: Api, agent: Agent, *responses: str) -> str:
    """Return a queued run that was interrupted after these responses."""
    body = {"prompt": "Go", "background": True}
    execution_id: str = api.post(f"agents/{agent.pk}/run", body).json["execution_id"]
    for position, text in enumerate(responses):
        Step.objects.create(
            execution_id=execution_id,
            position=position,
            kind="model",
            name="real",
            output=text,
            finish_reason="stop",
            latency_ms=1,
            input_tokens=1,
            output_tokens=1,
        )
    Execution.objects.filter(pk=execution_id).update(started_at=Now(), attempt=1)
    return execution_id


@pytest.mark.parametrize("second", [VALID, "no"])
@pytest.mark.parametrize("is_recorded", [False, True])
def test_a_run_is_repaired_once_in_all_its_attempts(
    *, api: Api, stub: StubModel, agent: Agent, second: str, is_recorded: bool
) -> None:
    stub.says(completion(second))
    execution_id = interrupted(api, agent, INVALID, *([second] if is_recorded else []))
    run_queued(uuid.UUID(execution_id))
    assert len(stub.requests) == (0 if is_recorded else 1)
    if stub.requests:
        *_, first, repair = stub.requests[0].body["messages"]
        assert (first["role"], first["content"], repair["role"]) == ("assistant", INVALID, "user")
        assert "a: the value is not of type" in repair["content"]
    found = api.get(f"history/{execution_id}").json
    assert (found["attempt"], [step["output"] for step in found["steps"]]) == (2, [INVALID, second])
    is_valid = second == VALID
    assert (found["output"], found["error_code"]) == (
        ({"a": 1}, None) if is_valid else (None, "OUTPUT_INVALID")
    )


@pytest.mark.slow
def test_the_stream_goes_on_with_the_repair_after_its_worker_was_killed(
    api: Api, port: int, other_port: int, stub: StubModel, agent: Agent
) -> None:
    stub.says(completion(INVALID), HANG)
    worker = start_worker()
    body = {"prompt": "Go", "stream": True, "background": True}
    with streaming(port, api.key, "POST", f"agents/{agent.pk}/run", body) as response:
        assert eventually(lambda: len(stub.requests) == 2)
        worker.kill()
        worker.wait(10)
        stub.says(completion(VALID))
        with working():
            stream = [*frames(response)][:-1]
    check_whole(stream)
    assert messages_of(stream) == [("completed", INVALID), ("completed", VALID)]
    assert len(stub.requests) == 1
    assert json.loads(VALID) == api.get(f"history/{execution_id_of(stream)}").json["output"]
    check_resumption(other_port, api, stream)
