"""The OpenAPI operations of `/v1`."""

from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema_view

from executions.errors import (
    ApprovalDecided,
    ApprovalExpired,
    ApprovalNotFound,
    ConversationBusy,
    ConversationNotFound,
    PreviousExecutionNotFinished,
    QueueFull,
    TooManyStreams,
)
from executions.openapi import ERRORS_OF_RUNS
from map_project.api.errors import BadRequest
from map_project.openai_api.errors import (
    AgentWithoutModel,
    ApprovalRequired,
    ModelNotFound,
    ResponseNotFound,
    RunCancelled,
    UnsupportedParameter,
)
from map_project.openai_api.openapi import examples
from map_project.openai_api.openapi.schemas import reference
from map_project.openai_api.serializers import (
    NewChatCompletionSerializer,
    NewConversationSerializer,
    NewResponseSerializer,
)
from map_project.tenants.errors import TenantIsolationViolation
from map_project.tenants.openapi import tenant_operation

_IDEMPOTENCY_KEY = {
    "Idempotency-Key": "1 to 255 visible ASCII characters. If a request with the same key and body was "
    "received in the last 24 hours, the agent does not run again: the response is that of the first request, "
    "with the header `Idempotent-Replayed: true`. OpenAI's SDKs repeat requests, without a key by default."
}
_OF_RUNS = (*ERRORS_OF_RUNS, UnsupportedParameter, AgentWithoutModel, ModelNotFound)
_OF_ONE_CONVERSATION = (ConversationNotFound, TenantIsolationViolation)
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
        example={"object": "list", "data": [examples.MODEL]},
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
        example=examples.MODEL,
    ),
)

response_created = extend_schema_view(
    create=_operation(
        "Create a response",
        description="Runs an agent, as `POST /api/v1/agents/{id}/run` does. The tools of the "
        "agent are called on the server, and their calls are items of the type "
        "`mcp_call`. With `stream`, the response is a stream of the events of Open "
        "Responses. With `background`, a worker runs the agent: read the response "
        "to follow it. If a tool call needs approval, the response is completed, and "
        "its last items are of the type `mcp_approval_request`. Answer them with items "
        "of the type `mcp_approval_response`: the same response then continues. "
        "Unknown fields are ignored. Fields that would change the "
        "result and are not supported, for example `tools`, are rejected.",
        operation_id="responses_create",
        headers=_IDEMPOTENCY_KEY,
        request=NewResponseSerializer,
        responses={200: reference("Response")},
        errors=[
            *_OF_RUNS,
            PreviousExecutionNotFinished,
            ResponseNotFound,
            ConversationNotFound,
            ConversationBusy,
            QueueFull,
            ApprovalNotFound,
            ApprovalDecided,
            ApprovalExpired,
        ],
        body={
            "Text": {"model": "Researcher", "input": examples.PROMPT},
            "Messages": {
                "model": "Researcher",
                "input": [{"role": "user", "content": examples.PROMPT}],
                "stream": True,
            },
            "Approve a tool call": {
                "model": "Researcher",
                "previous_response_id": examples.RESPONSE["id"],
                "input": [
                    {
                        "type": "mcp_approval_response",
                        "approval_request_id": "mcpr_0197a3c62d4b7e08b1c76f0a9d3e5b21",
                        "approve": True,
                    }
                ],
            },
        },
        example=examples.RESPONSE,
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
        example=examples.RESPONSE,
    ),
    destroy=_operation(
        "Delete a response",
        description="Deletes a response from `/v1`. The execution remains in the history.",
        operation_id="responses_destroy",
        id_of="response",
        responses={200: reference("ResponseDeleted")},
        errors=_OF_ONE,
        example={"id": f"resp_{examples.HEX}", "object": "response", "deleted": True},
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
        example={**examples.RESPONSE, "status": "cancelled", "completed_at": None, "output": []},
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
            "data": [examples.INPUT_MESSAGE],
            "first_id": examples.INPUT_MESSAGE["id"],
            "last_id": examples.INPUT_MESSAGE["id"],
            "has_more": False,
        },
    ),
)

conversations_documented = extend_schema_view(
    create=_operation(
        "Create a conversation at /v1",
        description="Creates a conversation without items. Send its ID as the `conversation` of responses. "
        "It is also a conversation of `/api/v1`.",
        operation_id="v1_conversations_create",
        request=NewConversationSerializer,
        responses={200: reference("V1Conversation")},
        errors=[UnsupportedParameter],
        body={"Conversation": {"metadata": {"ticket": "4711"}}},
        example=examples.CONVERSATION,
    ),
    retrieve=_operation(
        "Read a conversation at /v1",
        description="Returns a conversation.",
        operation_id="v1_conversations_retrieve",
        id_of="conversation",
        responses={200: reference("V1Conversation")},
        errors=_OF_ONE_CONVERSATION,
        example=examples.CONVERSATION,
    ),
    destroy=_operation(
        "Delete a conversation at /v1",
        description="Deletes a conversation. Its responses remain, and a run in progress continues.",
        operation_id="v1_conversations_destroy",
        id_of="conversation",
        responses={200: reference("V1ConversationDeleted")},
        errors=_OF_ONE_CONVERSATION,
        example={
            "id": examples.CONVERSATION["id"],
            "object": "conversation.deleted",
            "deleted": True,
        },
    ),
    items=_operation(
        "List the items of a conversation at /v1",
        description="Returns the messages and tool calls of a conversation. Texts are truncated at 16 KiB.",
        operation_id="v1_conversations_items",
        id_of="conversation",
        parameters=_PAGE,
        responses={200: reference("V1ItemList")},
        errors=[*_OF_ONE_CONVERSATION, BadRequest],
        example={
            "object": "list",
            "data": [examples.MESSAGE],
            "first_id": examples.MESSAGE["id"],
            "last_id": examples.MESSAGE["id"],
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
        errors=[*_OF_RUNS, RunCancelled, ApprovalRequired],
        body={
            "Chat": {
                "model": "Researcher",
                "messages": [{"role": "user", "content": examples.PROMPT}],
            },
            "Stream": {
                "model": "Researcher",
                "messages": [{"role": "user", "content": examples.PROMPT}],
                "stream": True,
                "stream_options": {"include_usage": True},
            },
        },
        example=examples.CHAT_COMPLETION,
    )
)
