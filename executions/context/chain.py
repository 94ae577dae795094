"""The executions that a run continues, read in two queries, however many there are."""

import uuid
from collections.abc import Iterator
from typing import Any

from executions.context.exchanges import Exchange, of_client, of_run
from executions.models import Execution
from executions.records import responses_and_results

# Of one context. The client may have sent more.
MAX_EXECUTIONS = 1_000
UNLIMITED = 2**40

# From the newest execution to the older ones, until their characters exceed the maximum: the execution that
# exceeds it is the last one. The characters are those of `exchanges.characters`, and those of a response
# that was repeated. The ORM has no recursive queries.
_SIZE = """
LATERAL (
    SELECT (
        length(execution.prompt) + COALESCE(
            (
                SELECT SUM(
                    length(step.output) + length(step.extra) + COALESCE(
                        (
                            SELECT SUM(length(call ->> 'arguments'))
                            FROM jsonb_array_elements(step.tool_calls) call
                        ), 0
                    )
                )
                FROM executions_step step
                WHERE step.execution_id = execution.id AND (step.kind = 'tool' OR step.error = '')
            ), length(execution.response)
        )
    )::bigint AS run,
    (
        SELECT COALESCE(SUM(length(message ->> 1)), 0)
        FROM jsonb_array_elements(execution.options -> 'messages') message
    )::bigint AS client
) characters
"""
_COLUMNS = """
execution.id, execution.previous_execution_id, execution.earlier_exchanges, execution.status, execution.model,
execution.prompt, execution.response, execution.options, characters.run AS characters
"""
_CHAIN = f"""
WITH RECURSIVE chain AS (
    SELECT {_COLUMNS}, 1 AS number, characters.run + characters.client AS total
    FROM executions_execution execution, {_SIZE}
    WHERE execution.id = %(execution_id)s AND execution.tenant_id = %(tenant_id)s
UNION ALL
    SELECT {_COLUMNS}, chain.number + 1, chain.total + characters.run + characters.client
    FROM chain
    JOIN executions_execution execution ON execution.id = chain.previous_execution_id, {_SIZE}
    WHERE execution.tenant_id = %(tenant_id)s AND execution.earlier_exchanges >= %(first_exchange)s
    AND chain.total <= %(max_characters)s AND chain.number < %(max_executions)s
)
SELECT * FROM chain ORDER BY number
"""  # noqa: S608  of constants


def chain(
    tenant_id: uuid.UUID,
    execution_id: uuid.UUID,
    *,
    max_characters: int = UNLIMITED,
    first_exchange: int = 0,
) -> list[Any]:
    """Return an execution of the tenant and those that it continues, the newest first.

    They end with the one that exceeds `max_characters`, or that has the exchange with this number. They have
    the columns of an exchange, and its `characters`. The list is empty if the tenant has no such execution.
    """
    parameters = {
        "tenant_id": tenant_id,
        "execution_id": execution_id,
        "max_characters": max_characters,
        "first_exchange": first_exchange,
        "max_executions": MAX_EXECUTIONS,
    }
    return [*Execution.objects.raw(_CHAIN, parameters)]


def exchanges(executions: list[Any], model_name: str) -> Iterator[Exchange]:
    """Yield the exchanges of executions, the newest first, for a request to this model."""
    steps = responses_and_results(execution.pk for execution in executions)
    for execution in executions:
        exchange = of_run(
            execution, steps.get(execution.pk, []), keep_extra=execution.model == model_name
        )
        yield Exchange(exchange.messages, max(exchange.characters, execution.characters))
        yield from reversed(of_client((execution.options or {}).get("messages", ())))
