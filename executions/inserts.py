"""The request for a run, and the insert of its execution.

The insert is the only SQL text of the path of a run without a budget: the ORM has no `INSERT ... SELECT`,
with which one statement stores a run and checks that the cached agent is current.
tests/integration/test_records.py compares its row with one that the ORM inserts.
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import orjson
from django.db import connection
from psycopg.types.json import Jsonb

from agents.language_models import KnownModel
from executions.context import NO_CONTEXT, Context
from executions.costs import has_prices
from executions.jobs import leases
from executions.models import Execution
from executions.options import NO_OPTIONS, RunOptions
from executions.snapshots import AgentSnapshot
from ratelimit.idempotency import KeyedRequest

# The SELECT finds no row if the agent has another version: nothing is inserted. For a run that is over, also
# inserts the deliveries of its event to webhooks, as `map_project.webhooks.services.record_event` does.
_INSERT_EXECUTION = """
WITH execution AS (
INSERT INTO executions_execution (
    id, tenant_id, agent_id, agent_name, prompt, model, provider, system_prompt, response,
    status, stop_reason, error_code, latency_ms, request_id, key_prefix, background, attempt,
    started_at, finished_at, finish_by, lease_owner, lease_expires_at, metadata, idempotency_key,
    previous_execution_id, conversation_id, earlier_exchanges, dropped_exchanges, options,
    output_schema, is_streamed, reserved_usd
)
SELECT
    %(execution_id)s, tenant_id, id, name, %(prompt)s, %(model)s, %(provider)s, %(system_prompt)s,
    %(response)s, %(status)s, %(stop_reason)s, '', %(latency_ms)s, %(request_id)s,
    %(key_prefix)s, %(background)s, %(attempt)s,
    CASE WHEN %(is_started)s THEN STATEMENT_TIMESTAMP() END,
    CASE WHEN %(is_finished)s THEN STATEMENT_TIMESTAMP() END,
    STATEMENT_TIMESTAMP() + %(time_limit)s::interval,
    %(lease_owner)s, STATEMENT_TIMESTAMP() + %(lease)s::interval, %(metadata)s, %(idempotency_key)s,
    %(previous_execution_id)s, %(conversation_id)s, %(earlier_exchanges)s, %(dropped_exchanges)s,
    %(options)s, %(output_schema)s, %(is_streamed)s, %(reserved_usd)s::numeric
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
    context: Context = NO_CONTEXT
    options: RunOptions = NO_OPTIONS
    output_schema: Mapping[str, Any] | None = None
    stream: bool = False
    # Whether the tenant had a budget when the run, or its attempt in a worker, began.
    has_budget: bool = False

    @property
    def is_budgeted(self) -> bool:
        """Whether a budget limits the calls of the model. Without prices they cost nothing."""
        return self.has_budget and has_prices(self.model)

    @property
    def system_prompt(self) -> str:
        """The agent's, and the instructions of the request."""
        parts = (self.agent.system_prompt, self.options.instructions)
        return "\n\n".join(filter(None, parts))


def insert_execution(
    execution_id: uuid.UUID,
    request: RunRequest,
    *,
    status: Execution.Status,
    stop_reason: str = "",
    response: str = "",
    latency_ms: int = 0,
    time_limit: timedelta | None = None,
    reserved_usd: Decimal | None = None,
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
        "system_prompt": request.system_prompt,
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
        "metadata": _jsonb(request.metadata),
        "previous_execution_id": request.context.previous_execution_id,
        "conversation_id": request.context.conversation_id,
        "earlier_exchanges": request.context.earlier_exchanges,
        "dropped_exchanges": request.context.dropped_exchanges,
        "options": _jsonb(request.options.as_json()),
        "output_schema": _json(request.output_schema),
        # The events of a run that is over follow from its response.
        "is_streamed": request.stream and (is_queued or is_running),
        "reserved_usd": reserved_usd,
        "idempotency_key": request.keyed_request.key if request.keyed_request else "",
    }
    with connection.cursor() as cursor:
        cursor.execute(_INSERT_EXECUTION, parameters)
        row = cursor.fetchone()
    return row[0] if row else None


def _jsonb(value: object) -> Jsonb | None:
    return None if value is None else Jsonb(value)


def _json(value: object) -> str | None:
    return None if value is None else orjson.dumps(value).decode()
