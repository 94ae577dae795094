"""One attempt of a run: the agent loop with its model, its tools and its record."""

import logging
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

from django.conf import settings

from executions import tracing
from executions.budgets.reservations import reserve_next_call
from executions.context.exchanges import with_prompt
from executions.inserts import RunRequest
from executions.jobs import leases
from executions.loop import Loop, ModelStream
from executions.outcomes import Outcome
from executions.providers import Message, ModelRequest, Provider
from executions.records import RunRecord
from executions.steps import NO_PAST, LoopTool, Past, Step
from executions.stop_reasons import StopReason
from executions.tracing import Trace
from map_project.postgresql.connections import released_connection
from tools import invokers
from tools.invokers import CallableTool, ToolResult
from tools.outbound import interruptible

logger = logging.getLogger("map.runs")


def model_request_of(request: RunRequest) -> ModelRequest:
    """Return the first request to the model, whose deadline is that of the run."""
    agent, model, options = request.agent, request.model, request.options
    limits = (agent.max_output_tokens, model.max_output_tokens, options.max_output_tokens)
    return ModelRequest(
        model=model,
        agent=agent.profile,
        system_prompt=request.system_prompt,
        messages=with_prompt(request.context.messages, request.prompt),
        tools=agent.definitions,
        temperature=agent.temperature if options.temperature is None else options.temperature,
        max_output_tokens=min((limit for limit in limits if limit is not None), default=None),
        deadline=time.monotonic() + settings.RUN_TIMEOUT_SECONDS,
        output_schema=request.output_schema,
    )


def run_locally(
    request: RunRequest, provider: Provider, model_request: ModelRequest, execution_id: uuid.UUID
) -> Outcome:
    """Return the outcome of a run that is local (`Provider.is_local`)."""
    with tracing.run(request, execution_id) as trace:
        with trace.model_call(model_request) as on_response:
            response = provider.complete(model_request)
            on_response(response)
        outcome = Outcome("succeeded", StopReason.COMPLETED, response.text, None, None)
        trace.end(outcome)
    return outcome


def run_loop(
    request: RunRequest,
    provider: Provider,
    model_request: ModelRequest,
    record: RunRecord,
    past: Past = NO_PAST,
) -> Outcome:
    """Run the agent loop and store its steps. Raises DatabaseError, and LeaseLost (see `RunRecord`).

    If another process ends the run, for instance because it is cancelled, a model call in progress is cut.
    """
    with tracing.run(request, record.execution_id) as trace:
        outcome = _run_loop(request, provider, model_request, record, past, trace=trace)
        trace.end(outcome)
    return outcome


def _run_loop(
    request: RunRequest,
    provider: Provider,
    model_request: ModelRequest,
    record: RunRecord,
    past: Past,
    *,
    trace: Trace,
) -> Outcome:
    events = record.events
    check = partial(leases.check, record.execution_id)

    def respond(messages: tuple[Message, ...], with_tools: bool) -> ModelStream:
        tools = model_request.tools if with_tools else ()
        next_request = replace(model_request, messages=messages, tools=tools)
        reserve_next_call(record, next_request, check)
        with (
            trace.model_call(next_request) as on_response,
            released_connection(),
            interruptible(check),
        ):
            if events is None:
                response = provider.complete(next_request)
            else:
                response = yield from provider.stream(next_request)
            on_response(response)
        return response

    def call(tool: CallableTool, arguments: str) -> ToolResult:
        key = f"{record.execution_id}-{record.position}"
        with trace.tool_call(tool, arguments) as on_result, released_connection():
            result = invokers.call(
                tool, arguments, deadline=model_request.deadline, idempotency_key=key
            )
            on_result(result)
        return result

    loop = Loop(
        respond=respond,
        model_name=request.model.name,
        tools=_loop_tools(request.agent.callable_tools, call),
        max_steps=request.agent.max_steps,
        max_tool_calls=request.agent.max_tool_calls,
        max_bytes=settings.MAX_RUN_BYTES,
        deadline=model_request.deadline,
        output_schema=request.output_schema,
        decisions=lambda count: past.decisions_from(record.position, count),
    )
    if events is not None:
        events.close_interrupted()
    run = loop.run(model_request.messages, past.steps)
    while True:
        try:
            step = next(run)
            if isinstance(step, Step):
                record.add_step(step)
            elif events is not None:
                check()
                events.add_text(step)
        except StopIteration as end:
            outcome: Outcome = end.value
            if outcome.error is not None:
                name, error = request.model.name, outcome.error
                logger.warning("the model %s failed run %s: %s", name, record.execution_id, error)
            return outcome


def _loop_tools(
    tools: Mapping[str, CallableTool], call: Callable[[CallableTool, str], ToolResult]
) -> dict[str, LoopTool]:
    return {
        alias: LoopTool(
            tool.name,
            partial(call, tool),
            idempotent=tool.idempotent,
            needs_approval=tool.needs_approval,
            id=tool.id,
            approval_timeout_seconds=tool.approval_timeout_seconds,
        )
        for alias, tool in tools.items()
    }
