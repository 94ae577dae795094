"""Conversations of a tenant. Both `/api/v1` and `/v1` use these functions.

`create_conversation`, `get_conversation` and `delete_conversation` are for the rows, and
`executions.conversations.items.ItemList` is for what was said. `executions.services.run_agent` runs an agent
in a conversation.
"""

import uuid
from collections.abc import Mapping

from executions.context import Context
from executions.errors import ConversationBusy, ConversationNotFound
from executions.models import Conversation


def create_conversation(
    *, tenant_id: uuid.UUID, metadata: Mapping[str, str] | None = None
) -> Conversation:
    """Create a conversation without runs."""
    conversation = Conversation.objects.create(tenant_id=tenant_id, metadata=metadata)
    conversation.refresh_from_db()
    return conversation


def get_conversation(tenant_id: uuid.UUID, conversation_id: uuid.UUID) -> Conversation:
    """Return a conversation of the tenant. Raises ConversationNotFound, also for one of another tenant."""
    found = Conversation.objects.filter(tenant_id=tenant_id, pk=conversation_id).first()
    if found is None:
        raise ConversationNotFound(conversation_id=str(conversation_id))
    return found


def delete_conversation(conversation: Conversation) -> None:
    """Delete a conversation. Its executions stay in the history, and a run in progress continues."""
    conversation.delete()


def append(conversation_id: uuid.UUID, execution_id: uuid.UUID, context: Context) -> None:
    """Make a new execution the latest one of a conversation, in the transaction that stores it.

    Raises ConversationBusy if another run has been stored since the context was read. So each run continues
    the one before it, also if several are requested at the same time.
    """
    unchanged = Conversation.objects.filter(
        pk=conversation_id, latest_execution_id=context.previous_execution_id
    )
    if not unchanged.update(latest_execution_id=execution_id):
        raise ConversationBusy.of(conversation_id, None)
