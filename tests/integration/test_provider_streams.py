"""Streamed runs on the streams of model servers, through a live server."""

import time
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

from agents.models import LanguageModel
from executions.models import EventBatch, Execution
from map_project.tenants.models import Tenant
from tests.api import Api, LiveApi
from tests.factories import AgentFactory
from tests.live import serving
from tests.providers.messages import events_of, message, named, streamed_message
from tests.providers.reading import wait_until_closed
from tests.streams import Frame, check_whole, frames, read_stream, streaming
from tests.stub_model import DONE, StubModel, StubStream, chunk, completion, streamed


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with serving() as port:
        yield port


@pytest.fixture
def models(model_server: StubModel) -> Iterator[dict[str, str]]:
    """Names of models by provider."""
    url = model_server.url
    names = {name: f"{name} at {url}" for name in ("openai", "anthropic")}
    rows = [
        LanguageModel.objects.create(name=name, provider=provider, base_url=url, max_retries=0)
        for provider, name in names.items()
    ]
    time.sleep(1)  # the models are cached for less
    yield names
    for row in rows:
        row.delete()


@pytest.fixture
def agent_id(tenant: Tenant) -> str:
    Tenant.objects.filter(pk=tenant.pk).update(rate_limit_requests=10_000)
    return str(AgentFactory.create(tenant=tenant).pk)


def run(api: Api, port: int, agent_id: str, model: str) -> list[Frame]:
    body = {"prompt": "Hi", "model": model, "stream": True}
    return read_stream(port, api.key, "POST", f"agents/{agent_id}/run", body)


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_the_words_of_a_model_are_streamed(
    *,
    api: Api,
    port: int,
    agent_id: str,
    model_server: StubModel,
    models: dict[str, str],
    provider: str,
) -> None:
    answer = streamed() if provider == "openai" else streamed_message(message("Hello."))
    model_server.says(answer)
    stream = run(api, port, agent_id, models[provider])
    check_whole(stream)
    assert [frame.event["delta"] for frame in stream if frame.type.endswith("text.delta")] == [
        "Hello."
    ]
    assert stream[-1].event["response"]["usage"]["total_tokens"] == 15
    execution = Execution.objects.get(agent_id=agent_id)
    assert (execution.status, execution.response) == ("succeeded", "Hello.")


TEXT = b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n'


def test_a_run_whose_stream_was_cut_at_any_byte_has_not_succeeded(
    *, api: Api, port: int, agent_id: str, model_server: StubModel, models: dict[str, str]
) -> None:
    whole = StubStream([TEXT, DONE])
    body = b"".join(part for part in whole.body() if isinstance(part, bytes))
    done_at = body.index(DONE) + len(DONE)
    for cut_at in range(done_at):
        model_server.says(StubStream(whole.parts, cut_at=cut_at))
        stream = run(api, port, agent_id, models["openai"])
        check_whole(stream)
        assert [frame.type for frame in stream[-2:]] == ["error", "response.failed"]
    found = Execution.objects.filter(agent_id=agent_id)
    assert {*found.values_list("status", flat=True)} == {"failed"}
    assert found.count() == done_at
    outputs = {step.output for execution in found for step in execution.steps.all()}
    assert outputs == {"", "a"}
    model_server.says(whole)
    assert run(api, port, agent_id, models["openai"])[-1].type == "response.completed"


def test_a_run_whose_stream_of_anthropic_was_cut_has_not_succeeded(
    *, api: Api, port: int, agent_id: str, model_server: StubModel, models: dict[str, str]
) -> None:
    events = [*map(named, events_of(message("Hello.")))]
    for count in range(len(events)):
        model_server.says(StubStream(events[:count], is_chunked=count % 2 == 0))
        stream = run(api, port, agent_id, models["anthropic"])
        check_whole(stream)
        assert stream[-1].type == "response.failed"
    found = Execution.objects.filter(agent_id=agent_id)
    assert {*found.values_list("status", flat=True)} == {"failed"}


def test_other_requests_are_served_during_a_fast_stream(
    *, api: Api, agent_id: str, model_server: StubModel, models: dict[str, str]
) -> None:
    # Each event is a chunk of its own, and all are sent at once.
    events = b"%x\r\n%s\r\n" % (len(TEXT), TEXT) * 50_000 + b"e\r\n" + DONE + b"\r\n0\r\n\r\n"
    headers = {"Transfer-Encoding": "chunked"}
    model_server.says(StubStream([events], is_chunked=False, headers=headers))
    with serving(WEB_CONCURRENCY="1") as port:
        body = {"prompt": "Hi", "model": models["openai"], "stream": True}
        path = f"agents/{agent_id}/run"
        times = [time.monotonic()]
        with streaming(port, api.key, "POST", path, body) as response:
            assert next(frames(response)).type == "response.created"
            times.append(time.monotonic())
            while Execution.objects.get(agent_id=agent_id).status == "running":
                assert LiveApi(port).get("/live").status == 200
                times.append(time.monotonic())
    assert Execution.objects.get(agent_id=agent_id).response == "a" * 50_000
    longest = max(end - start for start, end in pairwise(times))
    assert longest < (times[-1] - times[0]) / 2, times


def test_a_text_that_a_failure_interrupts_is_incomplete(
    *, api: Api, port: int, agent_id: str, model_server: StubModel, models: dict[str, str]
) -> None:
    cut = streamed(completion("Hello you there."), cut_at=700)
    model_server.says(completion("I look.", calls=[("none", "{}")]), cut)
    stream = run(api, port, agent_id, models["openai"])
    check_whole(stream)
    items = [frame.event["item"] for frame in stream if frame.type.endswith("item.done")]
    assert [(item["type"], item["status"]) for item in items] == [
        ("message", "completed"),
        ("mcp_call", "failed"),
        ("message", "incomplete"),
    ]
    assert [item.get("phase") for item in items] == ["commentary", None, "final_answer"]
    assert "Hello".startswith(items[-1]["content"][0]["text"].split()[0])
    response = stream[-1].event["response"]
    assert (response["status"], response["output"]) == ("failed", items)
    execution_id = Execution.objects.get(agent_id=agent_id).pk
    EventBatch.objects.filter(execution_id=execution_id).delete()
    later = read_stream(port, api.key, "GET", f"history/{execution_id}/events")
    check_whole(later)
    assert later[-1].event["response"] == response


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_the_stream_of_a_cancelled_run_is_cut(
    *,
    api: Api,
    port: int,
    agent_id: str,
    model_server: StubModel,
    models: dict[str, str],
    provider: str,
) -> None:
    events: dict[str, list[Any]] = {
        "openai": [chunk({"content": "Hello."})],
        "anthropic": events_of(message("Hello."))[:4],
    }
    model_server.says(StubStream([*events[provider], 60.0]))
    body = {"prompt": "Hi", "model": models[provider], "stream": True}
    path = f"agents/{agent_id}/run"
    with streaming(port, api.key, "POST", path, body) as response:
        stream = frames(response)
        received = next(frame for frame in stream if frame.type.endswith("text.delta"))
        assert received.event["delta"] == "Hello."
        execution_id = Execution.objects.get(agent_id=agent_id).pk
        started = time.monotonic()
        answer = LiveApi(port, api.key).post(f"history/{execution_id}/cancel")
        assert answer.json["status"] == "cancelled"
        wait_until_closed(model_server)
        # 2 seconds on a machine that is not busy.
        assert time.monotonic() - started < 8
        assert [frame.type for frame in stream][-2:] == ["response.cancelled", ""]
