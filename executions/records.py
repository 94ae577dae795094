"""The record of a run: its insert, its steps and its end.

The insert is the only SQL text of the run path: the ORM has no `INSERT ... SELECT`, with which one statement
stores a run and checks that the cached agent is current. tests/integration/test_records.py compares its row
with one that the ORM inserts.
"""

import uuid
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db import connection

from agents.language_models import KnownModel
from executions import loop
from executions.models import Execution, Step
from executions.providers import ModelError
from executions.snapshots import AgentSnapshot
from executions.stop_reasons import StopReason
from executions.texts import storable

MAX_ERROR_LENGTH = 100
_TOKENS_PER_PRICE = 1_000_000

# The SELECT finds no row if the agent has another version: nothing is inserted.
_INSERT_EXECUTION = """
INSERT INTO executions_execution (
    id, tenant_id, agent_id, agent_name, prompt, model, provider, system_prompt, response,
    status, stop_reason, error_code, latency_ms, request_id, key_prefix, finish_by
)
SELECT
    %(execution_id)s, tenant_id, id, name, %(prompt)s, %(model)s, %(provider)s, %(system_prompt)s,
    %(response)s, %(status)s, %(stop_reason)s, '', %(latency_ms)s, %(request_id)s,
    %(key_prefix)s, STATEMENT_TIMESTAMP() + %(time_limit)s::interval
FROM agents_agent
WHERE id = %(agent_id)s AND tenant_id = %(tenant_id)s AND version = %(version)s
RETURNING created_at
"""


@dataclass(frozen=True, slots=True)
class RunRequest:
    """A valid request for a run."""

    agent: AgentSnapshot
    model: KnownModel
    prompt: str
    request_id: str
    key_prefix: str = ""


def insert_execution(
    execution_id: uuid.UUID,
    request: RunRequest,
    *,
    status: Execution.Status,
    stop_reason: str = "",
    response: str = "",
    latency_ms: int = 0,
    time_limit: timedelta | None = None,
) -> datetime | None:
    """Insert an execution and return its `created_at`, or None if the agent has changed since the snapshot.

    Raises DatabaseError.
    """
    parameters: dict[str, Any] = {
        "execution_id": execution_id,
        "tenant_id": request.agent.tenant_id,
        "agent_id": request.agent.agent_id,
        "version": request.agent.version,
        "prompt": request.prompt,
        "model": request.model.name,
        "provider": request.model.provider,
        "system_prompt": request.agent.system_prompt,
        "response": response,
        "status": status.value,
        "stop_reason": stop_reason,
        "latency_ms": latency_ms,
        "request_id": request.request_id,
        "key_prefix": request.key_prefix,
        "time_limit": time_limit,
    }
    with connection.cursor() as cursor:
        cursor.execute(_INSERT_EXECUTION, parameters)
        row = cursor.fetchone()
    return row[0] if row else None


@dataclass(slots=True)
class RunRecord:
    """An execution with the status `running`, until `finish` or `fail`.

    Between the statements the run holds no database connection (see `executions.services`).
    """

    execution_id: uuid.UUID
    model: KnownModel
    _step_count: int = field(default=0)

    def add_step(self, step: loop.Step) -> None:
        """Insert a step. Raises DatabaseError."""
        columns = {each.name: getattr(step, each.name) for each in fields(step)}
        columns["error"] = step.error[:MAX_ERROR_LENGTH]
        columns["tool_calls"] = [
            {"id": call.id, "name": call.name, "arguments": call.arguments}
            for call in step.tool_calls
        ]
        Step.objects.create(execution_id=self.execution_id, position=self._step_count, **columns)
        self._step_count += 1

    def finish(self, outcome: loop.Outcome, *, latency_ms: int) -> bool:
        """Store the outcome. Return False if the run was marked as lost before. Raises DatabaseError."""
        return self._update(
            status=outcome.status,
            stop_reason=outcome.stop_reason,
            response=outcome.response,
            input_tokens=outcome.input_tokens,
            output_tokens=outcome.output_tokens,
            cost_usd=cost_usd(self.model, outcome.input_tokens, outcome.output_tokens),
            latency_ms=latency_ms,
            **(_error_columns(outcome.error) if outcome.error else {}),
        )

    def fail(self, *, latency_ms: int) -> bool:
        """Store an internal error. Raises DatabaseError."""
        return self._update(
            status=Execution.Status.FAILED,
            stop_reason=StopReason.INTERNAL_ERROR,
            error_code="INTERNAL_ERROR",
            latency_ms=latency_ms,
        )

    def _update(self, **values: object) -> bool:
        running = Execution.objects.filter(pk=self.execution_id, status=Execution.Status.RUNNING)
        return running.update(**values) == 1


def _error_columns(error: ModelError) -> dict[str, object]:
    return {
        "error_code": error.error_code,
        "error_reason": error.reason,
        "provider_error": {"status": error.status, **error.identifiers},
        "provider_message": storable(error.provider_message),
    }


def cost_usd(
    model: KnownModel, input_tokens: int | None, output_tokens: int | None
) -> Decimal | None:
    """Return the cost at the model's prices, or None if a count or a price is unknown."""
    input_price, output_price = model.input_price_per_million, model.output_price_per_million
    if input_tokens is None or output_tokens is None or input_price is None or output_price is None:
        return None
    total = input_tokens * input_price + output_tokens * output_price
    return round(total / _TOKENS_PER_PRICE, 9)
