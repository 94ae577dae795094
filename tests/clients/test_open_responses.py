"""Open Responses: every response and event is valid, the compliance cases, and streams that were cut."""

import time
from typing import Any

import openresponses_types
import pytest

from executions.models import Execution
from tests.checkouts import eventually
from tests.clients.conftest import TWO_TOOLS, Door
from tests.clients.open_responses import EVENTS, check_event, check_response
from tests.effects_server import EffectsServer
from tests.live import serving
from tests.streams import Frame, check_whole, frames, read_stream, streaming

PROMPTS = ["Hello", TWO_TOOLS, "Go\n@first {\n@first []"]


def stream_of(door: Door, value: Any = "Hello", **body: Any) -> list[Frame]:
    request = {"model": door.model, "input": value, "stream": True, **body}
    return read_stream(door.port, door.key, "POST", "/v1/responses", request)


def response_of(door: Door, value: Any = "Hello", **body: Any) -> dict[str, Any]:
    request = {"model": door.model, "input": value, **body}
    answer = door.api.post("/v1/responses", request)
    assert answer.status == 200, answer.content
    check_response(answer.json)
    response: dict[str, Any] = answer.json
    return response


def path_of(stream: list[Frame]) -> str:
    return f"/v1/responses/{stream[0].event['response']['id']}"


def test_the_types_are_those_of_the_release() -> None:
    assert openresponses_types.__spec_version__ == "2026-04-24"
    assert "response.output_text.delta" in EVENTS


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("background", [False, True])
def test_responses_and_events_are_valid(door: Door, prompt: str, *, background: bool) -> None:
    stream = stream_of(door, prompt, background=background)
    check_whole(stream)
    assert not [frame for frame in stream if frame.id is not None]
    for frame in stream:
        check_event(frame.event)
    response = door.api.get(path_of(stream)).json
    check_response(response)
    assert response == stream[-1].event["response"]
    assert response["status"] == "completed"
    items = openresponses_types.Message
    for item in door.api.get(f"{path_of(stream)}/input_items").json["data"]:
        items.model_validate(item)


def test_a_background_response_is_followed(door: Door) -> None:
    response = response_of(door, TWO_TOOLS, background=True)
    assert response["status"] == "queued"

    def is_completed() -> bool:
        found = door.api.get(f"/v1/responses/{response['id']}").json
        check_response(found)
        return bool(found["status"] == "completed")

    assert eventually(is_completed)


def test_a_response_in_progress_shows_its_call(door: Door, effects: EffectsServer) -> None:
    effects.delay_seconds = 2.0
    try:
        body = {"model": door.model, "input": TWO_TOOLS, "stream": True}
        with streaming(door.port, door.key, "POST", "/v1/responses", body) as response:
            stream = frames(response)
            received = [next(stream) for _ in range(4)]
            found = door.api.get(path_of(received))
            check_response(found.json)
            assert found.headers["openai-poll-after-ms"] == "1000"
            assert [item["status"] for item in found.json["output"]] == ["in_progress"]
            cancelled = door.api.post(f"{path_of(received)}/cancel").json
            assert cancelled["status"] == "cancelled"
            received += [*stream]
    finally:
        effects.delay_seconds = 0.0
    assert received[-2].type == "response.cancelled"
    for frame in received[:-1]:
        check_event(frame.event)


def test_the_rest_after_each_event_byte_for_byte(door: Door) -> None:
    with serving(TOOL_ALLOWED_NETWORKS="127.0.0.0/8") as other_port:
        whole = stream_of(door, TWO_TOOLS)
        texts = [frame.text for frame in whole]
        for number in range(-1, len(whole)):
            query = f"&starting_after={number}" if number >= 0 else ""
            path = f"{path_of(whole)}?stream=true{query}"
            rest = read_stream(other_port, door.key, "GET", path)
            assert [frame.text for frame in rest] == texts[number + 1 :]


def test_a_stream_cut_after_each_event_continues(door: Door, effects: EffectsServer) -> None:
    count = len(stream_of(door, TWO_TOOLS))
    with serving(TOOL_ALLOWED_NETWORKS="127.0.0.0/8") as other_port:
        for number in range(count - 1):
            effects.effects.clear()
            received: list[Frame] = []
            body = {"model": door.model, "input": TWO_TOOLS, "stream": True}
            with streaming(door.port, door.key, "POST", "/v1/responses", body) as response:
                for frame in frames(response):
                    received.append(frame)
                    if len(received) > number:
                        break
            path = path_of(received)
            assert door.api.get(path).status == 200
            rest = read_stream(
                other_port, door.key, "GET", f"{path}?stream=true&starting_after={number}"
            )
            check_whole([*received, *rest])
            whole = read_stream(other_port, door.key, "GET", f"{path}?stream=true")
            assert [frame.text for frame in whole] == [frame.text for frame in [*received, *rest]]
            assert rest[-1].type == "response.completed"
            assert len(effects.effects) == 2


def test_the_start_of_the_rest_has_to_be_a_number(door: Door) -> None:
    path = f"/v1/responses/{response_of(door)['id']}?stream=true"
    for text in ("-1", "x", "", "9999999999"):
        answer = door.api.get(f"{path}&starting_after={text}")
        assert (answer.status, answer.json["error"]["code"]) == (400, "bad_request")


def test_a_repeated_key_replays_the_stream(door: Door) -> None:
    body = {"model": door.model, "input": TWO_TOOLS, "stream": True}
    for path in ("/v1/responses", "/v1/chat/completions"):
        messages = [{"role": "user", "content": "Hello"}]
        request = {**body, "messages": messages}
        texts = []
        for expected in (None, "true"):
            headers = {"Idempotency-Key": path}
            with streaming(door.port, door.key, "POST", path, request, headers) as response:
                assert response.headers["Idempotent-Replayed"] == expected
                texts.append(response.read())
        assert texts[0] == texts[1]
    assert Execution.objects.filter(tenant=door.tenant).count() == 2


class TestCompliance:
    """The cases of the compliance suite that need neither tools of the client nor images."""

    def test_basic_response(self, door: Door) -> None:
        message = {"type": "message", "role": "user", "content": "Say hello in exactly 3 words."}
        response = response_of(door, [message])
        assert response["output"]
        assert response["status"] == "completed"

    def test_streaming_response(self, door: Door) -> None:
        message = {"type": "message", "role": "user", "content": "Count from 1 to 5."}
        stream = stream_of(door, [message])
        for frame in stream:
            check_event(frame.event)
        assert stream[-1].event["response"]["status"] == "completed"

    def test_system_prompt(self, door: Door) -> None:
        system = {"type": "message", "role": "system", "content": "You are a pirate."}
        message = {"type": "message", "role": "user", "content": "Say hello."}
        response = response_of(door, [system, message])
        assert response["status"] == "completed"
        execution = Execution.objects.get(pk=response["id"].removeprefix("resp_"))
        assert execution.system_prompt.endswith("You are a pirate.")

    def test_multi_turn(self, door: Door) -> None:
        turns = [
            ("user", "My name is Alice."),
            ("assistant", "Hello Alice! How can I help you today?"),
            ("user", "What is my name?"),
        ]
        messages = [{"type": "message", "role": role, "content": text} for role, text in turns]
        assert response_of(door, messages)["status"] == "completed"

    @pytest.mark.parametrize("case", ["tool-calling", "image-input"])
    def test_the_other_cases_are_refused(self, door: Door, case: str) -> None:
        image = {"type": "input_image", "image_url": "data:image/png;base64,iVBORw0KGgo="}
        bodies: dict[str, Any] = {
            "tool-calling": {"input": "Hi", "tools": [{"type": "function", "name": "f"}]},
            "image-input": {"input": [{"role": "user", "content": [image]}]},
        }
        answer = door.api.post("/v1/responses", {"model": door.model, **bodies[case]})
        assert (answer.status, answer.json["error"]["code"]) == (400, "unsupported_parameter")
        openresponses_types.ErrorPayload.model_validate(answer.json["error"])


def test_time_of_a_response(door: Door) -> None:
    before = int(time.time())
    response = response_of(door)
    assert before - 5 <= response["created_at"] <= response["completed_at"] <= time.time() + 5
