"""The provider `anthropic`: the real SDK against a stub server on loopback."""

import time
from dataclasses import replace
from typing import Any

import pytest

from executions.providers import (
    Message,
    ModelError,
    ModelRequest,
    ModelResponse,
    ModelTimeout,
    ToolCall,
    ToolDefinition,
    get_provider,
)
from executions.providers.anthropic.stream import read_stream
from map_project.api import secrets
from tests.integration import test_providers
from tests.providers.messages import (
    STOPPED,
    call_block,
    called,
    events_of,
    failed,
    failed_event,
    message,
    named,
    streamed_message,
)
from tests.providers.reading import Cancelled, cancel, read_all, wait_until_closed
from tests.stub_model import CUT, DONE, HANG, StubModel, StubResponse, StubStream, silent_port
from tools.outbound import interruptible

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
WEATHER = ToolDefinition("weather", "weather", "The weather.", SCHEMA)
TIME = ToolDefinition("time", "time", "The time.", {**SCHEMA, "anyOf": [{}]})
CACHED = {"cache_control": {"type": "ephemeral"}}
THOUGHT = {"type": "thinking", "thinking": "hmm", "signature": "s"}
HIDDEN = {"type": "redacted_thinking", "data": "x"}
CALL = ToolCall("toolu_0", "weather", '{"city":"Oslo"}')


@pytest.fixture
def stub(model_server: StubModel) -> StubModel:
    return model_server.says(message("Hello."))


def request_to(stub: StubModel | str, **changes: Any) -> ModelRequest:
    return test_providers.request_to(stub, **{"provider": "anthropic", "name": "claude"} | changes)


def complete(request: ModelRequest) -> ModelResponse:
    return get_provider("anthropic").complete(request)


def read(request: ModelRequest) -> tuple[list[str], ModelResponse]:
    """Return the pieces of the text and the response. Raises ModelError."""
    pieces: list[str] = []
    response = read_all(get_provider("anthropic").stream(request), pieces)
    assert "".join(pieces) == response.text
    assert "" not in pieces
    return pieces, response


def failure(request: ModelRequest, pieces: list[str] | None = None) -> ModelError:
    """Return the error of a stream, whose pieces are added to `pieces`."""
    pieces = [] if pieces is None else pieces
    with pytest.raises(ModelError) as caught:
        read_all(get_provider("anthropic").stream(request), pieces)
    assert caught.value.provider == "anthropic"
    assert caught.value.output == "".join(pieces)
    return caught.value


class TestRequest:
    def test_all_fields_are_sent(self, stub: StubModel) -> None:
        token = secrets.encrypt("sk-ant-secret")
        request = request_to(stub, upstream_name="claude-x", credential_token=token)
        complete(replace(request, tools=(WEATHER, TIME), temperature=0.5, max_output_tokens=77))
        (sent,) = stub.requests
        assert sent.path == "/v1/messages"
        assert sent.headers["authorization"] == "Bearer sk-ant-secret"
        assert sent.body == {
            "model": "claude-x",
            "max_tokens": 77,
            "stream": False,
            "system": [{"type": "text", "text": "You are Ada.", **CACHED}],
            "messages": [
                {
                    "role": "user",
                    "content": [{"type": "text", "text": "What is new?", **CACHED}],
                }
            ],
            "tools": [
                {"name": "weather", "description": "The weather.", "input_schema": SCHEMA},
                {"name": "time", "description": "The time.", "input_schema": SCHEMA, **CACHED},
            ],
        }

    def test_unset_fields_are_left_out(self, stub: StubModel) -> None:
        complete(replace(request_to(stub), system_prompt=""))
        body = stub.requests[0].body
        assert body.keys() == {"model", "max_tokens", "messages", "stream"}
        assert body["messages"][0]["content"] == [{"type": "text", "text": "What is new?"}]

    @pytest.mark.parametrize("end", ["", "/", "/v1", "/v1/"])
    def test_the_base_url_may_have_the_version(self, stub: StubModel, end: str) -> None:
        complete(request_to(stub.url.removesuffix("/v1") + end))
        assert stub.requests[0].path == "/v1/messages"

    def test_nothing_of_the_environment_is_sent(
        self, stub: StubModel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-of-the-environment")
        monkeypatch.setenv("ANTHROPIC_AUTH_TOKEN", "token-of-the-environment")
        monkeypatch.setenv("ANTHROPIC_BASE_URL", "http://of-the-environment")
        complete(request_to(stub, credential_token=secrets.encrypt("sk-env")))
        assert "of-the-environment" not in str(stub.requests[0].headers)

    def test_a_conversation_is_sent_in_turns(self, stub: StubModel) -> None:
        calls = (CALL, ToolCall("functions.time:1", "no name", "{broken"))
        messages = (
            Message("user", "What is new?"),
            Message("assistant", "Wait.", calls),
            Message("tool", "sunny", tool_call_id="toolu_0", name="weather"),
            Message("tool", " ", tool_call_id="functions.time:1", name="no name"),
            Message("assistant", ""),
            Message("user", "Again."),
        )
        complete(replace(request_to(stub), messages=messages, tools=(WEATHER,)))
        assert stub.requests[0].body["messages"] == [
            {"role": "user", "content": [{"type": "text", "text": "What is new?"}]},
            {
                "role": "assistant",
                "content": [
                    {"type": "text", "text": "Wait."},
                    {
                        "type": "tool_use",
                        "id": "toolu_0",
                        "name": "weather",
                        "input": {"city": "Oslo"},
                    },
                    {
                        "type": "tool_use",
                        "id": "functions_time_1",
                        "name": "unknown",
                        "input": {},
                    },
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "toolu_0", "content": "sunny"},
                    {"type": "tool_result", "tool_use_id": "functions_time_1"},
                    {"type": "text", "text": "Again.", **CACHED},
                ],
            },
        ]

    def test_tools_that_were_called_are_defined_if_there_are_none(self, stub: StubModel) -> None:
        messages = (
            Message("user", "What is new?"),
            Message("assistant", "", (CALL,)),
            Message("tool", "sunny", tool_call_id="toolu_0", name="weather"),
        )
        complete(replace(request_to(stub), messages=messages))
        body = stub.requests[0].body
        assert body["tool_choice"] == {"type": "none"}
        (tool,) = body["tools"]
        assert (tool["name"], tool["input_schema"]) == ("weather", {"type": "object"})

    @pytest.mark.parametrize("is_stream", [False, True])
    def test_thoughts_are_sent_back_in_their_order(
        self, stub: StubModel, *, is_stream: bool
    ) -> None:
        blocks: list[Any] = [
            THOUGHT,
            "Wait.",
            call_block("weather", {}),
            HIDDEN,
            call_block("time", {}, 1),
        ]
        answer = called(*blocks)
        stub.says(streamed_message(answer) if is_stream else answer, message("Sunny."))
        request = request_to(stub)
        response = read(request)[1] if is_stream else complete(request)
        # The loop may give calls other ids.
        calls = tuple(replace(call, id=f"x{call.id}") for call in response.tool_calls)
        reply = Message("assistant", response.text, calls, extra=response.extra)
        complete(replace(request, messages=(*request.messages, reply)))
        assert stub.requests[1].body["messages"][1]["content"] == [
            THOUGHT,
            {"type": "text", "text": "Wait."},
            {"type": "tool_use", "id": "xtoolu_0", "name": "weather", "input": {}},
            HIDDEN,
            {"type": "tool_use", "id": "xtoolu_1", "name": "time", "input": {}},
        ]

    @pytest.mark.parametrize("is_stream", [False, True])
    def test_the_maximum_of_a_model_is_learned(self, stub: StubModel, *, is_stream: bool) -> None:
        def strict(body: dict[str, Any]) -> Any:
            if body["max_tokens"] <= 8192:
                return message("Hello.")
            text = (
                f"max_tokens: {body['max_tokens']} > 8192, which is the maximum allowed number of "
                "output tokens for claude"
            )
            return failed(400, "invalid_request_error", text)

        stub.says(strict)
        request = request_to(stub, name=f"small {is_stream}")
        for _ in range(2):
            assert (read(request)[1] if is_stream else complete(request)).text == "Hello."
        assert [sent.body["max_tokens"] for sent in stub.requests] == [32_000, 8192, 8192]
        assert failure(replace(request, max_output_tokens=9_000)).reason == "bad_request"

    @pytest.mark.parametrize(
        ("part", "text"),
        [
            ("cache_control", "system.0.cache_control: Extra inputs are not permitted"),
            ("output_config", "output_config: Extra inputs are not permitted"),
            ("output_config", "'claude' does not support structured outputs: not supported."),
        ],
    )
    def test_a_part_that_is_refused_is_left_out(
        self, stub: StubModel, part: str, text: str
    ) -> None:
        def strict(body: dict[str, Any]) -> Any:
            is_refused = f'"{part}"' in str(body).replace("'", '"')
            return failed(400, "invalid_request_error", text) if is_refused else message("Hello.")

        stub.says(strict)
        request = replace(request_to(stub, name=text[:40]), output_schema=SCHEMA)
        for _ in range(2):
            assert complete(request).text == "Hello."
        found = [f"'{part}'" in str(sent.body) for sent in stub.requests]
        assert found == [True, False, False]


class TestOutputSchema:
    def test_a_schema_is_sent_as_the_format(self, stub: StubModel) -> None:
        schema = {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "properties": {"count": {"type": "integer", "minimum": 1}},
            "required": ["count"],
        }
        complete(replace(request_to(stub), output_schema=schema))
        body = stub.requests[0].body
        assert body["output_config"]["format"] == {
            "type": "json_schema",
            "schema": {
                "type": "object",
                "properties": {"count": {"type": "integer", "description": "{minimum: 1}"}},
                "required": ["count"],
                "additionalProperties": False,
            },
        }
        assert body["system"][0]["text"] == "You are Ada."

    @pytest.mark.parametrize(
        "part",
        [
            {"type": "object", "additionalProperties": {"type": "string"}},
            {"type": "object", "patternProperties": {"^a": {}}},
            {"type": ["string", "null"]},
            {"type": "array"},
            {},
            True,
        ],
    )
    def test_a_schema_that_cannot_be_guaranteed_is_in_the_system_prompt(
        self, stub: StubModel, part: Any
    ) -> None:
        schema = {"type": "object", "properties": {"part": part}}
        complete(replace(request_to(stub), output_schema=schema))
        body = stub.requests[0].body
        assert "output_config" not in body
        assert '"part"' in body["system"][0]["text"]
        assert body["system"][0]["text"].startswith("You are Ada.\n\n")


RESPONSES = [
    (message("Hello."), ModelResponse("Hello.", (), "stop", 12, 3)),
    (message("Two words."), ModelResponse("Two words.", (), "stop", 12, 3)),
    (message("A", "B"), ModelResponse("AB", (), "stop", 12, 3)),
    (message(), ModelResponse("", (), "stop", 12, 3)),
    (message(THOUGHT, "42"), ModelResponse("42", (), "stop", 12, 3)),
    (
        called("Wait.", call_block("weather", {"city": "Oslo"}), call_block("time", {}, 1)),
        ModelResponse("Wait.", (CALL, ToolCall("toolu_1", "time", "{}")), "stop", 12, 3),
    ),
    (message("Half", stop_reason="max_tokens"), ModelResponse("Half", (), "length", 12, 3)),
    (
        message("Half", stop_reason="model_context_window_exceeded"),
        ModelResponse("Half", (), "length", 12, 3),
    ),
    (message("Half", stop_reason="refusal"), ModelResponse("Half", (), "content_filter", 12, 3)),
    (message("42", stop_reason="stop_sequence"), ModelResponse("42", (), "stop", 12, 3)),
    (message("42", stop_reason="new"), ModelResponse("42", (), "stop", 12, 3)),
    (
        message(
            "42",
            usage={
                "input_tokens": 1,
                "cache_creation_input_tokens": 20,
                "cache_read_input_tokens": 300,
                "output_tokens": 4,
            },
        ),
        ModelResponse("42", (), "stop", 321, 4),
    ),
    (
        message(
            "42", usage={"input_tokens": 1, "cache_read_input_tokens": None, "output_tokens": 4}
        ),
        ModelResponse("42", (), "stop", 1, 4),
    ),
]


@pytest.mark.parametrize(("answer", "expected"), RESPONSES)
def test_a_response_is_read(
    stub: StubModel, answer: dict[str, Any], expected: ModelResponse
) -> None:
    stub.says(answer)
    assert without_spaces(complete(request_to(stub))) == expected
    # Of a server that ignores `stream`.
    assert without_spaces(read(request_to(stub))[1]) == expected
    stub.says(streamed_message(answer))
    assert without_spaces(read(request_to(stub))[1]) == expected


def without_spaces(response: ModelResponse) -> ModelResponse:
    """Return the response with the arguments of its calls in one form."""
    calls = (
        replace(call, arguments=call.arguments.replace(": ", ":")) for call in response.tool_calls
    )
    return replace(response, tool_calls=tuple(calls))


def test_a_stream_is_yielded_in_words(stub: StubModel) -> None:
    stub.says(streamed_message(message("one two  three\n")))
    assert read(request_to(stub))[0] == ["one ", "two  ", "three\n"]


def test_the_input_of_a_call_may_be_cut(stub: StubModel) -> None:
    answer = called(call_block("weather", {"city": "Oslo"}), usage={"output_tokens": 1})
    events = [event for event in events_of(answer) if '"Os' not in str(event)]
    stub.says(StubStream([*map(named, events)]))
    (call,) = read(request_to(stub))[1].tool_calls
    assert call.name == "weather"


def test_unknown_events_and_deltas_are_ignored(stub: StubModel) -> None:
    start, _, *others = events_of(message("42"))
    new = {"type": "content_block_delta", "index": 0, "delta": {"type": "new_delta", "new": 1}}
    events = [start, {"type": "new"}, others[0], new, *others[1:]]
    stub.says(StubStream([b": comment\r\n\r\n", *map(named, events), DONE]))
    assert read(request_to(stub))[0] == ["42"]


def test_events_without_names_are_read(stub: StubModel) -> None:
    stub.says(StubStream([*events_of(message("42"))]))
    assert read(request_to(stub))[0] == ["42"]


FAILURES = [
    (failed(400, "invalid_request_error"), "bad_request", False),
    (failed(401, "authentication_error"), "auth", False),
    (failed(402, "billing_error"), "quota", False),
    (failed(403, "permission_error"), "auth", False),
    (failed(404, "not_found_error"), "not_found", False),
    (failed(413, "request_too_large"), "context_length", False),
    (failed(429, "rate_limit_error"), "rate_limited", True),
    (failed(500, "api_error"), "server_error", True),
    (failed(504, "timeout_error"), "server_error", True),
    (failed(529, "overloaded_error"), "server_error", True),
    (
        failed(400, "invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum"),
        "context_length",
        False,
    ),
    (
        failed(
            400,
            "invalid_request_error",
            "input length and `max_tokens` exceed context limit: 190000 + 32000 > 200000",
        ),
        "context_length",
        False,
    ),
    (
        failed(400, "invalid_request_error", "Your credit balance is too low to access the API."),
        "quota",
        False,
    ),
    (StubResponse(302, b"", {"Location": "https://example.com"}), "bad_answer", False),
    (StubResponse(502, b"<html>words of the provider</html>"), "server_error", True),
    (StubResponse(body=b"<html>words of the provider</html>"), "bad_answer", True),
    (StubResponse(body=b""), "bad_answer", True),
    (StubResponse(body=b"[]"), "bad_answer", True),
    ({}, "bad_answer", True),
    (
        {"type": "error", "error": {"type": "overloaded_error", "message": "x"}},
        "server_error",
        True,
    ),
    (message("x", content=None), "bad_answer", True),
    (message({"type": "text", "text": 7}), "bad_answer", True),
    (message({"type": "tool_use", "id": 7, "name": "f", "input": {}}), "bad_answer", True),
    (called(), "bad_answer", True),
    (message(stop_reason="pause_turn"), "bad_answer", True),
    (called(*(call_block("f", {}, number) for number in range(600))), "bad_answer", False),
    (CUT, "bad_answer", True),
    (StubResponse(headers={"Content-Encoding": "gzip"}), "bad_answer", True),
]


@pytest.mark.parametrize(("response", "reason", "retryable"), FAILURES)
def test_a_failure_has_a_reason(
    stub: StubModel, response: Any, reason: str, *, retryable: bool
) -> None:
    stub.says(response)
    for found in (failure(request_to(stub)), failure_of_complete(request_to(stub))):
        assert (found.reason, found.retryable) == (reason, retryable)
        assert "words" not in str(found)


def failure_of_complete(request: ModelRequest) -> ModelError:
    with pytest.raises(ModelError) as caught:
        complete(request)
    return caught.value


def test_a_server_that_does_not_listen_is_unreachable() -> None:
    with silent_port() as url:
        assert failure(request_to(url)).reason == "unreachable"


def test_a_refused_tool_is_named(stub: StubModel) -> None:
    stub.says(failed(400, "invalid_request_error", "tools.1.custom.input_schema: JSON is invalid"))
    request = replace(request_to(stub), tools=(WEATHER, TIME))
    assert failure(request).identifiers == {"type": "invalid_request_error", "tool": "time"}


def test_secrets_are_removed(stub: StubModel) -> None:
    stub.says(failed(401, "authentication_error", "Wrong key one-of-a-kind."))
    token = secrets.encrypt("one-of-a-kind")
    failed_request = failure(request_to(stub, credential_token=token))
    assert failed_request.provider_message == "Wrong key [secret]."


@pytest.mark.parametrize("credential", ["a\nb", "a\0b"])
def test_a_credential_that_is_not_a_valid_header(stub: StubModel, credential: str) -> None:
    found = failure(request_to(stub, credential_token=secrets.encrypt(credential)))
    assert (found.status, credential in str(found), stub.requests) == (None, False, [])


START, PING, BEGIN, DELTA, *END = map(named, events_of(message("42")))
BROKEN: list[tuple[list[Any], list[str], str]] = [
    ([], [], "bad_answer"),
    ([START], [], "bad_answer"),
    ([START, BEGIN, DELTA], ["42"], "bad_answer"),
    ([START, BEGIN, DELTA, *END[:-1]], ["42"], "bad_answer"),
    ([START, BEGIN, DELTA, failed_event("overloaded_error")], ["42"], "server_error"),
    ([START, BEGIN, DELTA, failed_event("rate_limit_error")], ["42"], "rate_limited"),
    ([failed_event("billing_error")], [], "quota"),
    ([START, BEGIN, DELTA, b"event: x\ndata: {\n\n", *END], ["42"], "bad_answer"),
    ([START, BEGIN, DELTA, b"data: 7\n\n", *END], ["42"], "bad_answer"),
    ([START, DELTA, *END], [], "bad_answer"),
    ([BEGIN, DELTA.replace(b'"42"', b"42"), *END], [], "bad_answer"),
    ([DONE], [], "bad_answer"),
]


@pytest.mark.parametrize(("parts", "pieces", "reason"), BROKEN)
def test_a_broken_stream_is_an_error(
    stub: StubModel, parts: list[Any], pieces: list[str], reason: str
) -> None:
    stub.says(StubStream(parts))
    found: list[str] = []
    assert failure(request_to(stub), found).reason == reason
    assert found == pieces


class TestEnd:
    @pytest.mark.parametrize("is_chunked", [True, False])
    def test_a_stream_that_is_cut_is_never_complete(
        self, stub: StubModel, *, is_chunked: bool
    ) -> None:
        parts = [
            b'data: {"type":"content_block_start","index":0,"content_block":{"type":"text"}}\n\n',
            named(events_of(message("€"))[3]),
            named(STOPPED),
        ]
        whole = StubStream(parts, is_chunked=is_chunked)
        body = b"".join(part for part in whole.body() if isinstance(part, bytes))
        stopped_at = body.index(named(STOPPED)) + len(named(STOPPED))
        for cut_at in range(whole.size()):
            stub.says(StubStream(parts, is_chunked=is_chunked, cut_at=cut_at))
            if cut_at >= stopped_at:
                assert read(request_to(stub))[0] == ["€"]
                continue
            failed_request = failure(request_to(stub))
            assert failed_request.reason in {"bad_answer", "unreachable"}
            assert failed_request.retryable

    def test_a_body_that_ends_at_any_byte_is_not_complete(self) -> None:
        answer = called(THOUGHT, "Two words.", call_block("weather", {"city": "Oslo"}))
        body = b"".join(map(named, events_of(answer)))
        for cut_at in range(len(body)):
            with pytest.raises(ModelError):
                read_all(read_stream(iter([body[:cut_at]])), [])


class TestAttempts:
    @pytest.mark.parametrize(
        "first", [failed(529, "overloaded_error"), CUT, StubStream([START]), StubStream([])]
    )
    def test_a_failure_before_the_text_is_retried(self, stub: StubModel, first: Any) -> None:
        stub.says(first, streamed_message(message("Hello.")))
        assert read(request_to(stub, max_retries=1))[0] == ["Hello."]
        assert len(stub.requests) == 2

    def test_a_failure_after_text_is_final(self, stub: StubModel) -> None:
        stub.says(StubStream([START, BEGIN, DELTA]), message("Hello."))
        failure(request_to(stub, max_retries=5))
        assert len(stub.requests) == 1

    def test_the_sdk_makes_no_attempts_of_its_own(self, stub: StubModel) -> None:
        stub.says(failed(500, "api_error"))
        failure(request_to(stub))
        assert len(stub.requests) == 1

    def test_the_connection_is_reused(self, stub: StubModel) -> None:
        for script in (message("a"), streamed_message(message("b"))) * 2:
            stub.script = [script]
            read(request_to(stub))
            complete_text = read(request_to(stub))[1].text
            assert complete_text in {"a", "b"}
        assert len({request.client_port for request in stub.requests}) == 1


class TestLimits:
    @pytest.mark.parametrize(
        "response",
        [HANG, StubStream([START, 30.0]), StubStream([START, BEGIN, DELTA, 30.0])],
        ids=["no headers", "no text", "text"],
    )
    def test_a_silent_server_is_a_timeout(self, stub: StubModel, response: Any) -> None:
        stub.says(response)
        started = time.monotonic()
        assert isinstance(failure(request_to(stub, timeout_seconds=1)), ModelTimeout)
        assert 0.9 < time.monotonic() - started < 10

    @pytest.mark.parametrize(
        "response",
        [HANG, StubStream([START, BEGIN, DELTA, 30.0])],
        ids=["no headers", "text"],
    )
    def test_a_request_that_waits_is_abandoned(self, stub: StubModel, response: Any) -> None:
        stub.says(response)
        started = time.monotonic()
        with pytest.raises(Cancelled), interruptible(cancel):
            read(request_to(stub, max_retries=5, seconds=120))
        assert time.monotonic() - started < 5
        assert len(stub.requests) == 1

    def test_closing_a_stream_closes_its_connection(self, stub: StubModel) -> None:
        stub.says(StubStream([START, BEGIN, DELTA, 30.0, *END]))
        pieces = get_provider("anthropic").stream(request_to(stub, seconds=60))
        assert next(pieces) == "42"
        pieces.close()
        wait_until_closed(stub)

    def test_a_response_that_is_too_large(self, stub: StubModel) -> None:
        stub.says(StubResponse(body=b" " * (33 * 1024 * 1024)))
        assert failure(request_to(stub)).reason == "bad_answer"
