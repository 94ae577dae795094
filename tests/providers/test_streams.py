"""The streams of the provider `openai`, in the dialects of model servers and with their faults."""

import time
from typing import Any

import pytest

from executions.providers import (
    ModelError,
    ModelRequest,
    ModelResponse,
    ModelTimeout,
    ToolCall,
    get_provider,
)
from executions.providers.openai.stream import read_stream
from map_project.api import secrets
from tests.integration.test_providers import request_to
from tests.providers.dialects import DIALECTS, ROUND_TRIPS, Dialect, refused
from tests.providers.reading import Cancelled, cancel, read_all, wait_until_closed
from tests.providers.streams import (
    BROKEN_STREAMS,
    CALL,
    STOP,
    STREAMS,
    BrokenStream,
    StreamDialect,
    stream,
    text,
)
from tests.stub_model import (
    DONE,
    HANG,
    StubModel,
    StubResponse,
    StubStream,
    chunk,
    completion,
    error,
    streamed,
)
from tools.outbound import interruptible

SHORT_TEXT = 'data: {"choices":[{"delta":{"content":"€"}}]}\n\n'.encode()
SHORT_CALL = (
    b'data: {"choices":[{"delta":{"tool_calls":[{"function":{"name":"f","arguments":"{}"}}]}}]}\n\n'
)
SHORT_END = b'data: {"choices":[{"finish_reason":"stop"}]}\n\n'


@pytest.fixture
def stub(model_server: StubModel) -> StubModel:
    return model_server.says(streamed())


def read(request: ModelRequest) -> tuple[list[str], ModelResponse]:
    """Return the pieces of the text and the response. Raises ModelError."""
    pieces: list[str] = []
    response = read_all(get_provider("openai").stream(request), pieces)
    assert "".join(pieces) == response.text
    assert "" not in pieces
    return pieces, response


def failure(request: ModelRequest, pieces: list[str] | None = None) -> ModelError:
    """Return the error of a stream, whose pieces are added to `pieces`."""
    pieces = [] if pieces is None else pieces
    with pytest.raises(ModelError) as caught:
        read_all(get_provider("openai").stream(request), pieces)
    assert caught.value.output.startswith("".join(pieces))
    return caught.value


@pytest.mark.parametrize("dialect", STREAMS, ids=lambda dialect: dialect.name)
def test_a_stream_is_read(stub: StubModel, dialect: StreamDialect) -> None:
    stub.says(dialect.stream)
    assert read(request_to(stub)) == ([*dialect.pieces], dialect.response)


@pytest.mark.parametrize("broken", BROKEN_STREAMS, ids=lambda broken: broken.name)
def test_a_broken_stream_is_an_error(stub: StubModel, broken: BrokenStream) -> None:
    stub.says(broken.stream)
    pieces: list[str] = []
    failed = failure(request_to(stub), pieces)
    assert pieces == [*broken.pieces]
    assert failed.output == "".join(pieces)
    found = (failed.reason, failed.status, failed.retryable)
    assert found == (broken.reason, broken.status, broken.retryable)
    assert "words" not in str(failed)


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
def test_a_response_that_is_not_streamed_is_the_same(stub: StubModel, dialect: Dialect) -> None:
    """Of a server that ignores `stream`, and of one that refuses the request."""
    stub.says(dialect.response)
    request = request_to(stub)
    if dialect.status == "failed":
        failed = failure(request)
        assert (failed.reason, failed.status) == (dialect.reason, dialect.http_status)
        return
    pieces, response = read(request)
    assert response == get_provider("openai").complete(request)
    assert pieces == [response.text] * bool(response.text)


@pytest.mark.parametrize("name", ROUND_TRIPS)
def test_a_servers_own_fields_are_read(stub: StubModel, name: str) -> None:
    body, _, _ = ROUND_TRIPS[name]
    choices = [
        {"index": number, "delta": choice["message"], "finish_reason": choice["finish_reason"]}
        for number, choice in enumerate(body["choices"])
    ]
    stub.says(body, stream({**body, "choices": choices}))
    complete = get_provider("openai").complete(request_to(stub))
    assert read(request_to(stub))[1] == complete


class TestEnd:
    @pytest.mark.parametrize("is_chunked", [True, False])
    def test_a_stream_that_is_cut_is_never_complete(
        self, stub: StubModel, *, is_chunked: bool
    ) -> None:
        parts = [SHORT_TEXT, SHORT_CALL, SHORT_END, DONE]
        whole = StubStream(parts, is_chunked=is_chunked)
        stub.says(whole)
        complete = read(request_to(stub))
        body = b"".join(part for part in whole.body() if isinstance(part, bytes))
        done_at = body.index(DONE) + len(DONE)
        for cut_at in range(whole.size()):
            stub.says(StubStream(parts, is_chunked=is_chunked, cut_at=cut_at))
            if cut_at >= done_at:
                assert read(request_to(stub)) == complete
                continue
            failed = failure(request_to(stub))
            assert failed.reason in {"bad_answer", "unreachable"}
            assert failed.retryable

    def test_a_chunked_stream_without_done_that_is_cut_is_never_complete(
        self, stub: StubModel
    ) -> None:
        parts = [SHORT_TEXT, SHORT_END]
        size = StubStream(parts).size()
        for cut_at in range(size - 50, size):
            stub.says(StubStream(parts, cut_at=cut_at))
            assert failure(request_to(stub)).retryable
        stub.says(StubStream(parts))
        assert read(request_to(stub))[1].text == "€"

    def test_a_body_that_ends_at_any_byte_is_not_complete(self) -> None:
        answer = completion("Two words.", calls=[("weather", CALL.arguments)])
        body = b"".join(
            part for part in streamed(answer, is_chunked=False).body() if isinstance(part, bytes)
        )
        assert body.endswith(DONE)
        for cut_at in range(len(body)):
            with pytest.raises(ModelError):
                read_all(read_stream(iter([body[:cut_at]]), has_known_end=False), [])


class TestAttempts:
    @pytest.mark.parametrize(
        "first",
        [
            error(500),
            StubStream([]),
            StubStream([chunk({"role": "assistant"})], cut_at=30),
            stream({"error": {"code": 503}}),
            StubStream([text("<think>")], is_chunked=False),
        ],
    )
    def test_a_failure_before_the_text_is_retried(self, stub: StubModel, first: Any) -> None:
        stub.says(first, streamed())
        assert read(request_to(stub, max_retries=1))[0] == ["Hello."]
        assert len(stub.requests) == 2

    def test_a_stream_of_calls_that_is_cut_is_retried(self, stub: StubModel) -> None:
        answer = completion(None, calls=[("weather", "{}")])
        size = streamed(answer).size()
        stub.says(streamed(answer, cut_at=size - 40), streamed(answer))
        _, response = read(request_to(stub, max_retries=1))
        assert response.tool_calls == (ToolCall("call_0", "weather", "{}"),)

    @pytest.mark.parametrize(
        "broken",
        [
            stream(text(), {"error": {"code": 503}}),
            StubStream([text()]),
            stream(text(), b"data: {\n\n"),
        ],
    )
    def test_a_failure_after_text_is_final(self, stub: StubModel, broken: StubStream) -> None:
        stub.says(broken, streamed())
        pieces: list[str] = []
        failure(request_to(stub, max_retries=5), pieces)
        assert (pieces, len(stub.requests)) == (["42"], 1)

    def test_secrets_are_removed_from_a_failure_after_text(self, stub: StubModel) -> None:
        stub.says(stream(text(), {"error": {"message": "Wrong key one-of-a-kind."}}))
        token = secrets.encrypt("one-of-a-kind")
        failed = failure(request_to(stub, credential_token=token))
        assert failed.provider_message == "Wrong key [secret]."

    def test_the_connection_of_a_stream_is_reused(self, stub: StubModel) -> None:
        for _ in range(3):
            read(request_to(stub))
        assert len({request.client_port for request in stub.requests}) == 1

    def test_a_server_that_does_not_end_the_body_is_not_waited_for(self, stub: StubModel) -> None:
        stub.says(StubStream([text(), DONE, 30.0]))
        started = time.monotonic()
        assert read(request_to(stub))[0] == ["42"]
        assert time.monotonic() - started < 10


class TestRequest:
    def test_a_stream_with_usage_is_requested(self, stub: StubModel) -> None:
        read(request_to(stub))
        (sent,) = stub.requests
        assert sent.body["stream"] is True
        assert sent.body["stream_options"] == {"include_usage": True}

    @pytest.mark.parametrize(
        ("message", "part"),
        [
            ("Unrecognized request argument supplied: stream_options", "stream_options"),
            ("stream_options.include_usage: Extra inputs are not permitted", "stream_options"),
            ("Your organization must be verified to stream this model.", "stream"),
            ("This model does not support streaming.", "stream"),
        ],
    )
    def test_a_part_that_the_server_refuses_is_left_out(
        self, stub: StubModel, message: str, part: str
    ) -> None:
        def strict(body: dict[str, Any]) -> Any:
            if part in body:
                return refused(400, message=message)
            return streamed() if "stream" in body else completion()

        stub.says(strict)
        request = request_to(stub, name=message)
        for _ in range(2):
            assert read(request) == (["Hello."], ModelResponse("Hello.", (), "stop", 12, 3))
        assert [part in request.body for request in stub.requests] == [True, False, False]

    def test_an_unknown_refusal_is_an_error(self, stub: StubModel) -> None:
        stub.says(refused(400, message="No."))
        assert failure(request_to(stub)).reason == "bad_request"
        assert len(stub.requests) == 1


class TestLimits:
    def test_a_piece_is_yielded_when_it_arrives(self, stub: StubModel) -> None:
        stub.says(stream(text("first"), 30.0, text("second"), STOP))
        pieces = get_provider("openai").stream(request_to(stub, seconds=60))
        started = time.monotonic()
        assert next(pieces) == "first"
        pieces.close()
        assert time.monotonic() - started < 10

    def test_closing_a_stream_closes_its_connection(self, stub: StubModel) -> None:
        stub.says(stream(text("first"), 30.0, text("second"), STOP))
        pieces = get_provider("openai").stream(request_to(stub, seconds=60))
        next(pieces)
        pieces.close()
        wait_until_closed(stub)

    @pytest.mark.parametrize("parts", [[], [text("first")]], ids=["silent", "silent after text"])
    def test_a_silent_stream_is_a_timeout(self, stub: StubModel, parts: list[Any]) -> None:
        stub.says(stream(*parts, 30.0))
        started = time.monotonic()
        assert isinstance(failure(request_to(stub, timeout_seconds=1)), ModelTimeout)
        assert 0.9 < time.monotonic() - started < 10

    def test_a_stream_that_never_ends_is_a_timeout(self, stub: StubModel) -> None:
        stub.says(stream(*[text("x")] * 1_000, delay_seconds=0.05))
        started = time.monotonic()
        assert isinstance(failure(request_to(stub, timeout_seconds=60, seconds=1)), ModelTimeout)
        assert 0.9 < time.monotonic() - started < 10

    def test_a_stream_that_is_too_large_is_an_error(self, stub: StubModel) -> None:
        part = b": " + b"x" * 1024 * 1024 + b"\n\n"
        stub.says(StubStream([part] * 34))
        assert failure(request_to(stub)).reason == "bad_answer"

    def test_a_compressed_stream_is_refused(self, stub: StubModel) -> None:
        stub.says(streamed(headers={"Content-Encoding": "gzip"}))
        assert failure(request_to(stub)).reason == "bad_answer"

    @pytest.mark.parametrize(
        "response",
        [HANG, stream(30.0), stream(text("first"), 30.0), error(429, Retry_After="60")],
        ids=["no headers", "headers", "text", "retry"],
    )
    def test_a_stream_that_waits_is_abandoned(
        self, stub: StubModel, response: StubResponse | StubStream
    ) -> None:
        stub.says(response)
        started = time.monotonic()
        with pytest.raises(Cancelled), interruptible(cancel):
            read(request_to(stub, max_retries=5, seconds=120))
        assert time.monotonic() - started < 5
        assert len(stub.requests) == 1

    def test_a_stream_that_sends_is_abandoned(self, stub: StubModel) -> None:
        stub.says(stream(*[text("x")] * 1_000, delay_seconds=0.05))
        started = time.monotonic()
        with pytest.raises(Cancelled), interruptible(cancel):
            read(request_to(stub, seconds=120))
        assert time.monotonic() - started < 5
        wait_until_closed(stub)
