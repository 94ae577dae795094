"""Running an agent: the model is asked, the record is committed, and only then is there an answer."""

import logging
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any

from django.conf import settings
from django.db import DatabaseError

from agents import language_models
from agents.language_models import KnownModel
from executions import queries, snapshots
from executions.errors import ModelFailed, ModelTimedOut, PromptTooLong
from executions.loop import Loop, LoopTool, Outcome
from executions.models import Execution
from executions.providers import (
    Message,
    ModelError,
    ModelTimeout,
    Provider,
    Question,
    Reply,
    is_imported,
    provider,
)
from executions.records import Record
from executions.snapshots import Snapshot
from map_project.api.errors import ApiError, ValidationFailed
from map_project.api.ids import uuid7
from map_project.postgresql.compiled import CompiledInsert
from map_project.postgresql.connections import released_connection
from map_project.tenants.authentication import Caller
from tools import invokers
from tools.invokers import CallableTool, ToolResult

logger = logging.getLogger("map.runs")

# Of a run that names no model, where the agent has none of its own.
MODEL_REQUIRED = "This field is required."


@dataclass(frozen=True, slots=True)
class Asked:
    """What a run is asked, of which agent, of which model, in which request."""

    agent: Snapshot
    model: KnownModel
    prompt: str
    request_id: str


@dataclass(frozen=True, slots=True)
class Run:
    """A run that is on record: what was asked, and how it ended."""

    id: uuid.UUID
    asked: Asked
    response: str
    created_at: datetime
    status: str = Execution.Status.SUCCEEDED.value
    stop_reason: str = "completed"


def run_agent(
    *, caller: Caller, agent_id: uuid.UUID, prompt: str, model: str | None, request_id: str
) -> Run:
    """Runs the agent on the model of this name, or on its own; the execution is committed when this
    returns.

    Raises Agent.DoesNotExist where the tenant has no such agent; ApiError `VALIDATION_ERROR`,
    `PROMPT_TOO_LONG`, `INVALID_MODEL` before anything is done, `MODEL_ERROR` and `MODEL_TIMEOUT` once
    the failed run is on record; django.db.DatabaseError where the record could not be written.
    """
    while True:
        agent = snapshots.snapshot(caller.tenant_id, agent_id)
        try:
            found = _model(agent, prompt, model, caller)
        except ApiError:
            # A snapshot is not believed: what is wrong with the agent goes first, and its model may
            # be another by now.
            if snapshots.read(caller.tenant_id, agent_id).version == agent.version:
                raise
        else:
            run = _run(Asked(agent, found, prompt, request_id))
            if run is not None:
                return run
        # Somebody changed the agent since it was read, and that change is committed.
        snapshots.forget(agent)


def _model(agent: Snapshot, prompt: str, name: str | None, caller: Caller) -> KnownModel:
    name = agent.model if name is None else name
    if name is None:
        raise ValidationFailed(fields={"model": [MODEL_REQUIRED]})
    length, allowed = len(prompt), settings.MAX_PROMPT_LENGTH
    if length > allowed:
        raise PromptTooLong(
            f"The prompt has {length} characters; the maximum is {allowed}.",
            provided_length=length,
            max_length=allowed,
        )
    return language_models.find(name, caller.allowed_models)


def _run(asked: Asked) -> Run | None:
    """One try; None, and nothing is on record, where the snapshot is old."""
    question = _question(asked)
    asks = _provider(asked.model.provider)
    if asks.stays_here(question):
        return _run_here(asked, asks, question)
    return _run_outside(asked, asks, question)


def _provider(name: str) -> Provider:
    if is_imported(name):
        return provider(name)
    with released_connection():
        return provider(name)


def _question(asked: Asked) -> Question:
    agent, model = asked.agent, asked.model
    limits = (agent.max_output_tokens, model.max_output_tokens)
    return Question(
        model=model,
        asker=agent.asker,
        system_prompt=agent.system_prompt,
        messages=(Message("user", asked.prompt),),
        tools=agent.definitions,
        temperature=agent.temperature,
        max_output_tokens=min((limit for limit in limits if limit is not None), default=None),
        deadline=time.monotonic() + settings.RUN_TIMEOUT_SECONDS,
    )


def _run_here(asked: Asked, asks: Provider, question: Question) -> Run | None:
    """Nobody is waited for: the record is one statement, once the answer is there."""
    started = time.perf_counter()
    response = asks.ask(question).text
    return _recorded(queries.RECORD, asked, response=response, latency_ms=_ms_since(started))


def _run_outside(asked: Asked, asks: Provider, question: Question) -> Run | None:
    """On record before it leaves, and step by step; without a connection while it waits."""
    started = time.perf_counter()
    run = _recorded(queries.BEGIN, asked, response="", latency_ms=0)
    if run is None:
        return None
    record = Record(run.id, asked.model)
    try:
        outcome = _looped(asked, asks, question, record)
        ended = record.end(outcome, latency_ms=_ms_since(started))
    except Exception:
        with suppress(DatabaseError):
            record.fail(latency_ms=_ms_since(started))
        raise
    if outcome.error is not None:
        logger.warning("the model %s failed run %s: %s", asked.model.name, run.id, outcome.error)
        raise _failed(outcome.error)
    if not ended:
        raise _failed(ModelTimeout("taken for lost", provider=asked.model.provider))
    return replace(
        run,
        response=outcome.response,
        status=outcome.status,
        stop_reason=outcome.stop_reason,
    )


def _looped(asked: Asked, asks: Provider, question: Question, record: Record) -> Outcome:
    def ask(messages: tuple[Message, ...]) -> Reply:
        with released_connection():
            return asks.ask(replace(question, messages=messages))

    loop = Loop(
        ask=ask,
        model_name=asked.model.name,
        tools={
            alias: LoopTool(tool.name, partial(_call, tool, deadline=question.deadline))
            for alias, tool in asked.agent.callable_tools.items()
        },
        max_steps=asked.agent.max_steps,
        deadline=question.deadline,
    )
    steps = loop.run(asked.prompt)
    while True:
        try:
            record.add(next(steps))
        except StopIteration as end:
            outcome: Outcome = end.value
            return outcome


def _call(tool: CallableTool, arguments: str, *, deadline: float) -> ToolResult:
    with released_connection():
        return invokers.call(tool, arguments, deadline=deadline)


def _recorded(
    insert: CompiledInsert, asked: Asked, *, response: str, latency_ms: int
) -> Run | None:
    """None where the agent is another by now, and nothing was written."""
    agent, execution_id = asked.agent, uuid7()
    rows = insert(
        id=execution_id,
        tenant_id=agent.tenant_id,
        agent_id=agent.agent_id,
        version=agent.version,
        prompt=asked.prompt,
        model=asked.model.name,
        provider=asked.model.provider,
        system_prompt=agent.system_prompt,
        response=response,
        latency_ms=latency_ms,
        request_id=asked.request_id,
    )
    return Run(execution_id, asked, response, rows[0]["created_at"]) if rows else None


def _failed(error: ModelError) -> ApiError:
    details: dict[str, Any] = {
        "provider": error.provider,
        "status": error.status,
        "retryable": error.retryable,
    }
    return (ModelTimedOut if isinstance(error, ModelTimeout) else ModelFailed)(**details)


def _ms_since(started: float) -> int:
    return round((time.perf_counter() - started) * 1000)
