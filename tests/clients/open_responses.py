"""Validation by the types of the Open Responses specification, release 2026-04-24.

The specification has no item for the calls of the server's tools and for requests of their approval. They
are items `mcp_call` and `mcp_approval_request` of OpenAI's API, whose types validate them. It also nests the
fields of the event `error`, which OpenAI's SDKs would raise, and has no event for a cancelled response.
"""

from typing import Any

import openresponses_types
from openai.types import responses as openai_types
from openai.types.responses.response_output_item import McpApprovalRequest, McpCall
from pydantic import BaseModel


def _event_types() -> dict[str, type[BaseModel]]:
    found = {}
    for name, value in vars(openresponses_types).items():
        if name.endswith("StreamingEvent"):
            (kind,) = value.model_fields["type"].annotation
            found[str(kind.value)] = value
    return found


EVENTS = _event_types()
_OPENAI_EVENTS: dict[str, type[BaseModel]] = {
    "response.mcp_call.in_progress": openai_types.ResponseMcpCallInProgressEvent,
    "response.mcp_call_arguments.delta": openai_types.ResponseMcpCallArgumentsDeltaEvent,
    "response.mcp_call_arguments.done": openai_types.ResponseMcpCallArgumentsDoneEvent,
    "response.mcp_call.completed": openai_types.ResponseMcpCallCompletedEvent,
    "response.mcp_call.failed": openai_types.ResponseMcpCallFailedEvent,
    "error": openai_types.ResponseErrorEvent,
}


_OPENAI_ITEMS: dict[str, type[BaseModel]] = {
    "mcp_call": McpCall,
    "mcp_approval_request": McpApprovalRequest,
}


def check_response(response: dict[str, Any]) -> None:
    """Validate a Response object with both sets of types."""
    openai_types.Response.model_validate(response)
    others = [item for item in response["output"] if item["type"] not in _OPENAI_ITEMS]
    for item in response["output"]:
        if item["type"] in _OPENAI_ITEMS:
            _OPENAI_ITEMS[item["type"]].model_validate(item)
    openresponses_types.ResponseResource.model_validate({**response, "output": others})


def check_event(event: dict[str, Any]) -> None:
    """Validate an event."""
    kind = event["type"]
    if "response" in event:
        check_response(event["response"])
        if kind == "response.cancelled":
            return
        response = {**event["response"], "output": []}
        EVENTS[kind].model_validate({**event, "response": response})
    elif kind in _OPENAI_EVENTS:
        _OPENAI_EVENTS[kind].model_validate(event)
    elif (item_type := event.get("item", {}).get("type")) in _OPENAI_ITEMS:
        _OPENAI_ITEMS[item_type].model_validate(event["item"])
        EVENTS[kind].model_validate({**event, "item": None})
    else:
        EVENTS[kind].model_validate(event)
