"""A collector of traces on loopback, which decodes OTLP/HTTP in protobuf."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as ProtoSpan
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from tests.http_server import http_server


@dataclass(frozen=True)
class Span:
    """A span that was received."""

    name: str
    kind: str
    trace_id: bytes
    span_id: bytes
    parent_id: bytes
    is_error: bool
    status_message: str
    event_count: int
    seconds: float
    attributes: Mapping[str, Any]
    resource: Mapping[str, Any]

    @classmethod
    def of(cls, span: ProtoSpan, resource: Mapping[str, Any]) -> "Span":
        return cls(
            span.name,
            ProtoSpan.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
            span.trace_id,
            span.span_id,
            span.parent_span_id,
            span.status.code == Status.STATUS_CODE_ERROR,
            span.status.message,
            len(span.events),
            (span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
            _values(span.attributes),
            resource,
        )


@dataclass
class Collector:
    """What was received at `url`, and the paths and headers of the requests."""

    url: str
    spans: list[Span] = field(default_factory=list)
    requests: list[tuple[str, Mapping[str, str]]] = field(default_factory=list)

    def of(self, execution_id: str) -> list[Span]:
        """Return the spans of the traces of an execution, in the order of their ends."""
        spans = [*self.spans]
        ids = {
            span.trace_id
            for span in spans
            if span.attributes.get("map.execution.id") == execution_id
        }
        return [span for span in spans if span.trace_id in ids]

    def wait_for(self, condition: Callable[[], bool], seconds: float = 30) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, [span.name for span in self.spans]
            time.sleep(0.05)


@contextmanager
def collecting() -> Iterator[Collector]:
    """Run a collector."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            collector.requests.append((self.path, dict(self.headers.items())))
            for resource_spans in ExportTraceServiceRequest.FromString(body).resource_spans:
                resource = _values(resource_spans.resource.attributes)
                for scope_spans in resource_spans.scope_spans:
                    collector.spans += [Span.of(span, resource) for span in scope_spans.spans]
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http_server(Handler) as port:
        collector = Collector(f"http://127.0.0.1:{port}")
        yield collector


def _values(attributes: Any) -> dict[str, Any]:
    pairs: list[KeyValue] = [*attributes]
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(item) for item in value.array_value.values]
    return getattr(value, kind) if kind else None
