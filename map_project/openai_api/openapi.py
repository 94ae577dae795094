"""The OpenAPI operations of `/v1`."""

from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema_view

from agents.errors import InvalidModel
from executions.errors import (
    ModelFailed,
    ModelTimedOut,
    PromptTooLong,
    QueueFull,
    RunInterrupted,
    TooManyStreams,
)
from map_project.api.errors import BadRequest
from map_project.openai_api.errors import (
    AgentWithoutModel,
    ModelNotFound,
    ResponseNotFound,
    RunCancelled,
    UnsupportedParameter,
)
from map_project.openai_api.schemas import reference
from map_project.openai_api.serializers import NewChatCompletionSerializer, NewResponseSerializer
from map_project.tenants.errors import TenantIsolationViolation
from map_project.tenants.openapi import tenant_operation
from ratelimit.errors import (
    ConcurrencyLimitExceeded,
    IdempotencyInProgress,
    IdempotencyKeyReused,
)

_HEX = "0197a3c277aa7f3bb6a051c3a9d1e004"
_TIME = 1_795_341_600
_MODEL = {"id": "Researcher", "object": "model", "created": _TIME, "owned_by": "Tenant A"}
_MESSAGE = {
    "id": f"msg_{_HEX}000",
    "type": "message",
    "status": "completed",
    "role": "assistant",
    "content": [
        {"type": "output_text", "text": "Sales grew by 4 %.", "annotations": [], "logprobs": []}
    ],
}
_PROMPT = "What changed in the third quarter?"
_INPUT_MESSAGE = {
    "id": f"msg_{_HEX}i000",
    "type": "message",
    "status": "completed",
    "role": "user",
    "content": [{"type": "input_text", "text": _PROMPT}],
}
_RESPONSE = {
    "id": f"resp_{_HEX}",
    "object": "response",
    "created_at": _TIME,
    "completed_at": _TIME + 2,
    "status": "completed",
    "incomplete_details": None,
    "model": "Researcher",
    "previous_response_id": None,
    "conversation": None,
    "instructions": None,
    "output": [_MESSAGE],
    "error": None,
    "tools": [],
    "tool_choice": "auto",
    "truncation": "auto",
    "parallel_tool_calls": False,
    "text": {"format": {"type": "text"}},
    "top_p": 1,
    "presence_penalty": 0,
    "frequency_penalty": 0,
    "top_logprobs": 0,
    "temperature": 1,
    "reasoning": None,
    "user": None,
    "usage": {
        "input_tokens": 412,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": 58,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 470,
    },
    "max_output_tokens": None,
    "max_tool_calls": None,
    "store": True,
    "background": False,
    "service_tier": "default",
    "metadata": {},
    "safety_identifier": None,
    "prompt_cache_key": None,
}
_CHOICE = {
    "index": 0,
    "message": {
        "role": "assistant",
        "content": "Sales grew by 4 %.",
        "refusal": None,
        "annotations": [],
    },
    "logprobs": None,
    "finish_reason": "stop",
}
_CHAT_COMPLETION = {
    "id": f"chatcmpl-{_HEX}",
    "object": "chat.completion",
    "created": _TIME,
    "model": "Researcher",
    "choices": [_CHOICE],
    "usage": {
        "prompt_tokens": 412,
        "completion_tokens": 58,
        "total_tokens": 470,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0},
    },
}
_IDEMPOTENCY_KEY = {
    "Idempotency-Key": "1 to 255 visible ASCII characters. If a request with the same key and body was "
    "received in the last 24 hours, the agent does not run again: the response is that of the first request, "
    "with the header `Idempotent-Replayed: true`. OpenAI's SDKs repeat requests, without a key by default."
}
_OF_RUNS = (
    UnsupportedParameter,
    AgentWithoutModel,
    PromptTooLong,
    InvalidModel,
    ModelNotFound,
    TenantIsolationViolation,
    ModelFailed,
    ModelTimedOut,
    RunInterrupted,
    TooManyStreams,
    ConcurrencyLimitExceeded,
    IdempotencyInProgress,
    IdempotencyKeyReused,
)
_OF_ONE = (ResponseNotFound, TenantIsolationViolation)


def _operation(summary: str, **kwargs: Any) -> Any:
    return tenant_operation(summary, tags=["openai"], **kwargs)


def _query(name: str, schema: dict[str, Any], description: str) -> OpenApiParameter:
    return OpenApiParameter(name, schema, description=description)


_PAGE = [
    _query(
        "limit", {"type": "integer", "minimum": 1, "maximum": 100}, "Maximum items. By default 20."
    ),
    _query(
        "order", {"type": "string", "enum": ["asc", "desc"]}, "By default `desc`: the newest first."
    ),
    _query("after", {"type": "string"}, "Return the items after the one with this ID."),
]

models_documented = extend_schema_view(
    models=_operation(
        "List agents as models",
        description="Returns your agents that have a default model, the oldest first. At most 2,000.",
        operation_id="v1_models_list",
        responses={200: reference("V1ModelList")},
        example={"object": "list", "data": [_MODEL]},
    ),
    retrieve=_operation(
        "Read an agent as a model",
        description="Returns an agent that has a default model.",
        operation_id="v1_models_retrieve",
        parameters=[
            OpenApiParameter(
                "name",
                str,
                OpenApiParameter.PATH,
                description="Name of the agent, or `agent:` and its ID.",
            )
        ],
        responses={200: reference("V1Model")},
        errors=[ModelNotFound, TenantIsolationViolation],
        example=_MODEL,
    ),
)

response_created = extend_schema_view(
    create=_operation(
        "Create a response",
        description="Runs an agent, as `POST /api/v1/agents/{id}/run` does. The tools of the "
        "agent are called on the server, and their calls are items of the type "
        "`mcp_call`. With `stream`, the response is a stream of the events of Open "
        "Responses. With `background`, a worker runs the agent: read the response "
        "to follow it. Unknown fields are ignored. Fields that would change the "
        "result and are not supported, for example `tools`, are rejected.",
        operation_id="responses_create",
        headers=_IDEMPOTENCY_KEY,
        request=NewResponseSerializer,
        responses={200: reference("Response")},
        errors=[*_OF_RUNS, QueueFull],
        body={
            "Text": {"model": "Researcher", "input": _PROMPT},
            "Messages": {
                "model": "Researcher",
                "input": [{"role": "user", "content": _PROMPT}],
                "stream": True,
            },
        },
        example=_RESPONSE,
    )
)

responses_documented = extend_schema_view(
    retrieve=_operation(
        "Read a response",
        description="Returns a response with its present output. With `stream=true`, returns "
        "its events: those so far, and then each one as it happens, to the end.",
        operation_id="responses_retrieve",
        id_of="response",
        parameters=[
            _query("stream", {"type": "boolean"}, "Whether to return the events."),
            _query(
                "starting_after",
                {"type": "integer", "minimum": 0, "maximum": 999_999_999},
                "With `stream`: return the events after the one with this `sequence_number`.",
            ),
        ],
        responses={200: reference("Response")},
        errors=[*_OF_ONE, BadRequest, TooManyStreams],
        example=_RESPONSE,
    ),
    destroy=_operation(
        "Delete a response",
        description="Deletes a response from `/v1`. The execution remains in the history.",
        operation_id="responses_destroy",
        id_of="response",
        responses={200: reference("ResponseDeleted")},
        errors=_OF_ONE,
        example={"id": f"resp_{_HEX}", "object": "response", "deleted": True},
    ),
    cancel=_operation(
        "Cancel a response",
        description="Cancels a response that is queued or in progress, in the background or "
        "not, and returns it. A response that has ended is returned unchanged.",
        operation_id="responses_cancel",
        id_of="response",
        request=None,
        responses={200: reference("Response")},
        errors=_OF_ONE,
        example={**_RESPONSE, "status": "cancelled", "completed_at": None, "output": []},
    ),
    input_items=_operation(
        "List the input items of a response",
        description="Returns the messages of the request, without its instructions.",
        operation_id="responses_input_items",
        id_of="response",
        parameters=_PAGE,
        responses={200: reference("V1ItemList")},
        errors=[*_OF_ONE, BadRequest],
        example={
            "object": "list",
            "data": [_INPUT_MESSAGE],
            "first_id": _INPUT_MESSAGE["id"],
            "last_id": _INPUT_MESSAGE["id"],
            "has_more": False,
        },
    ),
)

chat_completion_created = extend_schema_view(
    create=_operation(
        "Create a chat completion",
        description="Runs an agent on the last message, after the earlier ones. The tools of "
        "the agent are called on the server. With `stream`, the response is a "
        "stream of chunks. Unknown fields are ignored. Fields that would change the "
        "result and are not supported, for example `tools` or `n`, are rejected.",
        operation_id="chat_completions_create",
        headers=_IDEMPOTENCY_KEY,
        request=NewChatCompletionSerializer,
        responses={200: reference("ChatCompletion")},
        errors=[*_OF_RUNS, RunCancelled],
        body={
            "Chat": {"model": "Researcher", "messages": [{"role": "user", "content": _PROMPT}]},
            "Stream": {
                "model": "Researcher",
                "messages": [{"role": "user", "content": _PROMPT}],
                "stream": True,
                "stream_options": {"include_usage": True},
            },
        },
        example=_CHAT_COMPLETION,
    )
)
