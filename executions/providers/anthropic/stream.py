"""Reads the stream of a message: yields its text, and joins its events to a message."""

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

import orjson

from executions.providers.anthropic.messages import NAME, read_message
from executions.providers.failures import ReportedError, reported_failure, unreadable_response
from executions.providers.reading import first_bytes, with_model_errors
from executions.providers.retries import Stream
from tools.outbound.sse import events

# The fields whose parts the deltas contain, by type of the delta.
_PARTS = {
    "text_delta": "text",
    "input_json_delta": "partial_json",
    "thinking_delta": "thinking",
    "signature_delta": "signature",
}


def read_body(chunks: Iterable[bytes]) -> Stream:
    """Yield the text of a message, and return the response. Raises ModelError."""
    return with_model_errors(NAME, _read_body(chunks))


def read_stream(chunks: Iterator[bytes]) -> Stream:
    """Yield the text of a message that arrives in chunks of bytes, and return the response.

    The stream is complete with the event `message_stop`. A server that ignores `stream` sends one message.
    Raises ModelError.
    """
    return with_model_errors(NAME, _read_stream(chunks))


def _read_body(chunks: Iterable[bytes]) -> Stream:
    response = read_message(orjson.loads(b"".join(chunks)))
    if response.text:
        yield response.text
    return response


def _read_stream(chunks: Iterator[bytes]) -> Stream:
    head = first_bytes(chunks)
    if head.lstrip().startswith(b"{"):
        return (yield from _read_body(chain([head], chunks)))
    stream = _MessageStream()
    yield from stream.pieces(chain([head], chunks))
    return read_message(stream.message())


class _MessageStream:
    """The parts of a message so far."""

    def __init__(self) -> None:
        self._usage: dict[str, Any] = {}
        self._stop_reason: object = None
        self._blocks: dict[int, _Block] = {}

    def pieces(self, chunks: Iterable[bytes]) -> Iterator[str]:
        """Yield the text, in pieces that are not empty."""
        for name, data in events(chunks):
            event = orjson.loads(data)
            match event.get("type", name.decode(errors="replace")):
                case "message_stop":
                    return
                case "error":
                    raise reported_failure(NAME, 200, ReportedError(event))
                case "message_start":
                    self._add_usage(event["message"].get("usage"))
                case "content_block_start":
                    block = self._blocks[event["index"]] = _Block(event["content_block"])
                    if text := block.text():
                        yield text
                case "content_block_delta":
                    if text := self._blocks[event["index"]].add(event["delta"]):
                        yield text
                case "message_delta":
                    self._stop_reason = event["delta"].get("stop_reason") or self._stop_reason
                    self._add_usage(event.get("usage"))
        raise unreadable_response(NAME)

    def message(self) -> dict[str, Any]:
        """Return the message as a complete response contains it."""
        content = [block.fields() for block in self._blocks.values()]
        return {"content": content, "stop_reason": self._stop_reason, "usage": self._usage}

    def _add_usage(self, usage: dict[str, Any] | None) -> None:
        """Replace the counts: those of later events are cumulative."""
        self._usage |= {name: count for name, count in (usage or {}).items() if count is not None}


class _Block:
    """The parts of a block so far."""

    def __init__(self, fields: dict[str, Any]) -> None:
        self._fields = fields
        self._parts: dict[str, list[str]] = {}

    def text(self) -> str:
        """Return the text that the block begins with."""
        is_text = self._fields["type"] == "text"
        return str(self._fields.get("text") or "") if is_text else ""

    def add(self, delta: dict[str, Any]) -> str:
        """Add a part, and return the visible text in it."""
        name = _PARTS.get(delta["type"])
        if name is None:
            return ""
        part = delta[name]
        if not isinstance(part, str):
            raise TypeError
        self._parts.setdefault(name, []).append(part)
        return part if name == "text" and self._fields["type"] == "text" else ""

    def fields(self) -> dict[str, Any]:
        """Return the block as a complete message contains it. The input of a call may be invalid JSON."""
        joined = {
            name: str(self._fields.get(name) or "") + "".join(parts)
            for name, parts in self._parts.items()
        }
        arguments = joined.pop("partial_json", "")
        return self._fields | joined | ({"input": arguments} if arguments else {})
