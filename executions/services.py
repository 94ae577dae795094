"""Runs of agents. The response to a run is returned after its execution has been committed."""

import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from django.conf import settings
from django.db import DatabaseError, transaction
from structlog.contextvars import bind_contextvars

from agents import language_models
from agents.language_models import KnownModel
from executions import snapshots
from executions.attempts import model_request_of, run_locally, run_loop
from executions.budgets.reservations import check_budget, reserve_first_call
from executions.context.building import requested_context
from executions.conversations import services as conversations
from executions.costs import cost_usd
from executions.errors import ConversationBusy, OutputInvalid, PromptTooLong, QueueFull
from executions.failures import model_failure
from executions.inserts import RunRequest, insert_execution
from executions.jobs import leases
from executions.jobs.queue import enqueue
from executions.models import Execution
from executions.options import NO_OPTIONS, RunOptions
from executions.providers import ModelRequest, ModelTimeout, Provider, get_provider
from executions.records import RETRY_DELAYS_SECONDS, RunRecord
from executions.results import Run
from executions.snapshots import AgentSnapshot
from executions.stop_reasons import StopReason
from executions.streams import RunStream
from map_project.api.constraints import constraint_errors
from map_project.api.errors import ApiError, ValidationFailed
from map_project.api.ids import uuid7
from map_project.tenants.authentication import Caller
from map_project.tenants.models import Tenant
from ratelimit.errors import IdempotencyInProgress
from ratelimit.idempotency import KeyedRequest

# The error of a run without `model` on an agent without a default model.
MODEL_REQUIRED = "This field is required."


def run_agent(
    *,
    caller: Caller,
    agent_id: uuid.UUID,
    prompt: str,
    model: str | None,
    request_id: str,
    background: bool = False,
    stream: bool = False,
    metadata: Mapping[str, str] | None = None,
    previous_execution_id: uuid.UUID | None = None,
    conversation_id: uuid.UUID | None = None,
    options: RunOptions = NO_OPTIONS,
    output_schema: Mapping[str, Any] | None = None,
    keyed_request: KeyedRequest | None = None,
) -> Run:
    """Run an agent on the named model (None: the agent's default), and commit the execution.

    In the background, a worker runs it, and the returned run is queued. With `stream`, its events are stored,
    and the caller has to run the `stream` of the returned run. `keyed_request` is stored with the execution.
    The run continues the previous execution or the conversation, of which at most one is given.
    `output_schema` (None: the agent's) has to be valid.

    Raises Agent.DoesNotExist if the tenant has no such agent, ApiError for an invalid request (nothing is
    stored) or a failure of the model (the failed run is stored), and DatabaseError if the execution cannot
    be stored.
    """
    while True:
        agent = snapshots.get(caller.tenant_id, agent_id)
        try:
            known_model = _validate(agent, prompt, model, caller)
            context = requested_context(
                tenant_id=caller.tenant_id,
                model_name=known_model.name,
                max_characters=agent.max_context_characters,
                previous_execution_id=previous_execution_id,
                conversation_id=conversation_id,
                options=options,
            )
        except ApiError:
            # The snapshot may be outdated: the agent may be deleted, or have another model or limit.
            if snapshots.read(caller.tenant_id, agent_id).version == agent.version:
                raise
        else:
            request = RunRequest(
                agent,
                known_model,
                prompt,
                request_id,
                key_prefix=caller.key_prefix,
                has_budget=caller.has_budget,
                metadata=metadata,
                keyed_request=keyed_request,
                context=context,
                options=options,
                output_schema=agent.output_schema if output_schema is None else output_schema,
                stream=stream,
            )
            run = _queue(request, caller) if background else _run(request)
            if run is not None:
                bind_contextvars(execution_id=str(run.id))
                return run
        # The agent has changed since the snapshot. The next iteration reads it again.
        snapshots.discard(agent)


def _validate(agent: AgentSnapshot, prompt: str, name: str | None, caller: Caller) -> KnownModel:
    """Return the model of the run. Raises ApiError."""
    name = agent.model if name is None else name
    if name is None:
        raise ValidationFailed(fields={"model": [MODEL_REQUIRED]})
    length, max_length = len(prompt), settings.MAX_PROMPT_LENGTH
    if length > max_length:
        raise PromptTooLong(
            f"The prompt is too long: {length:,} characters (maximum {max_length:,}).",
            provided_length=length,
            max_length=max_length,
        )
    return language_models.find(name, caller.allowed_models)


def _run(request: RunRequest) -> Run | None:
    """Make one attempt. Return None, and store nothing, if the snapshot is outdated."""
    model_request = model_request_of(request)
    provider = get_provider(request.model.provider)
    if provider.is_local(model_request):
        return _run_locally(request, provider, model_request)
    return _run_in_steps(request, provider, model_request)


@transaction.atomic
def _queue(request: RunRequest, caller: Caller) -> Run | None:
    """Store the execution and its job. Return None, and store nothing, if the snapshot is outdated."""
    if request.is_budgeted and not _is_local(request):
        check_budget(caller.tenant_id)
    # The lock makes the limit exact.
    Tenant.objects.select_for_update(no_key=True).get(pk=caller.tenant_id)
    queued = Execution.objects.filter(tenant_id=caller.tenant_id, status=Execution.Status.QUEUED)
    if queued.count() >= caller.max_queued_runs:
        raise QueueFull.of(caller.max_queued_runs)
    execution_id, status = uuid7(), Execution.Status.QUEUED
    created_at = _insert(execution_id, request, status=status)
    if created_at is None:
        return None
    enqueue(execution_id)
    return Run.of_request(
        execution_id, request, created_at, response="", latency_ms=0, status=status.value
    )


def _is_local(request: RunRequest) -> bool:
    return get_provider(request.model.provider).is_local(model_request_of(request))


def _insert(execution_id: uuid.UUID, request: RunRequest, **columns: Any) -> datetime | None:
    """Insert an execution, its place in a conversation, and the request with an idempotency key.

    As `insert_execution`. Raises IdempotencyInProgress if another request has stored the key since the
    limiter was asked, and ConversationBusy.
    """
    keyed_request, conversation_id = request.keyed_request, request.context.conversation_id
    if keyed_request is None and conversation_id is None:
        return insert_execution(execution_id, request, **columns)
    errors: dict[str, ApiError] = {
        "idempotency_key_unique": IdempotencyInProgress.of(None),
        "conversation_busy": ConversationBusy.of(conversation_id, None),
    }
    with constraint_errors(errors), transaction.atomic():
        created_at = insert_execution(execution_id, request, **columns)
        if created_at is not None and keyed_request is not None:
            keyed_request.store(execution_id)
        if created_at is not None and conversation_id is not None:
            conversations.append(conversation_id, execution_id, request.context)
        return created_at


def _run_locally(
    request: RunRequest, provider: Provider, model_request: ModelRequest
) -> Run | None:
    """Store the execution once it is over: one statement."""
    started, execution_id = time.perf_counter(), uuid7()
    response = run_locally(request, provider, model_request, execution_id).response
    latency_ms = _ms_since(started)
    created_at = _insert(
        execution_id,
        request,
        status=Execution.Status.SUCCEEDED,
        stop_reason=StopReason.COMPLETED.value,
        response=response,
        latency_ms=latency_ms,
    )
    if created_at is None:
        return None
    return Run.of_request(
        execution_id, request, created_at, response=response, latency_ms=latency_ms
    )


def _run_in_steps(
    request: RunRequest, provider: Provider, model_request: ModelRequest
) -> Run | None:
    """Store the execution before the first remote call, and each step as it happens."""
    execution_id, limit = uuid7(), timedelta(seconds=settings.RUN_TIMEOUT_SECONDS)
    insert = partial(
        _insert, execution_id, request, status=Execution.Status.RUNNING, time_limit=limit
    )
    if request.is_budgeted:
        created_at = reserve_first_call(request, model_request, execution_id, insert)
        # The time limit begins after the wait for the budget.
        model_request = model_request_of(request)
    else:
        created_at = insert()
    if created_at is None:
        return None
    started = time.perf_counter()
    record = RunRecord(execution_id, request.agent.tenant_id, request.model)
    record.is_budgeted = record.has_reservation = request.is_budgeted
    if request.stream:
        record.retry_delays_seconds = RETRY_DELAYS_SECONDS
        stream = RunStream(request, provider, model_request, record)
        return Run.of_request(
            execution_id,
            request,
            created_at,
            response="",
            latency_ms=0,
            status=Execution.Status.RUNNING.value,
            stop_reason="",
            stream=stream,
        )
    try:
        with leases.extended(execution_id):
            outcome = run_loop(request, provider, model_request, record)
            latency_ms = _ms_since(started)
            record.finish(outcome, latency_ms=latency_ms)
    except leases.LeaseLost:
        return _ended_elsewhere(execution_id, request)
    except Exception:
        with suppress(DatabaseError, leases.LeaseLost):
            record.fail(latency_ms=_ms_since(started))
        raise
    if outcome.open_calls:
        return Run.of_execution(Execution.objects.get(pk=execution_id))
    if outcome.error is not None:
        raise model_failure(execution_id, outcome.error)
    if outcome.output_errors:
        raise OutputInvalid(execution_id=str(execution_id), errors=[*outcome.output_errors])
    return Run.of_request(
        execution_id,
        request,
        created_at,
        response=outcome.response,
        output=outcome.output,
        latency_ms=latency_ms,
        status=outcome.status,
        stop_reason=outcome.stop_reason,
        input_tokens=outcome.input_tokens,
        output_tokens=outcome.output_tokens,
        cost_usd=cost_usd(request.model, outcome.input_tokens, outcome.output_tokens),
    )


def _ended_elsewhere(execution_id: uuid.UUID, request: RunRequest) -> Run:
    """Return the run as another process has ended it: it was cancelled, or this process stood still.

    Or it waits for approvals, and the response to the statement that stored this was lost.
    """
    execution = Execution.objects.get(pk=execution_id)
    if execution.status not in {Execution.Status.CANCELLED, Execution.Status.REQUIRES_ACTION}:
        raise model_failure(
            execution_id, ModelTimeout("the run was lost", provider=request.model.provider)
        )
    return Run.of_execution(execution)


def _ms_since(started: float) -> int:
    return round((time.perf_counter() - started) * 1000)
