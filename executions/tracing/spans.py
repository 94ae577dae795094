"""The spans of a run: `invoke_agent`, and below it a `chat` for each call of the model and an `execute_tool`
for each call of a tool.

The parent of a span is given explicitly: the calls of a streamed run are made in generators, whose context is
that of their consumer.
"""

import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, set_span_in_context

from agents.language_models import KnownModel
from executions.inserts import RunRequest
from executions.outcomes import Outcome
from executions.providers import ModelError, ModelRequest, ModelResponse
from executions.tracing import content, names
from tools.invokers import CallableTool, ToolResult


class RunSpans:
    """The span of an attempt of a run, and those below it."""

    def __init__(self, tracer: Tracer, request: RunRequest, execution_id: uuid.UUID) -> None:
        self._tracer = tracer
        self.span = tracer.start_span(
            f"{names.INVOKE_AGENT} {request.agent.name}",
            # A new trace.
            context=Context(),
            kind=SpanKind.INTERNAL,
            attributes=_run_attributes(request, execution_id),
        )
        self._context = set_span_in_context(self.span, Context())

    @contextmanager
    def model_call(self, request: ModelRequest) -> Iterator[Callable[[ModelResponse], None]]:
        """Trace a call of the model."""
        name = f"{names.CHAT} {_model_name(request.model)}"
        with self._child(name, SpanKind.CLIENT, _model_attributes(request)) as span:
            yield lambda response: _set(span, _response_attributes(response))

    @contextmanager
    def tool_call(
        self, tool: CallableTool, arguments: str
    ) -> Iterator[Callable[[ToolResult], None]]:
        """Trace a call of a tool."""
        name = f"{names.EXECUTE_TOOL} {tool.name}"
        with self._child(name, SpanKind.INTERNAL, _tool_attributes(tool, arguments)) as span:
            yield lambda result: _set_result(span, result)

    def end(self, outcome: Outcome) -> None:
        """Record the outcome of the attempt."""
        _set(self.span, _tokens(outcome))
        reason = str(outcome.stop_reason) or None
        _set(self.span, {names.RUN_STATUS: outcome.status, names.STOP_REASON: reason})
        if outcome.status == "failed":
            error = outcome.error
            _fail(self.span, _error_type(error) if error else str(outcome.stop_reason))

    @contextmanager
    def _child(self, name: str, kind: SpanKind, attributes: Mapping[str, Any]) -> Iterator[Span]:
        span = self._tracer.start_span(name, context=self._context, kind=kind)
        _set(span, attributes)
        with ended_span(span):
            yield span


@contextmanager
def ended_span(span: Span) -> Iterator[None]:
    """End the span. An exception makes it fail: its type is recorded, and not its text."""
    try:
        yield
    except BaseException as error:
        _fail(span, _error_type(error))
        raise
    finally:
        span.end()


def _run_attributes(request: RunRequest, execution_id: uuid.UUID) -> dict[str, Any]:
    agent, conversation_id = request.agent, request.context.conversation_id
    attributes: dict[str, Any] = {
        names.OPERATION_NAME: names.INVOKE_AGENT,
        names.PROVIDER_NAME: request.model.provider,
        names.REQUEST_MODEL: _model_name(request.model),
        names.AGENT_ID: str(agent.agent_id),
        names.AGENT_NAME: agent.name,
        names.AGENT_VERSION: str(agent.version),
        names.EXECUTION_ID: str(execution_id),
        names.TENANT_ID: str(agent.tenant_id),
        names.REQUEST_ID: request.request_id,
    }
    if conversation_id:
        attributes[names.CONVERSATION_ID] = str(conversation_id)
    return attributes


def _model_attributes(request: ModelRequest) -> dict[str, Any]:
    url = urlsplit(request.model.base_url)
    attributes = {
        names.OPERATION_NAME: names.CHAT,
        names.PROVIDER_NAME: request.model.provider,
        names.REQUEST_MODEL: _model_name(request.model),
        names.REQUEST_TEMPERATURE: request.temperature,
        names.REQUEST_MAX_TOKENS: request.max_output_tokens,
        names.OUTPUT_TYPE: "text" if request.output_schema is None else "json",
        names.SERVER_ADDRESS: url.hostname,
        names.SERVER_PORT: url.port,
    }
    if settings.OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT:
        attributes[names.SYSTEM_INSTRUCTIONS] = content.system_instructions(request.system_prompt)
        attributes[names.INPUT_MESSAGES] = content.input_messages(request.messages)
    return attributes


def _response_attributes(response: ModelResponse) -> dict[str, Any]:
    reason = "tool_call" if response.tool_calls else response.finish_reason
    attributes = {**_tokens(response), names.FINISH_REASONS: [reason]}
    if settings.OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT:
        attributes[names.OUTPUT_MESSAGES] = content.output_messages(response)
    return attributes


def _tool_attributes(tool: CallableTool, arguments: str) -> dict[str, Any]:
    attributes = {
        names.OPERATION_NAME: names.EXECUTE_TOOL,
        names.TOOL_NAME: tool.name,
        # It is called by this platform.
        names.TOOL_TYPE: "extension",
    }
    if settings.OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT:
        attributes[names.TOOL_ARGUMENTS] = content.cut(arguments)
    return attributes


def _set_result(span: Span, result: ToolResult) -> None:
    if settings.OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT:
        span.set_attribute(names.TOOL_RESULT, content.cut(result.text))
    if result.error:
        _fail(span, result.error)


def _tokens(result: ModelResponse | Outcome) -> dict[str, Any]:
    return {names.INPUT_TOKENS: result.input_tokens, names.OUTPUT_TOKENS: result.output_tokens}


def _set(span: Span, attributes: Mapping[str, Any]) -> None:
    """Set the attributes that have a value."""
    span.set_attributes({name: value for name, value in attributes.items() if value is not None})


def _fail(span: Span, error_type: str) -> None:
    span.set_attribute(names.ERROR_TYPE, error_type)
    span.set_status(Status(StatusCode.ERROR))


def _error_type(error: BaseException) -> str:
    if isinstance(error, ModelError):
        return error.reason
    # A generator is closed if its run stops.
    return "cancelled" if isinstance(error, GeneratorExit) else type(error).__name__


def _model_name(model: KnownModel) -> str:
    return model.upstream_name or model.name
