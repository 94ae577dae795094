"""The context of a run: decided when the run is requested, and read again when a worker starts it."""

import uuid
from collections.abc import Iterable
from itertools import chain as concatenated
from itertools import islice

from executions.context import NO_CONTEXT, Context
from executions.context.chain import chain, exchanges
from executions.context.exchanges import Exchange, joined, of_client
from executions.conversations.services import get_conversation
from executions.errors import (
    ContextTooLong,
    ConversationBusy,
    ExecutionNotFound,
    PreviousExecutionNotFinished,
)
from executions.models import Execution
from executions.options import RunOptions

# Of one context.
MAX_EXCHANGES = 1_000


def requested_context(
    *,
    tenant_id: uuid.UUID,
    model_name: str,
    max_characters: int,
    previous_execution_id: uuid.UUID | None,
    conversation_id: uuid.UUID | None,
    options: RunOptions,
) -> Context:
    """Return the context of a new run, of at most `max_characters`.

    The oldest exchanges beyond are left out. It is an error if the latest one alone is longer, or with the
    option `truncation="disabled"`. Raises ApiError.
    """
    own = of_client(options.messages)
    executions = []
    if conversation_id is not None:
        conversation = get_conversation(tenant_id, conversation_id)
        previous_execution_id = conversation.latest_execution_id
    if previous_execution_id is not None:
        executions = chain(tenant_id, previous_execution_id, max_characters=max_characters)
        _check(executions, previous_execution_id, conversation_id)
    elif conversation_id is None and not own:
        return NO_CONTEXT
    newest_first = concatenated(reversed(own), exchanges(executions, model_name))
    kept, length = _fitting(newest_first, max_characters)
    if length is not None and (options.truncation == "disabled" or not kept):
        raise ContextTooLong.of(length, max_characters)
    earlier = len(own) + (executions[0].earlier_exchanges + 1 if executions else 0)
    return Context(
        joined(reversed(kept)),
        previous_execution_id,
        conversation_id,
        earlier_exchanges=earlier,
        dropped_exchanges=earlier - len(kept),
    )


def stored_context(execution: Execution) -> Context:
    """Return the context of a stored execution: the same one, whatever has changed since."""
    own = of_client(RunOptions.of_json(execution.options).messages)
    dropped, earlier = execution.dropped_exchanges, execution.earlier_exchanges
    executions = []
    if execution.previous_execution_id is not None and earlier - dropped > len(own):
        executions = chain(
            execution.tenant_id, execution.previous_execution_id, first_exchange=dropped
        )
    newest_first = concatenated(reversed(own), exchanges(executions, execution.model))
    return Context(
        joined(reversed([*islice(newest_first, earlier - dropped)])),
        execution.previous_execution_id,
        execution.conversation_id,
        earlier_exchanges=earlier,
        dropped_exchanges=dropped,
    )


def _check(
    executions: list[Execution], execution_id: uuid.UUID, conversation_id: uuid.UUID | None
) -> None:
    """Raise ApiError if the execution cannot be continued. Those of other tenants do not exist.

    A conversation whose executions an operator has deleted starts again.
    """
    status = executions[0].status if executions else None
    if conversation_id is not None:
        if status in Execution.UNFINISHED:
            raise ConversationBusy.of(conversation_id, execution_id)
    elif status is None:
        raise ExecutionNotFound(execution_id=str(execution_id))
    elif status in Execution.UNFINISHED:
        raise PreviousExecutionNotFinished(execution_id=str(execution_id), status=status)


def _fitting(
    newest_first: Iterable[Exchange], max_characters: int
) -> tuple[list[Exchange], int | None]:
    """Return the newest exchanges that fit, and the characters with the first one that does not."""
    kept: list[Exchange] = []
    length = 0
    for exchange in newest_first:
        length += exchange.characters
        if length > max_characters or len(kept) >= MAX_EXCHANGES:
            return kept, length
        kept.append(exchange)
    return kept, None
