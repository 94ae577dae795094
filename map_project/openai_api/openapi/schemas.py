"""The schemas of `/v1` in the OpenAPI document, and the form of its errors there.

The objects are those of the Open Responses specification and of OpenAI's API. Their types are described here
only, because the views do not use serializers for them.
"""

from collections.abc import Mapping
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from map_project.openai_api.errors import openai_error

_STRING: dict[str, Any] = {"type": "string"}
_TEXT_OR_NULL: dict[str, Any] = {"type": ["string", "null"]}
_INTEGER: dict[str, Any] = {"type": "integer"}
_INTEGER_OR_NULL: dict[str, Any] = {"type": ["integer", "null"]}
_NUMBER: dict[str, Any] = {"type": "number"}
_BOOLEAN: dict[str, Any] = {"type": "boolean"}
_OBJECT: dict[str, Any] = {"type": "object"}
_OBJECT_OR_NULL: dict[str, Any] = {"type": ["object", "null"]}
_OBJECTS: dict[str, Any] = {"type": "array", "items": {"type": "object"}}

Fields = Mapping[str, tuple[dict[str, Any], str]]


def reference(name: str) -> dict[str, str]:
    """Return the reference to a component."""
    return {"$ref": f"#/components/schemas/{name}"}


def _constant(value: str) -> dict[str, Any]:
    return {"type": "string", "const": value}


def _schema(description: str, fields: Fields) -> dict[str, Any]:
    properties = {name: {**schema, "description": text} for name, (schema, text) in fields.items()}
    return {
        "type": "object",
        "description": description,
        "required": [*properties],
        "properties": properties,
    }


def _list_of(name: str, description: str) -> dict[str, Any]:
    fields: Fields = {
        "object": (_constant("list"), "Always `list`."),
        "data": ({"type": "array", "items": reference(name)}, description),
    }
    return _schema("A list.", fields)


_ITEM_LIST: Fields = {
    "object": (_constant("list"), "Always `list`."),
    "data": (_OBJECTS, "The items."),
    "first_id": (_TEXT_OR_NULL, "ID of the first item. Null if there are none."),
    "last_id": (_TEXT_OR_NULL, "ID of the last item, for `after`. Null if there are none."),
    "has_more": (_BOOLEAN, "Whether there are more items after these."),
}
_ERROR: Fields = {
    "message": (_STRING, "A human-readable message. The wording may change."),
    "type": (_STRING, "The kind of the error, which follows from the status."),
    "param": (_TEXT_OR_NULL, "The part of the request to which the error refers."),
    "code": (_STRING, "The `error_code` of `/api/v1`, in lower case."),
}
_MODEL: Fields = {
    "id": (_STRING, "Name of the agent."),
    "object": (_constant("model"), "Always `model`."),
    "created": (_INTEGER, "When the agent was created, in Unix seconds."),
    "owned_by": (_STRING, "Name of the tenant."),
}
_STATUSES = ["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]
_RESPONSE: Fields = {
    "id": (_STRING, "ID of the execution, without hyphens and with the prefix `resp_`."),
    "object": (_constant("response"), "Always `response`."),
    "created_at": (_INTEGER, "When the run started, in Unix seconds."),
    "completed_at": (
        _INTEGER_OR_NULL,
        "When the run ended. Null unless it has ended as completed.",
    ),
    "status": ({"type": "string", "enum": _STATUSES}, "Status of the run."),
    "incomplete_details": (_OBJECT_OR_NULL, "`reason`: the `stop_reason` of an incomplete run."),
    "model": (_STRING, "The agent, as the request named it."),
    "previous_response_id": (_TEXT_OR_NULL, "The response that this one continues."),
    "conversation": (_OBJECT_OR_NULL, "`id`: the conversation of the response."),
    "instructions": (_TEXT_OR_NULL, "The instructions of the request."),
    "output": (
        _OBJECTS,
        "The items: `message`, `mcp_call` (of the agent's tools), and `mcp_approval_request`.",
    ),
    "error": (_OBJECT_OR_NULL, "`code` and `message` of a failed run."),
    "tools": (_OBJECTS, "Always empty: the agent has its own tools."),
    "tool_choice": (_STRING, "Always `auto`."),
    "truncation": (_STRING, "`auto` or `disabled`."),
    "parallel_tool_calls": (_BOOLEAN, "Always false."),
    "text": (_OBJECT, "`format`: the form of the text."),
    "top_p": (_NUMBER, "Always 1."),
    "presence_penalty": (_NUMBER, "Always 0."),
    "frequency_penalty": (_NUMBER, "Always 0."),
    "top_logprobs": (_INTEGER, "Always 0."),
    "temperature": (_NUMBER, "The temperature of the request, else 1."),
    "reasoning": (_OBJECT_OR_NULL, "Always null."),
    "user": (_TEXT_OR_NULL, "Always null."),
    "usage": (_OBJECT_OR_NULL, "Tokens of all model calls. Null until the run has ended."),
    "max_output_tokens": (_INTEGER_OR_NULL, "That of the request."),
    "max_tool_calls": (_INTEGER_OR_NULL, "Always null: the agent has its own."),
    "store": (_BOOLEAN, "Always true: each run is in the history."),
    "background": (_BOOLEAN, "Whether a worker runs the agent."),
    "service_tier": (_STRING, "Always `default`."),
    "metadata": (_OBJECT, "The metadata of the request."),
    "safety_identifier": (_TEXT_OR_NULL, "Always null."),
    "prompt_cache_key": (_TEXT_OR_NULL, "Always null."),
}
_DELETED: Fields = {
    "id": (_STRING, "ID of the response."),
    "object": (_constant("response"), "Always `response`."),
    "deleted": (_BOOLEAN, "Always true."),
}
_CONVERSATION: Fields = {
    "id": (_STRING, "ID of the conversation, without hyphens and with the prefix `conv_`."),
    "object": (_constant("conversation"), "Always `conversation`."),
    "created_at": (_INTEGER, "When the conversation was created, in Unix seconds."),
    "metadata": (_OBJECT, "The metadata of the request."),
}
_CONVERSATION_DELETED: Fields = {
    "id": (_STRING, "ID of the conversation."),
    "object": (_constant("conversation.deleted"), "Always `conversation.deleted`."),
    "deleted": (_BOOLEAN, "Always true."),
}
_CHAT_COMPLETION: Fields = {
    "id": (_STRING, "ID of the execution, without hyphens and with the prefix `chatcmpl-`."),
    "object": (_constant("chat.completion"), "Always `chat.completion`."),
    "created": (_INTEGER, "When the run started, in Unix seconds."),
    "model": (_STRING, "The agent, as the request named it."),
    "choices": (_OBJECTS, "The one choice: `message`, and `finish_reason`."),
    "usage": (_OBJECT, "Tokens of all model calls."),
}
_COMPONENTS = {
    "OpenAIError": _schema(
        "The body of every error response at `/v1`.",
        {"error": (_schema("The error.", _ERROR), "The error.")},
    ),
    "V1Model": _schema("An agent with a default model.", _MODEL),
    "V1ModelList": _list_of("V1Model", "Your agents, the oldest first."),
    "Response": _schema("A run, as Open Responses describes it.", _RESPONSE),
    "ResponseDeleted": _schema("A deleted response.", _DELETED),
    "V1ItemList": _schema("A page of items.", _ITEM_LIST),
    "V1Conversation": _schema("Runs that continue one another.", _CONVERSATION),
    "V1ConversationDeleted": _schema("A deleted conversation.", _CONVERSATION_DELETED),
    "ChatCompletion": _schema("A run, as a chat completion.", _CHAT_COMPLETION),
}


def document_components(
    result: dict[str, Any], generator: Any, request: Any, public: bool
) -> dict[str, Any]:
    """Add the components, and the form of errors (a drf-spectacular postprocessing hook)."""
    schemas = result["components"]["schemas"]
    if taken := schemas.keys() & _COMPONENTS:
        raise ImproperlyConfigured(f"two components have the name {min(taken)}")
    schemas |= _COMPONENTS
    for path, operations in result["paths"].items():
        if path.startswith("/v1/"):
            for operation in operations.values():
                _document_errors(operation["responses"])
    return result


def _document_errors(responses: dict[str, Any]) -> None:
    for status, response in responses.items():
        if status >= "400":
            content = response["content"]["application/json"]
            content["schema"] = reference("OpenAIError")
            for each in content["examples"].values():
                each["value"] = openai_error(int(status), each["value"])
