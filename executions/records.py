"""The record of a run: its insert, its steps and its end.

The insert is the only SQL text of the run path: the ORM has no `INSERT ... SELECT`, with which one statement
stores a run and checks that the cached agent is current. tests/integration/test_records.py compares its row
with one that the ORM inserts.
"""

import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any

from django.db import connection, transaction
from django.db.models import F, IntegerField
from django.db.models.functions import Cast, Coalesce, Extract, Now
from psycopg.types.json import Jsonb

from agents.language_models import KnownModel
from executions import loop
from executions.jobs import leases
from executions.models import Execution, Step
from executions.providers import ModelError, ToolCall
from executions.snapshots import AgentSnapshot
from executions.stop_reasons import StopReason
from executions.texts import storable
from map_project.postgresql.connections import with_retries
from map_project.webhooks.services import record_event
from ratelimit.idempotency import KeyedRequest

MAX_ERROR_LENGTH = 100
_TOKENS_PER_PRICE = 1_000_000

# The SELECT finds no row if the agent has another version: nothing is inserted. For a run that is over, also
# inserts the deliveries of its event to webhooks, as `map_project.webhooks.services.record_event` does.
_INSERT_EXECUTION = """
WITH execution AS (
INSERT INTO executions_execution (
    id, tenant_id, agent_id, agent_name, prompt, model, provider, system_prompt, response,
    status, stop_reason, error_code, latency_ms, request_id, key_prefix, background, attempt,
    started_at, finished_at, finish_by, lease_owner, lease_expires_at, metadata, idempotency_key
)
SELECT
    %(execution_id)s, tenant_id, id, name, %(prompt)s, %(model)s, %(provider)s, %(system_prompt)s,
    %(response)s, %(status)s, %(stop_reason)s, '', %(latency_ms)s, %(request_id)s,
    %(key_prefix)s, %(background)s, %(attempt)s,
    CASE WHEN %(is_started)s THEN STATEMENT_TIMESTAMP() END,
    CASE WHEN %(is_finished)s THEN STATEMENT_TIMESTAMP() END,
    STATEMENT_TIMESTAMP() + %(time_limit)s::interval,
    %(lease_owner)s, STATEMENT_TIMESTAMP() + %(lease)s::interval, %(metadata)s, %(idempotency_key)s
FROM agents_agent
WHERE id = %(agent_id)s AND tenant_id = %(tenant_id)s AND version = %(version)s
RETURNING id, tenant_id, created_at
), delivery AS (
INSERT INTO webhooks_webhookdelivery (id, tenant_id, endpoint_id, event_type, execution_id)
SELECT gen_random_uuid(), execution.tenant_id, endpoint.id, %(event_type)s, execution.id
FROM execution JOIN webhooks_webhookendpoint endpoint ON endpoint.tenant_id = execution.tenant_id
WHERE %(is_finished)s AND endpoint.is_active AND endpoint.event_types && ARRAY['*', %(event_type)s]::varchar[]
)
SELECT created_at FROM execution
"""


@dataclass(frozen=True, slots=True)
class RunRequest:
    """A valid request for a run."""

    agent: AgentSnapshot
    model: KnownModel
    prompt: str
    request_id: str
    key_prefix: str = ""
    metadata: Mapping[str, str] | None = None
    keyed_request: KeyedRequest | None = None


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

    A running one has a lease of this process. Raises DatabaseError.
    """
    is_running, is_queued = status == Execution.Status.RUNNING, status == Execution.Status.QUEUED
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
        "background": is_queued,
        "attempt": 0 if is_queued else 1,
        "event_type": f"execution.{status.value}",
        "is_started": not is_queued,
        "is_finished": not (is_queued or is_running),
        "time_limit": time_limit,
        "lease_owner": leases.owner() if is_running else "",
        "lease": leases.LEASE if is_running else None,
        "metadata": None if request.metadata is None else Jsonb(request.metadata),
        "idempotency_key": request.keyed_request.key if request.keyed_request else "",
    }
    with connection.cursor() as cursor:
        cursor.execute(_INSERT_EXECUTION, parameters)
        row = cursor.fetchone()
    return row[0] if row else None


@dataclass(slots=True)
class RunRecord:
    """The record of one attempt of a run, until `finish` or `fail`.

    Each method raises LeaseLost, and writes nothing, if this process does not hold the lease of the attempt.
    Between the statements the run holds no database connection (see `executions.services`).
    `position` is the position of the next step. While the database is not available, a write is repeated
    after `retry_delays_seconds`.
    """

    execution_id: uuid.UUID
    tenant_id: uuid.UUID
    model: KnownModel
    attempt: int = 1
    position: int = 0
    retry_delays_seconds: Sequence[float] = ()

    def add_step(self, step: loop.Step) -> None:
        """Store a step: once it is over, and that of a tool also before the call. Raises DatabaseError."""
        with_retries(partial(self._store_step, step), self.retry_delays_seconds)
        if not step.is_running:
            self.position += 1

    def finish(self, outcome: loop.Outcome, *, latency_ms: int | None = None) -> None:
        """Store the outcome, and by default the time since the first start. Raises DatabaseError."""
        self._end(
            status=outcome.status,
            stop_reason=outcome.stop_reason,
            response=outcome.response,
            input_tokens=outcome.input_tokens,
            output_tokens=outcome.output_tokens,
            cost_usd=cost_usd(self.model, outcome.input_tokens, outcome.output_tokens),
            latency_ms=latency_since_start() if latency_ms is None else latency_ms,
            **(_error_columns(outcome.error) if outcome.error else {}),
        )

    def fail(self, *, latency_ms: int | None = None) -> None:
        """Store an internal error. Raises DatabaseError."""
        self._end(
            status=Execution.Status.FAILED,
            stop_reason=StopReason.INTERNAL_ERROR,
            error_code="INTERNAL_ERROR",
            latency_ms=latency_since_start() if latency_ms is None else latency_ms,
        )

    def _end(self, **values: Any) -> None:
        with_retries(partial(self._store_end, values), self.retry_delays_seconds)

    @transaction.atomic
    def _store_end(self, values: Mapping[str, Any]) -> None:
        lease = leases.held(self.execution_id, self.attempt)
        if not lease.update(finished_at=Now(), **values):
            raise leases.LeaseLost
        record_event(
            tenant_id=self.tenant_id,
            execution_id=self.execution_id,
            event_type=f"execution.{values['status']}",
        )

    def _store_step(self, step: loop.Step) -> None:
        columns = _step_columns(step)
        row = Step(execution_id=self.execution_id, position=self.position, **columns)
        with self._lease():
            # Replaces the step of the same call, also that of an earlier attempt.
            Step.objects.bulk_create(
                [row],
                update_conflicts=True,
                unique_fields=["execution", "position"],
                update_fields=[*columns],
            )

    @contextmanager
    def _lease(self) -> Iterator[None]:
        """Keep the execution from being changed during the block."""
        lease = leases.held(self.execution_id, self.attempt)
        with transaction.atomic():
            if not lease.select_for_update(no_key=True).values_list("pk"):
                raise leases.LeaseLost
            yield


def _step_columns(step: loop.Step) -> dict[str, Any]:
    columns = {each.name: getattr(step, each.name) for each in fields(step)}
    columns["error"] = step.error[:MAX_ERROR_LENGTH]
    columns["tool_calls"] = [
        {"id": call.id, "name": call.name, "arguments": call.arguments} for call in step.tool_calls
    ]
    extras = [step.extra, *(call.extra for call in step.tool_calls)]
    columns["extra"] = json.dumps(extras, ensure_ascii=False) if any(extras) else ""
    return columns


def recorded_steps(execution_id: uuid.UUID) -> list[loop.Step]:
    """Return the steps of a run that are over, in order. Raises DatabaseError."""
    rows = Step.objects.filter(execution_id=execution_id, is_running=False).order_by("position")
    return [_recorded_step(row) for row in rows]


def _recorded_step(row: Step) -> loop.Step:
    columns: dict[str, Any] = {each.name: getattr(row, each.name) for each in fields(loop.Step)}
    no_extras: list[dict[str, Any]] = [{} for _ in range(1 + len(row.tool_calls))]
    extra, *extras = json.loads(row.extra) if row.extra else no_extras
    calls = zip(row.tool_calls, extras, strict=True)
    columns["extra"] = extra
    columns["tool_calls"] = tuple(ToolCall(**call, extra=fields) for call, fields in calls)
    return loop.Step(**columns)


def _error_columns(error: ModelError) -> dict[str, object]:
    return {
        "error_code": error.error_code,
        "error_reason": error.reason,
        "provider_error": {"status": error.status, **error.identifiers},
        "provider_message": storable(error.provider_message),
    }


def latency_since_start() -> Cast:
    """The milliseconds since the execution was first started, or since it was created."""
    started_at = Coalesce(F("started_at"), F("created_at"))
    return Cast(Extract(Now() - started_at, "epoch") * 1000, IntegerField())


def cost_usd(
    model: KnownModel, input_tokens: int | None, output_tokens: int | None
) -> Decimal | None:
    """Return the cost at the model's prices, or None if a count or a price is unknown."""
    input_price, output_price = model.input_price_per_million, model.output_price_per_million
    if input_tokens is None or output_tokens is None or input_price is None or output_price is None:
        return None
    total = input_tokens * input_price + output_tokens * output_price
    return round(total / _TOKENS_PER_PRICE, 9)
