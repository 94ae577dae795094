"""Streams of runs: their events, their resumption, and what does not change them."""

import json
import signal
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
from django.db.models.functions import Now

from agents.models import AgentTool, LanguageModel
from executions.events.items import Event
from executions.events.reading import KEPT, MAX_EVENTS
from executions.models import EventBatch, Execution
from map_project.tenants.models import Tenant
from tests.api import Api, LiveApi
from tests.checkouts import eventually
from tests.effects_server import EffectsServer, effects_server
from tests.factories import AgentFactory, saved_tool
from tests.live import serving, working
from tests.own_postgres import own_postgres
from tests.streams import Frame, check_whole, frames, read_stream, streaming

NETWORK = {"TOOL_ALLOWED_NETWORKS": "127.0.0.0/8"}


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with serving(**NETWORK) as port:
        yield port


@pytest.fixture(scope="module")
def other_port() -> Iterator[int]:
    with serving(**NETWORK) as port:
        yield port


@pytest.fixture(scope="module")
def _worker() -> Iterator[None]:
    with working(**NETWORK):
        yield


@pytest.fixture(scope="module")
def effects() -> Iterator[EffectsServer]:
    with effects_server() as server:
        yield server


@pytest.fixture
def agent_id(tenant: Tenant, effects: EffectsServer) -> str:
    """An agent with two tools."""
    agent = AgentFactory.create(tenant=tenant)
    for name in ("first", "second"):
        tool = saved_tool(
            tenant_id=tenant.pk,
            name=name,
            description="d",
            kind="http",
            http=effects.config(),
            parameters={"type": "object"},
        )
        AgentTool.objects.create(agent=agent, tool=tool)
    return str(agent.pk)


def start(prompt: str = "Hello you", **more: object) -> dict[str, object]:
    return {"prompt": prompt, "model": "gpt-4o", "stream": True, **more}


def is_accepted(port: int, api: Api, path: str) -> bool:
    with streaming(port, api.key, "POST", path, start()) as response:
        return response.status == 200


TWO_TOOLS = 'Go\n@first {"a": 1}\n@second {"b": 2}'


def run(api: Api, port: int, agent_id: str, **body: object) -> list[Frame]:
    return read_stream(port, api.key, "POST", f"agents/{agent_id}/run", start(**body))  # type: ignore[arg-type]


def execution_id_of(stream: list[Frame]) -> str:
    return str(uuid.UUID(stream[0].event["response"]["id"].removeprefix("resp_")))


def test_a_run_of_the_mock_is_streamed_in_words(api: Api, port: int, agent_id: str) -> None:
    stream = run(api, port, agent_id)
    check_whole(stream)
    deltas = [frame.event["delta"] for frame in stream if frame.type.endswith("text.delta")]
    assert deltas[:2] == ["[Mock ", "Response] "]
    found = api.get(f"history/{execution_id_of(stream)}").json
    assert found["response"] == "".join(deltas)
    assert stream[-1].type == "response.completed"
    assert [frame.type for frame in stream[:2]] == ["response.created", "response.in_progress"]


def test_a_run_with_tools_is_streamed_step_by_step(api: Api, port: int, agent_id: str) -> None:
    stream = run(api, port, agent_id, prompt=TWO_TOOLS)
    check_whole(stream)
    response = stream[-1].event["response"]
    assert [(item["type"], item["status"]) for item in response["output"]] == [
        ("mcp_call", "completed"),
        ("mcp_call", "completed"),
        ("message", "completed"),
    ]
    first = response["output"][0]
    assert (first["name"], first["arguments"], first["output"]) == ("first", '{"a": 1}', "done")
    assert first["server_label"] == "map"


@pytest.mark.parametrize("prompt", ["Hello", TWO_TOOLS])
def test_the_rest_after_each_event_is_that_of_the_whole_stream(
    api: Api, port: int, other_port: int, agent_id: str, prompt: str
) -> None:
    whole = run(api, port, agent_id, prompt=prompt)
    path = f"history/{execution_id_of(whole)}/events"
    for used in (port, other_port):
        assert read_stream(used, api.key, "GET", path) == whole
    for number in range(len(whole)):
        rest = whole[number + 1 :]
        found = read_stream(other_port, api.key, "GET", f"{path}?starting_after={number}")
        assert found == rest
    headers = {"Last-Event-ID": "3"}
    assert read_stream(port, api.key, "GET", path, headers=headers) == whole[4:]


def test_the_stream_cut_after_each_event_continues_in_another_process(
    api: Api, port: int, other_port: int, agent_id: str, effects: EffectsServer
) -> None:
    count = len(run(api, port, agent_id, prompt=TWO_TOOLS))
    for number in range(0, count - 1, 3):
        effects.effects.clear()
        received: list[Frame] = []
        body = start(TWO_TOOLS)
        with streaming(port, api.key, "POST", f"agents/{agent_id}/run", body) as response:
            for frame in frames(response):
                received.append(frame)
                if len(received) > number:
                    break
        path = f"history/{execution_id_of(received)}/events?starting_after={number}"
        rest = read_stream(other_port, api.key, "GET", path)
        check_whole([*received, *rest])
        assert rest[-1].type == "response.completed"
        assert len(effects.effects) == 2


@pytest.mark.usefixtures("_worker")
def test_a_background_run_is_streamed_by_its_worker(
    api: Api, port: int, other_port: int, agent_id: str
) -> None:
    streams = [run(api, port, agent_id, prompt=p, background=True) for p in ("Hi", TWO_TOOLS)]
    for stream in streams:
        check_whole(stream)
        names = ["response.created", "response.queued", "response.in_progress"]
        assert [frame.type for frame in stream[:3]] == names
        path = f"history/{execution_id_of(stream)}/events"
        assert read_stream(other_port, api.key, "GET", path) == stream


def test_the_events_of_a_run_that_was_not_streamed(
    api: Api, live_api: LiveApi, port: int, agent_id: str
) -> None:
    execution_id = LiveApi(port, api.key).run(agent_id, prompt=TWO_TOOLS).json["execution_id"]
    stream = read_stream(port, api.key, "GET", f"history/{execution_id}/events")
    check_whole(stream)
    assert [item["type"] for item in stream[-1].event["response"]["output"]] == [
        "mcp_call",
        "mcp_call",
        "message",
    ]
    # Those of a streamed run, after its events were deleted.
    stream = run(api, port, agent_id, prompt=TWO_TOOLS)
    execution_id = execution_id_of(stream)
    assert EventBatch.objects.filter(execution_id=execution_id).delete()[0] > 0
    later = read_stream(port, api.key, "GET", f"history/{execution_id}/events")
    check_whole(later)
    assert later[-1].event["response"] == stream[-1].event["response"]


def test_the_last_event_is_sent_after_the_events_were_deleted(
    api: Api, port: int, agent_id: str
) -> None:
    whole = run(api, port, agent_id, prompt=TWO_TOOLS)
    execution_id = execution_id_of(whole)
    path = f"history/{execution_id}/events?starting_after=900"
    assert read_stream(port, api.key, "GET", path) == []
    EventBatch.objects.filter(execution_id=execution_id).delete()
    Execution.objects.filter(pk=execution_id).update(finished_at=Now() - 2 * KEPT)
    (last,) = read_stream(port, api.key, "GET", path)
    assert last.type == "response.completed"
    assert last.event["response"]["output"] == whole[-1].event["response"]["output"]


@pytest.mark.parametrize(
    ("count", "batch_size"),
    [(MAX_EVENTS - 1, 1), (MAX_EVENTS, 300), (10_000, 100), (10_000, 20_000)],
)
def test_a_long_run_is_read_in_parts(
    api: Api, port: int, agent_id: str, count: int, batch_size: int
) -> None:
    execution_id = LiveApi(port, api.key).run(agent_id).json["execution_id"]
    deltas = [
        Event.of(number, "response.output_text.delta", delta="a") for number in range(2, count)
    ]
    EventBatch.objects.bulk_create(
        EventBatch(
            execution_id=execution_id,
            first_number=batch[0].number,
            events="\n".join(event.data for event in batch),
        )
        for start in range(0, len(deltas), batch_size)
        if (batch := deltas[start : start + batch_size])
    )
    Execution.objects.filter(pk=execution_id).update(is_streamed=True)
    path = f"history/{execution_id}/events"
    stream = read_stream(port, api.key, "GET", path)
    assert [frame.event["sequence_number"] for frame in stream] == [*range(count + 1)]
    assert stream[-1].type == "response.completed"
    for after in (0, 2, 3, 500, count - 1):
        found = read_stream(port, api.key, "GET", f"{path}?starting_after={after}")
        assert found == stream[after + 1 :]


def test_errors_before_the_stream_are_json(api: Api, port: int, agent_id: str) -> None:
    live = LiveApi(port, api.key)
    for body, code in (
        (start(""), "VALIDATION_ERROR"),
        (start(stream="yes"), "VALIDATION_ERROR"),
        (start(model="none"), "INVALID_MODEL"),
    ):
        assert live.post(f"agents/{agent_id}/run", body).error_code == code
    execution_id = live.run(agent_id).json["execution_id"]
    path = f"history/{execution_id}/events"
    for query in ("starting_after=-1", "starting_after=x", "starting_after=", "after=1"):
        assert live.get(f"{path}?{query}").error_code == "BAD_REQUEST"
    assert live.get(path, headers={"Last-Event-ID": "x"}).error_code == "BAD_REQUEST"


def test_the_streams_of_another_tenant_are_not_found(
    api: Api, other_api: Api, port: int, agent_id: str
) -> None:
    execution_id = LiveApi(port, api.key).run(agent_id).json["execution_id"]
    answer = LiveApi(port, other_api.key).get(f"history/{execution_id}/events")
    assert (answer.status, answer.error_code) == (403, "TENANT_ISOLATION_VIOLATION")


def test_a_repeated_key_replays_the_stream(api: Api, port: int, agent_id: str) -> None:
    headers = {"Idempotency-Key": "the key"}
    path = f"agents/{agent_id}/run"
    for prompt in ("Hello", TWO_TOOLS):
        headers = {"Idempotency-Key": str(len(prompt))}
        streams = [
            read_stream(port, api.key, "POST", path, start(prompt), headers=headers)
            for _ in range(3)
        ]
        assert streams[0] == streams[1] == streams[2]
        with streaming(port, api.key, "POST", path, start(prompt), headers=headers) as response:
            assert response.headers["Idempotent-Replayed"] == "true"
        assert Execution.objects.filter(agent_id=agent_id, prompt=prompt).count() == 1


def test_a_slot_is_free_at_the_end_of_a_stream(
    tenant: Tenant, api: Api, port: int, agent_id: str, effects: EffectsServer
) -> None:
    Tenant.objects.filter(pk=tenant.pk).update(max_concurrent_runs=1)
    live = LiveApi(port, api.key)
    effects.delay_seconds = 1.0
    try:
        path = f"agents/{agent_id}/run"
        with streaming(port, api.key, "POST", path, start(TWO_TOOLS)) as response:
            next(frames(response))
            assert live.run(agent_id).error_code == "CONCURRENCY_LIMIT_EXCEEDED"
            rest = [*frames(response)]
    finally:
        effects.delay_seconds = 0.0
    assert rest[-2].type == "response.completed"
    assert live.run(agent_id).status == 200


def test_the_number_of_open_streams_is_limited(
    api: Api, agent_id: str, effects: EffectsServer
) -> None:
    effects.delay_seconds = 1.0
    path = f"agents/{agent_id}/run"
    try:
        with serving(**NETWORK, MAX_OPEN_STREAMS="1", WEB_CONCURRENCY="1") as port:
            live = LiveApi(port, api.key)
            with streaming(port, api.key, "POST", path, start(TWO_TOOLS)) as response:
                next(frames(response))
                refused = live.post(path, start())
                assert (refused.status, refused.details) == (503, {"reason": "too_many_streams"})
                assert live.run(agent_id).status == 200
                assert [*frames(response)][-1].text == "data: [DONE]"
            # The place of a stream is free a moment after its last frame.
            assert eventually(lambda: is_accepted(port, api, path))
    finally:
        effects.delay_seconds = 0.0


def test_the_end_of_a_cancelled_run(
    api: Api, port: int, other_port: int, agent_id: str, effects: EffectsServer
) -> None:
    effects.delay_seconds = 3.0
    try:
        path = f"agents/{agent_id}/run"
        with streaming(port, api.key, "POST", path, start(TWO_TOOLS)) as response:
            stream = frames(response)
            received = [next(stream) for _ in range(3)]
            execution_id = execution_id_of(received)
            live = LiveApi(other_port, api.key)
            assert live.post(f"history/{execution_id}/cancel").status == 200
            received += [*stream]
    finally:
        effects.delay_seconds = 0.0
    assert received[-1].text == "data: [DONE]"
    check_whole(received[:-1])
    assert received[-2].type == "response.cancelled"
    assert json.dumps(received[-2].event["response"]["output"])


@contextmanager
def silent_model() -> Iterator[tuple[str, list[float]]]:
    """Yield the name of a model that accepts requests and sends nothing, and when its connections ended."""
    ended: list[float] = []

    def serve(connection: socket.socket) -> None:
        with connection:
            while connection.recv(65_536):
                pass
        ended.append(time.monotonic())

    def accept() -> None:
        with suppress(OSError):
            while True:
                connection, _ = server.accept()
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=accept, daemon=True).start()
        row = LanguageModel.objects.create(
            name=f"silent {server.getsockname()[1]}",
            provider="openai",
            base_url=f"http://127.0.0.1:{server.getsockname()[1]}/v1",
        )
        try:
            yield row.name, ended
        finally:
            row.delete()
            server.shutdown(socket.SHUT_RDWR)


@pytest.mark.usefixtures("_worker")
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("background", [True, False])
def test_the_model_call_of_a_cancelled_run_is_cut(
    api: Api, port: int, other_port: int, agent_id: str, *, stream: bool, background: bool
) -> None:
    def is_running() -> bool:
        runs = Execution.objects.filter(agent_id=agent_id, status="running")
        return runs.exists()

    def send() -> None:
        with streaming(port, api.key, "POST", f"agents/{agent_id}/run", body) as response:
            received.append(response.read().decode())

    received: list[str] = []
    with silent_model() as (name, ended):
        time.sleep(1)  # the models are cached for less
        body = {"prompt": "Hi", "model": name, "stream": stream, "background": background}
        client = threading.Thread(target=send)
        client.start()
        assert eventually(is_running)
        time.sleep(0.3)
        assert not ended
        execution_id = Execution.objects.get(agent_id=agent_id).pk
        cancelled_at = time.monotonic()
        live = LiveApi(other_port, api.key)
        assert live.post(f"history/{execution_id}/cancel").json["status"] == "cancelled"
        assert eventually(lambda: bool(ended))
        # The promise is two seconds. The machine may be slow. Without a cut, the call lasts a minute.
        assert ended[0] - cancelled_at < 15
        client.join()
    if stream:
        assert "event: response.cancelled" in received[0]
    elif not background:
        assert json.loads(received[0])["status"] == "cancelled"


@pytest.mark.slow
def test_a_stream_outlives_a_restart_of_the_database(effects: EffectsServer) -> None:
    with own_postgres() as database:
        tenant_id = database.manage("create_tenant", "T")
        key = database.manage("create_api_key", tenant_id)
        with serving(**NETWORK, DATABASE_URL=database.url) as port:
            api = LiveApi(port, key)
            tool = {
                "name": "first",
                "description": "d",
                "kind": "http",
                "http": effects.config(),
                "parameters": {"type": "object"},
            }
            tool_id = api.post("tools", tool).json["id"]
            agent = {"name": "a", "role": "r", "description": "d", "tool_ids": [tool_id]}
            agent_id = api.post("agents", agent).json["id"]
            effects.delay_seconds = 3.0
            path = f"agents/{agent_id}/run"
            with streaming(port, key, "POST", path, start("@first {}")) as response:
                stream = frames(response)
                received = [next(stream) for _ in range(3)]
                database.stop(signal.SIGINT)
                effects.delay_seconds = 0.0
                time.sleep(4)
                database.start()
                received += [*stream]
            assert received.pop().text == "data: [DONE]"
            check_whole(received)
            assert received[-1].type == "response.completed"
            whole = read_stream(port, key, "GET", f"history/{execution_id_of(received)}/events")
            assert whole == received
