"""Streams of servers that implement OpenAI's API, each with what must come of it.

To add a dialect, add rows. The streams are scripted; no server of these providers was called.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from executions.providers import ModelResponse, ToolCall
from tests.stub_model import (
    DONE,
    Part,
    StubResponse,
    StubStream,
    call_delta,
    chunk,
    completion,
    event,
    streamed,
)


@dataclass(frozen=True)
class StreamDialect:
    """A stream, and the pieces and the response that are read from it."""

    name: str
    stream: StubStream | StubResponse | dict[str, Any]
    pieces: Sequence[str]
    response: ModelResponse


@dataclass(frozen=True)
class BrokenStream:
    """A stream that is no response, with the pieces before the failure, and its fields."""

    name: str
    stream: StubStream
    pieces: Sequence[str] = ()
    reason: str = "bad_answer"
    status: int | None = 200
    retryable: bool = True


def stream(*parts: Part, **options: Any) -> StubStream:
    """Return a stream of these parts and `[DONE]`."""
    return StubStream([*parts, DONE], **options)


def text(content: Any = "42", **options: Any) -> dict[str, Any]:
    return chunk({"content": content}, **options)


STOP = chunk(finish_reason="stop")
CALLS = chunk(finish_reason="tool_calls")
USAGE = {"prompt_tokens": 12, "completion_tokens": 3, "total_tokens": 15}
ANSWER = ModelResponse("42")
CALL = ToolCall("call_0", "weather", '{"city": "Oslo"}')
CALLED = ModelResponse("", (CALL,))
TWO_CALLS = ModelResponse("", (CALL, ToolCall("call_1", "time", "{}")))


def called(*deltas: dict[str, Any], **options: Any) -> StubStream:
    """Return a stream of deltas of tool calls."""
    return stream(*map(chunk, deltas), CALLS, **options)


def both(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """Return one delta with the calls of two."""
    return {"tool_calls": [*first["tool_calls"], *second["tool_calls"]]}


WHOLE_CALL: dict[str, Any] = {"call_id": "call_0", "name": "weather", "arguments": CALL.arguments}
WHOLE_SECOND: dict[str, Any] = {"call_id": "call_1", "name": "time", "arguments": "{}"}

STREAMS = [
    StreamDialect("OpenAI", streamed(), ["Hello."], ModelResponse("Hello.", (), "stop", 12, 3)),
    StreamDialect(
        "OpenAI: words",
        streamed(completion("one two  three\n")),
        ["one ", "two  ", "three\n"],
        ModelResponse("one two  three\n", (), "stop", 12, 3),
    ),
    StreamDialect(
        "OpenAI: calls",
        streamed(completion(None, calls=[("weather", '{"city": "Oslo"}'), ("time", "{}")])),
        [],
        ModelResponse("", TWO_CALLS.tool_calls, "stop", 12, 3),
    ),
    StreamDialect(
        "text and a call",
        stream(text("Wait."), chunk(call_delta(**WHOLE_CALL)), CALLS),
        ["Wait."],
        ModelResponse("Wait.", (CALL,)),
    ),
    StreamDialect(
        "a length",
        stream(text("Half"), chunk(finish_reason="length")),
        ["Half"],
        ModelResponse("Half", (), "length"),
    ),
    StreamDialect(
        "a filter in the middle",
        stream(text("Half"), chunk(finish_reason="content_filter")),
        ["Half"],
        ModelResponse("Half", (), "content_filter"),
    ),
    # The framing of events.
    StreamDialect(
        "CRLF",
        StubStream([part.replace(b"\n", b"\r\n") for part in (event(text()), event(STOP), DONE)]),
        ["42"],
        ANSWER,
    ),
    StreamDialect(
        "comments", stream(b": OPENROUTER PROCESSING\n\n", text(), b":\n\n", STOP), ["42"], ANSWER
    ),
    StreamDialect("a BOM", stream(b"\xef\xbb\xbf", text(), STOP), ["42"], ANSWER),
    StreamDialect(
        "Azure: names and ids",
        stream(b"id: 1\nevent: message\n" + event(text()), STOP),
        ["42"],
        ANSWER,
    ),
    StreamDialect(
        "no space after the colon",
        StubStream(
            [event(part).replace(b"data: ", b"data:") for part in (text(), STOP)]
            + [b"data:[DONE]\n\n"]
        ),
        ["42"],
        ANSWER,
    ),
    StreamDialect(
        "an event over two lines",
        stream(event(text()).replace(b', "choices"', b',\ndata: "choices"'), STOP),
        ["42"],
        ANSWER,
    ),
    StreamDialect("a body without framing", stream(text(), STOP, is_chunked=False), ["42"], ANSWER),
    StreamDialect(
        "one byte per part",
        StubStream(
            [bytes([byte]) for byte in event(text("€ 😀")).decode().encode() + event(STOP) + DONE]
        ),
        ["€ 😀"],
        ModelResponse("€ 😀"),
    ),
    StreamDialect(
        "UTF-8 cut between parts",
        StubStream(
            [
                bytes([byte])
                for byte in 'data: {"choices": [{"delta": {"content": "€ 😀"}}]}\n\n'.encode()
                + DONE
            ]
        ),
        ["€ 😀"],
        ModelResponse("€ 😀"),
    ),
    StreamDialect(
        "half of a character in each chunk",
        stream(text("a\ud83d"), text("\ude00b"), text("\ud83d"), STOP),
        ["a", "😀b"],
        ModelResponse("a😀b"),
    ),
    # The end.
    StreamDialect("LM Studio: no finish_reason", stream(text()), ["42"], ANSWER),
    StreamDialect("no [DONE], chunked", StubStream([text(), STOP]), ["42"], ANSWER),
    StreamDialect(
        "text after the finish_reason", stream(text("4"), STOP, text("2")), ["4", "2"], ANSWER
    ),
    StreamDialect(
        "finish_reason beside the last text", stream(text(finish_reason="stop")), ["42"], ANSWER
    ),
    StreamDialect("events after [DONE]", stream(text(), STOP, DONE, text("x")), ["42"], ANSWER),
    # Usage.
    StreamDialect(
        "usage beside the finish_reason",
        stream(text(), {**STOP, "usage": USAGE}),
        ["42"],
        ModelResponse("42", (), "stop", 12, 3),
    ),
    StreamDialect(
        "usage in each chunk",
        stream(text(usage={**USAGE, "completion_tokens": 1}), {**STOP, "usage": USAGE}),
        ["42"],
        ModelResponse("42", (), "stop", 12, 3),
    ),
    StreamDialect(
        "Groq: usage",
        stream(text(), {**STOP, "x_groq": {"id": "x", "usage": USAGE}}),
        ["42"],
        ModelResponse("42", (), "stop", 12, 3),
    ),
    StreamDialect(
        "Moonshot: usage in the choice",
        stream(
            text(),
            {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop", "usage": USAGE}]},
        ),
        ["42"],
        ModelResponse("42", (), "stop", 12, 3),
    ),
    StreamDialect(
        "Azure: a first chunk without choices",
        stream({"choices": [], "prompt_filter_results": []}, text(), STOP),
        ["42"],
        ANSWER,
    ),
    StreamDialect("choices: null", stream({"choices": None}, text(), STOP), ["42"], ANSWER),
    StreamDialect(
        "delta: null",
        stream({"choices": [{"index": 0, "delta": None}]}, text(), STOP),
        ["42"],
        ANSWER,
    ),
    # Text.
    StreamDialect(
        "content in parts", stream(text([{"type": "text", "text": "42"}]), STOP), ["42"], ANSWER
    ),
    StreamDialect(
        "Mistral: thinking",
        stream(
            text([{"type": "thinking", "thinking": [{"type": "text", "text": "hmm"}]}]),
            text(),
            STOP,
        ),
        ["42"],
        ANSWER,
    ),
    StreamDialect(
        "a refusal",
        stream(chunk({"refusal": "N"}), chunk({"refusal": "o."}), STOP),
        ["N", "o."],
        ModelResponse("No."),
    ),
    StreamDialect(
        "DeepSeek: reasoning",
        stream(chunk({"reasoning_content": "hmm", "content": None}), text(), STOP),
        ["42"],
        ANSWER,
    ),
    StreamDialect(
        "Qwen: reasoning in tags",
        stream(*map(text, ["<th", "ink>", "hmm", "</think", ">\n\n", "4", "2"]), STOP),
        ["4", "2"],
        ANSWER,
    ),
    StreamDialect(
        "a message instead of a delta",
        stream({"choices": [{"index": 0, "message": {"content": "42"}, "finish_reason": "stop"}]}),
        ["42"],
        ANSWER,
    ),
    StreamDialect(
        "two choices",
        stream(text(), text("no", index=1), STOP, chunk(index=1, finish_reason="stop")),
        ["42"],
        ANSWER,
    ),
    StreamDialect(
        "no index of the choice",
        stream(
            {"choices": [{"delta": {"content": "4"}}]},
            {"choices": [{"delta": {"content": "2"}, "finish_reason": "stop"}]},
        ),
        ["4", "2"],
        ANSWER,
    ),
    StreamDialect("an empty response", stream(text(""), STOP), [], ModelResponse("")),
    # A server that ignores `stream`.
    StreamDialect(
        "one completion", completion(), ["Hello."], ModelResponse("Hello.", (), "stop", 12, 3)
    ),
    StreamDialect(
        "one completion with calls",
        completion(None, calls=[("weather", CALL.arguments)]),
        [],
        ModelResponse("", (CALL,), "stop", 12, 3),
    ),
    # Tool calls.
    StreamDialect(
        "a call in pieces",
        called(
            call_delta(0, "call_0", "weather", ""),
            call_delta(0, arguments='{"city": '),
            call_delta(0, arguments='"Oslo"}'),
        ),
        [],
        CALLED,
    ),
    StreamDialect("a whole call", called(call_delta(0, **WHOLE_CALL)), [], CALLED),
    StreamDialect(
        "Ollama: whole calls with the same index",
        called(call_delta(0, **WHOLE_CALL), call_delta(0, **WHOLE_SECOND)),
        [],
        TWO_CALLS,
    ),
    StreamDialect(
        "whole calls without an index",
        called(call_delta(None, **WHOLE_CALL), call_delta(None, **WHOLE_SECOND)),
        [],
        TWO_CALLS,
    ),
    StreamDialect(
        "whole calls in one chunk without an index",
        called(both(call_delta(None, **WHOLE_CALL), call_delta(None, **WHOLE_SECOND))),
        [],
        TWO_CALLS,
    ),
    StreamDialect(
        "the same call twice, without id and index",
        called(both(call_delta(None, None, "time", "{}"), call_delta(None, None, "time", "{}"))),
        [],
        ModelResponse("", (ToolCall("", "time", "{}"), ToolCall("", "time", "{}"))),
    ),
    StreamDialect(
        "pieces without an index",
        called(
            call_delta(None, "call_0", "weather", ""),
            call_delta(None, arguments='{"city": '),
            call_delta(None, arguments='"Oslo"}'),
        ),
        [],
        CALLED,
    ),
    StreamDialect(
        "pieces of two calls by turns",
        called(
            call_delta(0, "call_0", "weather", '{"city":'),
            call_delta(1, "call_1", "time", "{"),
            call_delta(0, arguments=' "Oslo"}'),
            call_delta(1, arguments="}"),
        ),
        [],
        TWO_CALLS,
    ),
    StreamDialect(
        "an empty id in later pieces",
        called(
            call_delta(0, "call_0", "weather", ""), call_delta(0, "", arguments='{"city": "Oslo"}')
        ),
        [],
        CALLED,
    ),
    StreamDialect(
        "the id and the name in each piece",
        called(
            call_delta(0, "call_0", "weather", '{"city": '),
            call_delta(0, "call_0", "weather", '"Oslo"}'),
        ),
        [],
        CALLED,
    ),
    StreamDialect(
        "the name in pieces",
        called(call_delta(0, "call_0", "wea", ""), call_delta(0, None, "ther", CALL.arguments)),
        [],
        CALLED,
    ),
    StreamDialect(
        "the id in a later piece",
        called(
            call_delta(0, None, "weather", ""), call_delta(0, "call_0", arguments=CALL.arguments)
        ),
        [],
        CALLED,
    ),
    StreamDialect(
        "arguments as an object",
        called(call_delta(0, "call_0", "weather", {"city": "Oslo"})),
        [],
        CALLED,
    ),
    StreamDialect(
        "arguments: null first",
        called(
            {
                "tool_calls": [
                    {"index": 0, "id": "call_0", "function": {"name": "weather", "arguments": None}}
                ]
            },
            call_delta(0, arguments=CALL.arguments),
        ),
        [],
        CALLED,
    ),
    StreamDialect(
        "no arguments",
        called(call_delta(0, "call_0", "time")),
        [],
        ModelResponse("", (ToolCall("call_0", "time", ""),)),
    ),
    StreamDialect(
        "indexes from 1",
        called(call_delta(1, "call_0", "weather", CALL.arguments), call_delta(2, **WHOLE_SECOND)),
        [],
        TWO_CALLS,
    ),
    StreamDialect(
        "finish_reason stop with calls", stream(chunk(call_delta(**WHOLE_CALL)), STOP), [], CALLED
    ),
    StreamDialect(
        "arguments cut by the length",
        stream(chunk(call_delta(0, "call_0", "weather", '{"ci')), chunk(finish_reason="length")),
        [],
        ModelResponse("", (ToolCall("call_0", "weather", '{"ci'),), "length"),
    ),
    StreamDialect(
        "Gemini: the signature of a thought",
        called(call_delta(0, **WHOLE_CALL, extra_content={"google": {"thought_signature": "abc"}})),
        [],
        ModelResponse(
            "",
            (
                ToolCall(
                    "call_0",
                    "weather",
                    CALL.arguments,
                    {"extra_content": {"google": {"thought_signature": "abc"}}},
                ),
            ),
        ),
    ),
    StreamDialect(
        "DeepSeek: reasoning before a call",
        called(
            {"reasoning_content": "h"}, {"reasoning_content": "mm"}, call_delta(0, **WHOLE_CALL)
        ),
        [],
        ModelResponse("", (CALL,), extra={"reasoning_content": "hmm"}),
    ),
    StreamDialect(
        "OpenRouter: details of the reasoning",
        called(
            {
                "reasoning": "h",
                "reasoning_details": [{"type": "reasoning.text", "index": 0, "text": "h"}],
            },
            {
                "reasoning": "mm",
                "reasoning_details": [{"type": "reasoning.text", "index": 0, "text": "mm"}],
            },
            {"reasoning_details": [{"type": "reasoning.text", "index": 0, "signature": "s"}]},
            call_delta(0, **WHOLE_CALL),
        ),
        [],
        ModelResponse(
            "",
            (CALL,),
            extra={
                "reasoning": "hmm",
                "reasoning_details": [
                    {"type": "reasoning.text", "index": 0, "text": "hmm", "signature": "s"}
                ],
            },
        ),
    ),
]

_FAILED = {"message": "words of the provider"}

BROKEN_STREAMS = [
    BrokenStream("empty", StubStream([])),
    BrokenStream("comments alone", StubStream([b": ping\n\n"])),
    BrokenStream("[DONE] alone", stream()),
    BrokenStream("no [DONE] and no finish_reason", StubStream([text()]), ["42"]),
    BrokenStream("no [DONE] and no framing", StubStream([text(), STOP], is_chunked=False), ["42"]),
    BrokenStream(
        "no [DONE] and one choice without finish_reason",
        StubStream([text(), text("x", index=1), STOP]),
        ["42"],
    ),
    BrokenStream(
        "[DONE] without its line end",
        StubStream([text(), b"data: [DONE]"], is_chunked=False),
        ["42"],
    ),
    BrokenStream("no JSON", stream(text(), b"data: {\n\n"), ["42"]),
    BrokenStream("invalid UTF-8", stream(text(), b'data: {"choices": ["\xff"]}\n\n'), ["42"]),
    BrokenStream("a number", stream(text(), b"data: 7\n\n"), ["42"]),
    BrokenStream("choices: 7", stream(text(), {"choices": 7}), ["42"]),
    BrokenStream("content: 7", stream(text(), text(7)), ["42"]),
    BrokenStream("tool_calls: 7", stream(text(), chunk({"tool_calls": 7})), ["42"]),
    BrokenStream("a call without a name", stream(chunk({"tool_calls": [7]}))),
    BrokenStream(
        "deep nesting", stream(text(), b"data: " + b'{"choices":' * 100_000 + b"\n\n"), ["42"]
    ),
    BrokenStream("a page", StubStream([b"<html>words of the provider</html>"])),
    BrokenStream("tool_calls without a call", stream(text(), CALLS), ["42"]),
    BrokenStream(
        "too many calls",
        stream(*(chunk(call_delta(n, f"c{n}", "f", "{}")) for n in range(600)), CALLS),
        retryable=False,
    ),
    BrokenStream(
        "a failure as finish_reason",
        stream(text(), chunk(finish_reason="error")),
        ["42"],
        "server_error",
    ),
    BrokenStream(
        "an error object",
        stream(text(), {"error": {**_FAILED, "code": 429}}),
        ["42"],
        "rate_limited",
        429,
    ),
    BrokenStream(
        "an error event",
        stream(text(), event({**_FAILED, "code": 503}, "error")),
        ["42"],
        "server_error",
        503,
    ),
    BrokenStream(
        "an error event that is a text",
        stream(text(), b"event: error\ndata: words\n\n"),
        ["42"],
        "server_error",
    ),
    BrokenStream(
        "vLLM: error",
        stream(text(), {"object": "error", **_FAILED, "code": 400}),
        ["42"],
        "bad_request",
        400,
        retryable=False,
    ),
    BrokenStream(
        "OpenRouter: error in the choice",
        stream(
            text(),
            {
                "choices": [
                    {
                        "index": 0,
                        "delta": {},
                        "finish_reason": "error",
                        "error": {**_FAILED, "code": 502},
                    }
                ]
            },
        ),
        ["42"],
        "server_error",
        502,
    ),
    BrokenStream(
        "an error as the first event",
        stream({"error": {**_FAILED, "type": "overloaded_error"}}),
        (),
        "server_error",
        503,
    ),
    BrokenStream(
        "an error beside a finish_reason",
        stream(text(), {**STOP, "error": _FAILED}),
        ["42"],
        "server_error",
    ),
    BrokenStream(
        "no credit", stream({"error": {"code": "insufficient_quota"}}), (), "quota", retryable=False
    ),
]
