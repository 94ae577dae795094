"""The OpenAPI operations of conversations."""

from drf_spectacular.utils import extend_schema_view

from executions.conversations.serializers import ConversationSerializer, ItemSerializer
from executions.errors import ConversationNotFound
from map_project.api.errors import InvalidPagination
from map_project.tenants.errors import TenantIsolationViolation
from map_project.tenants.openapi import tenant_operation as operation

_BODY = {"metadata": {"ticket": "4711"}}
_EXAMPLE = {
    "id": "0197a3c4-5be2-7d18-9a03-2f7b6c1e8d55",
    **_BODY,
    "latest_execution_id": "0197a3c2-77aa-7f3b-b6a0-51c3a9d1e004",
    "created_at": "2026-11-22T09:58:41.008122Z",
}
_ITEM = {
    "execution_id": "0197a3c2-77aa-7f3b-b6a0-51c3a9d1e004",
    "position": 1,
    "type": "tool_call",
    "role": None,
    "text": None,
    "name": "web_search",
    "arguments": '{"q":"third quarter"}',
    "output": "Sales: +4 %",
    "error": None,
    "is_truncated": False,
    "created_at": "2026-11-22T10:00:01.443456Z",
}
_ONE = (ConversationNotFound, TenantIsolationViolation)

documented = extend_schema_view(
    list=operation(
        "List conversations",
        description="Returns your conversations, sorted by `created_at`, then `id`.",
        responses={200: ConversationSerializer(many=True)},
        errors=[InvalidPagination],
        example=_EXAMPLE,
    ),
    create=operation(
        "Create a conversation",
        description="Creates a conversation without runs. Send its ID as the `conversation_id` of a run "
        "(`POST /agents/{id}/run`). Each run of a conversation continues the one before it. A conversation "
        "has one run at a time: other runs are rejected with 409 `CONVERSATION_BUSY`.",
        responses={201: ConversationSerializer},
        body={"Conversation": _BODY},
        example={**_EXAMPLE, "latest_execution_id": None},
    ),
    retrieve=operation(
        "Read a conversation",
        description="Returns a conversation.",
        id_of="conversation",
        responses={200: ConversationSerializer},
        errors=_ONE,
        example=_EXAMPLE,
    ),
    destroy=operation(
        "Delete a conversation",
        description="Deletes a conversation. Its executions stay in the history, and a run in progress "
        "continues.",
        id_of="conversation",
        responses={204: None},
        errors=_ONE,
    ),
    items=operation(
        "List the items of a conversation",
        description="Returns the messages and tool calls of a conversation, oldest first, also those that "
        "the model no longer receives (`dropped_exchanges`). Texts are truncated at 16 KiB; an execution and "
        "its steps have the whole texts.",
        id_of="conversation",
        operation_id="conversations_items_list",
        responses={200: ItemSerializer(many=True)},
        errors=[*_ONE, InvalidPagination],
        example=_ITEM,
    ),
)
