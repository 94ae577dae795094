"""Responses of Anthropic's Messages API, as scripts for the stub model."""

import json
import re
from collections.abc import Iterable
from typing import Any

from tests.stub_model import Part, StubResponse, StubStream, event

USAGE = {"input_tokens": 12, "output_tokens": 3}
STOPPED: dict[str, Any] = {"type": "message_stop"}


def text_block(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text, "citations": None}


def call_block(name: str, call_input: Any, number: int = 0) -> dict[str, Any]:
    return {"type": "tool_use", "id": f"toolu_{number}", "name": name, "input": call_input}


def message(
    *blocks: dict[str, Any] | str, stop_reason: str | None = "end_turn", **fields: Any
) -> dict[str, Any]:
    """Return a message with these blocks, of which a text stands for a block of text."""
    content = [text_block(block) if isinstance(block, str) else block for block in blocks]
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude",
        "content": content,
        "stop_reason": stop_reason,
        "stop_sequence": None,
        "usage": USAGE,
        **fields,
    }


def called(*blocks: dict[str, Any] | str, **fields: Any) -> dict[str, Any]:
    """Return a message that requests calls."""
    return message(*blocks, stop_reason="tool_use", **fields)


def named(data: dict[str, Any]) -> bytes:
    """Return an event as the API sends it: its name is the type of its data."""
    return event(data, data["type"])


def streamed_message(answer: dict[str, Any], **options: Any) -> StubStream:
    """Return the stream of a message: words, and the JSON of inputs in pieces."""
    return StubStream([*map(named, events_of(answer))], **options)


def events_of(answer: dict[str, Any]) -> list[dict[str, Any]]:
    start = answer | {
        "content": [],
        "stop_reason": None,
        "usage": answer["usage"] | {"output_tokens": 1},
    }
    blocks = [
        event for index, block in enumerate(answer["content"]) for event in _block(index, block)
    ]
    delta = {"stop_reason": answer["stop_reason"], "stop_sequence": None}
    usage = {"output_tokens": answer["usage"]["output_tokens"]}
    return [
        {"type": "message_start", "message": start},
        {"type": "ping"},
        *blocks,
        {"type": "message_delta", "delta": delta, "usage": usage},
        STOPPED,
    ]


def _block(index: int, block: dict[str, Any]) -> Iterable[dict[str, Any]]:
    yield {"type": "content_block_start", "index": index, "content_block": _begun(block)}
    for delta in _deltas(block):
        yield {"type": "content_block_delta", "index": index, "delta": delta}
    yield {"type": "content_block_stop", "index": index}


def _begun(block: dict[str, Any]) -> dict[str, Any]:
    empty = {"text": "", "thinking": "", "signature": "", "input": {}}
    return {name: empty.get(name, value) for name, value in block.items()}


def _deltas(block: dict[str, Any]) -> Iterable[dict[str, Any]]:
    match block["type"]:
        case "text":
            for word in re.findall(r"\S+\s*|\s+", block["text"]):
                yield {"type": "text_delta", "text": word}
        case "tool_use":
            yield {"type": "input_json_delta", "partial_json": ""}
            if block["input"]:
                for part in re.findall("(?s).{1,5}", json.dumps(block["input"])):
                    yield {"type": "input_json_delta", "partial_json": part}
        case "thinking":
            yield {"type": "thinking_delta", "thinking": block["thinking"][:2]}
            yield {"type": "thinking_delta", "thinking": block["thinking"][2:]}
            yield {"type": "signature_delta", "signature": block["signature"]}


def failed(status: int, kind: str, text: str = "words of the provider") -> StubResponse:
    """Return an error in the format of the API."""
    body = {"type": "error", "error": {"type": kind, "message": text}, "request_id": "req_1"}
    return StubResponse(status, body)


def failed_event(kind: str, text: str = "words of the provider") -> bytes:
    return named({"type": "error", "error": {"type": kind, "message": text}})


Parts = list[Part]
