"""Prompts and responses as attributes of spans, in the JSON of the conventions for generative AI."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

from executions.providers import Message, ModelResponse, ToolCall
from executions.texts import first_bytes

# Of one text, and of one attribute: the oldest messages are left out.
MAX_TEXT_BYTES = 16 * 1024
MAX_BYTES = 64 * 1024


def system_instructions(text: str) -> str:
    """Return the system prompt."""
    return _json([_text(text)])


def input_messages(messages: Sequence[Message]) -> str:
    """Return the newest messages of a request."""
    parts: list[bytes] = []
    bytes_left = MAX_BYTES
    for message in reversed(messages):
        part = orjson.dumps({"role": message.role, "parts": _parts(message)})
        bytes_left -= len(part) + 1
        if bytes_left < 0:
            break
        parts.append(part)
    return f"[{b','.join(reversed(parts)).decode()}]"


def output_messages(response: ModelResponse) -> str:
    """Return the message of a response."""
    reason = "tool_call" if response.tool_calls else response.finish_reason
    parts = _of_assistant(response.text, response.tool_calls)
    return _json([{"role": "assistant", "parts": parts, "finish_reason": reason}])


def cut(text: str) -> str:
    """Return the beginning of a text."""
    return first_bytes(text, MAX_TEXT_BYTES)[0]


def _parts(message: Message) -> list[Mapping[str, Any]]:
    if message.role == "tool":
        result = {"type": "tool_call_response", "id": message.tool_call_id}
        return [{**result, "response": cut(message.text)}]
    return _of_assistant(message.text, message.tool_calls)


def _of_assistant(text: str, calls: Iterable[ToolCall]) -> list[Mapping[str, Any]]:
    parts: list[Mapping[str, Any]] = [_text(text)] if text else []
    for call in calls:
        names = {"type": "tool_call", "id": call.id, "name": call.name}
        parts.append({**names, "arguments": cut(call.arguments)})
    return parts


def _text(text: str) -> Mapping[str, Any]:
    return {"type": "text", "content": cut(text)}


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()
