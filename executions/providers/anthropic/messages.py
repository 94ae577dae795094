"""Reads messages of Anthropic's API."""

from collections.abc import Mapping
from typing import Any

import orjson

from executions.providers import FinishReason, ModelResponse, ToolCall
from executions.providers.failures import ReportedError, reported_failure, unreadable_response
from executions.providers.limits import MAX_TOOL_CALLS, bounded, token_count, too_many_calls

NAME = "anthropic"

# Others mean "stop". No request has a tool of the server, for which a turn may be paused.
_FINISH_REASONS: Mapping[str, FinishReason] = {
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "content_filter",
}
_FAILURES = {"pause_turn"}
# Of these, only what `ModelResponse` has is needed.
_KNOWN_BLOCKS = {"text", "tool_use"}
_INPUT_COUNTS = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")


def read_message(message: dict[str, Any]) -> ModelResponse:
    """Return the reply in a message.

    Raises ModelError, and TypeError, AttributeError or LookupError for a message that is not valid.
    """
    if message.get("type") == "error" or "error" in message:
        raise reported_failure(NAME, 200, ReportedError(message))
    blocks = message["content"]
    text = "".join(block["text"] for block in blocks if block["type"] == "text")
    calls = [block for block in blocks if block["type"] == "tool_use"]
    reason = message.get("stop_reason")
    if reason in _FAILURES or (reason == "tool_use" and not calls):
        raise unreadable_response(NAME, text)
    if len(calls) > MAX_TOOL_CALLS:
        raise too_many_calls(NAME, len(calls))
    usage = message.get("usage") or {}
    return ModelResponse(
        text=text,
        tool_calls=tuple(map(_tool_call, calls)),
        finish_reason=_FINISH_REASONS.get(str(reason), "stop"),
        input_tokens=_input_tokens(usage),
        output_tokens=token_count(usage.get("output_tokens")),
        extra=_extra(blocks) if calls else {},
    )


def _tool_call(block: dict[str, Any]) -> ToolCall:
    call_id, name, arguments = block["id"], block["name"], block["input"]
    if not isinstance(call_id, str) or not isinstance(name, str):
        raise TypeError
    if not isinstance(arguments, str):
        arguments = orjson.dumps(arguments or {}).decode()
    return ToolCall(call_id, name, arguments)


def _extra(blocks: list[dict[str, Any]]) -> Mapping[str, Any]:
    """Return the blocks if there are others than texts and calls. The API expects thoughts back in order."""
    if all(block["type"] in _KNOWN_BLOCKS for block in blocks):
        return {}
    return bounded(NAME, {"content": [*filter(None, map(_kept, blocks))]})


def _kept(block: dict[str, Any]) -> dict[str, Any] | None:
    """Return a block for the next request: a call without its fields, and no blank text."""
    match block["type"]:
        case "tool_use":
            return {"type": "tool_use"}
        case "text":
            return {"type": "text", "text": block["text"]} if block["text"].strip() else None
    return block


def _input_tokens(usage: dict[str, Any]) -> int | None:
    """Return the number of all input tokens, of which the API counts those of the cache separately."""
    if token_count(usage.get("input_tokens")) is None:
        return None
    return token_count(sum(token_count(usage.get(name)) or 0 for name in _INPUT_COUNTS))
