"""The earlier messages that a run continues: of the executions before it, and of its client.

An exchange is a prompt with all that followed it, to the response. A context consists of whole exchanges.
"""

import uuid
from dataclasses import dataclass

from executions.providers import Message


@dataclass(frozen=True, slots=True)
class Context:
    """What precedes the prompt of a run.

    `earlier_exchanges` is the number of all exchanges before the prompt. Of these, `dropped_exchanges`, the
    oldest, are not in `messages`, because the context was too long.
    """

    messages: tuple[Message, ...] = ()
    previous_execution_id: uuid.UUID | None = None
    conversation_id: uuid.UUID | None = None
    earlier_exchanges: int = 0
    dropped_exchanges: int = 0


NO_CONTEXT = Context()
