"""The body of a request for a message."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

import orjson

from executions.providers import Message, ModelRequest, ToolCall, ToolDefinition, is_json_object
from executions.providers.anthropic.output_schemas import output_format
from executions.providers.anthropic.refusals import max_tokens
from executions.providers.output_schemas import instructed_prompt

CACHE_CONTROL = {"type": "ephemeral"}

_FUNCTION_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_NOT_IN_IDS = re.compile("[^A-Za-z0-9_-]")
# The API refuses them at the top of a tool's schema. The arguments of a call are validated with them anyway.
_NOT_AT_TOP = {"anyOf", "oneOf", "allOf"}


def request_body(request: ModelRequest, refused: Collection[str]) -> dict[str, Any]:
    """Return the body of a request, without the parts that the server has refused.

    It has no temperature: the API has none since its version 2026-10-21.
    """
    model = request.model
    body: dict[str, Any] = {
        "model": model.upstream_name or model.name,
        "max_tokens": max_tokens(request),
        "messages": _turns(request.messages),
    }
    system_prompt = request.system_prompt
    if request.output_schema is not None:
        sent_format = output_format(request.output_schema)
        if sent_format is None or "output_config" in refused:
            system_prompt = instructed_prompt(request)
        else:
            body["output_config"] = {"format": sent_format}
    if system_prompt:
        body["system"] = [{"type": "text", "text": system_prompt}]
    body |= _tool_fields(request)
    if "cache_control" not in refused:
        _mark_cached_parts(body, has_more_requests=bool(request.tools))
    return body


def _mark_cached_parts(body: dict[str, Any], *, has_more_requests: bool) -> None:
    """Mark the ends of the parts that are cached for later requests: they repeat all that precedes a mark.

    The conversation is marked only if a request with its continuation is likely to follow.
    """
    ends = [body.get("tools"), body.get("system")]
    if has_more_requests and body["messages"]:
        ends.append(body["messages"][-1]["content"])
    for blocks in filter(None, ends):
        blocks[-1] = {**blocks[-1], "cache_control": CACHE_CONTROL}


def _tool_fields(request: ModelRequest) -> dict[str, Any]:
    if request.tools:
        return {"tools": [_tool(tool) for tool in request.tools]}
    # The API requires the definitions of tools that were called, also if they must not be called now.
    calls = (call for message in request.messages for call in message.tool_calls)
    if names := sorted({_function_name(call.name) for call in calls}):
        tools = [{"name": name, "input_schema": {"type": "object"}} for name in names]
        return {"tools": tools, "tool_choice": {"type": "none"}}
    return {}


def _tool(tool: ToolDefinition) -> dict[str, Any]:
    schema = {name: part for name, part in tool.parameters.items() if name not in _NOT_AT_TOP}
    return {
        "name": tool.name,
        "description": tool.description,
        "input_schema": {"type": "object", **schema},
    }


def _turns(messages: Iterable[Message]) -> list[dict[str, Any]]:
    """Return the messages in turns of user and assistant. The results of calls belong to the user's turn."""
    turns: list[dict[str, Any]] = []
    for message in messages:
        role = "assistant" if message.role == "assistant" else "user"
        if not (blocks := [*_blocks(message)]):
            continue
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += blocks
        else:
            turns.append({"role": role, "content": blocks})
    return turns


def _blocks(message: Message) -> Iterator[dict[str, Any]]:
    """Yield the blocks of a message. The API refuses blank texts."""
    if message.role == "tool":
        yield _tool_result(message)
        return
    calls = iter(message.tool_calls)
    for block in message.extra.get("content", ()):
        # The calls may have other ids and names than in the response.
        if block["type"] != "tool_use":
            yield block
        elif call := next(calls, None):
            yield _tool_use(call)
    if "content" not in message.extra and message.text.strip():
        yield {"type": "text", "text": message.text}
    yield from map(_tool_use, calls)


def _tool_result(message: Message) -> dict[str, Any]:
    result = {"type": "tool_result", "tool_use_id": _call_id(message.tool_call_id)}
    return result | ({"content": message.text} if message.text.strip() else {})


def _tool_use(call: ToolCall) -> dict[str, Any]:
    arguments: Mapping[str, Any] = (
        orjson.loads(call.arguments) if is_json_object(call.arguments) else {}
    )
    name = _function_name(call.name)
    return {"type": "tool_use", "id": _call_id(call.id), "name": name, "input": arguments}


def _call_id(call_id: str) -> str:
    """Return an id that the API accepts, which may come from another provider."""
    return _NOT_IN_IDS.sub("_", call_id)


def _function_name(name: str) -> str:
    return name if _FUNCTION_NAME.fullmatch(name) else "unknown"
