"""Traces of runs, in the conventions of OpenTelemetry for generative AI.

`OTEL_EXPORTER_OTLP_ENDPOINT` turns them on. Otherwise nothing of OpenTelemetry is imported here, and a run
has `NO_TRACE`.
"""

import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Protocol

from django.conf import settings

if TYPE_CHECKING:
    # They import this package.
    from executions.inserts import RunRequest
    from executions.outcomes import Outcome
from executions.providers import ModelRequest, ModelResponse
from tools.invokers import CallableTool, ToolResult


class Trace(Protocol):
    """The trace of one attempt of a run."""

    def model_call(
        self, request: ModelRequest
    ) -> AbstractContextManager[Callable[[ModelResponse], object]]:
        """Trace a call of the model. The value has to be called with the response."""

    def tool_call(
        self, tool: CallableTool, arguments: str
    ) -> AbstractContextManager[Callable[[ToolResult], object]]:
        """Trace a call of a tool. The value has to be called with the result."""

    def end(self, outcome: "Outcome") -> None:
        """Record the outcome of the attempt."""


class _NoTrace:
    def model_call(
        self, request: ModelRequest
    ) -> AbstractContextManager[Callable[[ModelResponse], object]]:
        return nullcontext(_ignore)

    def tool_call(
        self, tool: CallableTool, arguments: str
    ) -> AbstractContextManager[Callable[[ToolResult], object]]:
        return nullcontext(_ignore)

    def end(self, outcome: "Outcome") -> None:
        pass


def _ignore(result: object) -> None:
    pass


NO_TRACE = _NoTrace()
TraceRun = Callable[["RunRequest", uuid.UUID], AbstractContextManager[Trace]]


def _no_trace(request: "RunRequest", execution_id: uuid.UUID) -> AbstractContextManager[Trace]:
    return nullcontext(NO_TRACE)


_trace_run: TraceRun = _no_trace


def run(request: "RunRequest", execution_id: uuid.UUID) -> AbstractContextManager[Trace]:
    """Trace an attempt of a run."""
    return _trace_run(request, execution_id)


def begin() -> None:
    """Start to export traces, if they are on. Call it in the process that runs agents, after a fork."""
    global _trace_run  # noqa: PLW0603
    if settings.OTEL_EXPORTER_OTLP_ENDPOINT:
        # An optional dependency.
        from executions.tracing.export import start

        _trace_run = start()


def end() -> None:
    """Export what is left, for a few seconds at most, and trace no more."""
    global _trace_run  # noqa: PLW0603
    if _trace_run is not _no_trace:
        from executions.tracing.export import stop

        _trace_run = _no_trace
        stop()
