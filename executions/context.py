"""The earlier messages that a run continues: of the executions before it, or of the client."""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass

from executions.providers import Message


@dataclass(frozen=True, slots=True)
class Context:
    """What precedes the prompt of a run.

    `dropped_exchanges` is the number of the oldest exchanges that were left out, because the context was too
    long.
    """

    messages: tuple[Message, ...] = ()
    previous_execution_id: uuid.UUID | None = None
    conversation_id: uuid.UUID | None = None
    dropped_exchanges: int = 0


NO_CONTEXT = Context()


def of_client(messages: Iterable[tuple[str, str]]) -> tuple[Message, ...]:
    """Return earlier messages that the client has sent."""
    return tuple(
        Message("assistant" if role == "assistant" else "user", text) for role, text in messages
    )
