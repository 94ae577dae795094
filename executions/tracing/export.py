"""The export of spans to an OTLP/HTTP collector, by a thread of each process."""

import atexit
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from executions.inserts import RunRequest
from executions.tracing import Trace, TraceRun, end
from executions.tracing.spans import RunSpans, ended_span
from map_project import VERSION

# For what is left at the end of the process, if the collector does not respond.
END_SECONDS = 5.0

_providers: list[TracerProvider] = []


def start() -> TraceRun:
    """Start the thread. Return a function that traces a run.

    The provider is not OpenTelemetry's global one: libraries would add spans of their own.
    """
    endpoint = f"{settings.OTEL_EXPORTER_OTLP_ENDPOINT.rstrip('/')}/v1/traces"
    names = {"service.name": settings.OTEL_SERVICE_NAME, "service.version": VERSION}
    provider = TracerProvider(
        resource=Resource.create({**names, "service.instance.id": str(uuid.uuid4())}),
        shutdown_on_exit=False,
    )
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
    _providers.append(provider)
    atexit.register(end)
    tracer = provider.get_tracer("mini-agent-platform", VERSION)

    @contextmanager
    def trace_run(request: RunRequest, execution_id: uuid.UUID) -> Iterator[Trace]:
        spans = RunSpans(tracer, request, execution_id)
        with ended_span(spans.span):
            yield spans

    return trace_run


def stop() -> None:
    """Export the spans that are left."""
    while _providers:
        thread = threading.Thread(target=_providers.pop().shutdown, daemon=True)
        thread.start()
        thread.join(END_SECONDS)
