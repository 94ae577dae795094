"""The body of a request for a chat completion."""

import re
from collections.abc import Collection
from typing import Any

import httpx2

from executions.providers import Message, ModelRequest, ToolCall, ToolDefinition, is_json_object
from executions.providers.openai.output_schemas import response_format
from executions.providers.openai.refusals import LIMIT_NAMES
from executions.providers.output_schemas import instructed_prompt

BASE_URL = "https://api.openai.com/v1"

_FUNCTION_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


def request_body(
    request: ModelRequest, refused: Collection[str], *, is_stream: bool
) -> dict[str, Any]:
    """Return the body of a request, without the parts that the server has refused."""
    model = request.model
    is_format_refused = request.output_schema is not None and "response_format" in refused
    system_prompt = instructed_prompt(request) if is_format_refused else request.system_prompt
    body: dict[str, Any] = {
        "model": model.upstream_name or model.name,
        "messages": [
            {"role": "system", "content": system_prompt},
            *map(_message, request.messages),
        ],
    }
    if request.tools:
        body["tools"] = [_tool(tool) for tool in request.tools]
    if request.temperature is not None:
        body["temperature"] = request.temperature
    if request.max_output_tokens is not None:
        body[_limit_name(model.base_url, refused)] = request.max_output_tokens
    if request.output_schema is not None and not is_format_refused:
        body["response_format"] = response_format(request.output_schema)
    if is_stream and "stream" not in refused:
        body["stream"] = True
        if "stream_options" not in refused:
            body["stream_options"] = {"include_usage": True}
    return body


def _limit_name(base_url: str, refused: Collection[str]) -> str:
    """Return the name of the field for the maximum number of output tokens.

    OpenAI's newest models refuse the old name `max_tokens`; many other servers accept only that.
    """
    host = httpx2.URL(base_url or BASE_URL).host
    is_new = host.endswith((".openai.com", ".azure.com"))
    name = "max_completion_tokens" if is_new else "max_tokens"
    return LIMIT_NAMES[name] if name in refused else name


def _message(message: Message) -> dict[str, Any]:
    body: dict[str, Any] = {"role": message.role, "content": message.text}
    if message.tool_call_id:
        body |= {"tool_call_id": message.tool_call_id, "name": _function_name(message.name)}
    if message.tool_calls:
        body["content"] = message.text or None
        body["tool_calls"] = [_call(call) for call in message.tool_calls]
    # Its content may be in parts.
    return {**body, **message.extra}


def _call(call: ToolCall) -> dict[str, Any]:
    """Return the call as the model wrote it, unless a server would refuse it."""
    arguments = call.arguments if is_json_object(call.arguments) else "{}"
    function = {"name": _function_name(call.name), "arguments": arguments}
    function = {**call.extra.get("function", {}), **function}
    return {**call.extra, "id": call.id, "type": "function", "function": function}


def _function_name(name: str) -> str:
    return name if _FUNCTION_NAME.fullmatch(name) else "unknown"


def _tool(tool: ToolDefinition) -> dict[str, Any]:
    function = {
        "name": tool.name,
        "description": tool.description,
        "parameters": dict(tool.parameters),
    }
    return {"type": "function", "function": function}
