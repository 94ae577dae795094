"""The metrics as a WSGI application."""

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from django.db import Error, connection
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from map_project.metrics.collector import PlatformCollector

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication

logger = logging.getLogger("map.metrics")

_registry = CollectorRegistry()
_registry.register(PlatformCollector())


def with_metrics(application: "WSGIApplication", port: int) -> "WSGIApplication":
    """Return an application that serves the metrics, and nothing else, on this port."""

    def serve(environ: dict[str, Any], start_response: "StartResponse") -> Iterable[bytes]:
        is_metrics = environ["SERVER_PORT"] == str(port)
        return (metrics if is_metrics else application)(environ, start_response)

    return serve


def metrics(environ: dict[str, Any], start_response: "StartResponse") -> Iterable[bytes]:
    """Return the metrics, or 503 if the database is unavailable."""
    status, content_type, body = _response(environ)
    start_response(status, [("Content-Type", content_type), ("Content-Length", str(len(body)))])
    return [body]


def _response(environ: dict[str, Any]) -> tuple[str, str, bytes]:
    if environ["PATH_INFO"] != "/metrics" or environ["REQUEST_METHOD"] != "GET":
        return "404 Not Found", "text/plain", b"Not found. The metrics are at /metrics.\n"
    try:
        return "200 OK", CONTENT_TYPE_LATEST, generate_latest(_registry)
    except Error as error:
        logger.warning("cannot read metrics: %s", type(error).__name__)
        return "503 Service Unavailable", "text/plain", b"The database is unavailable.\n"
    finally:
        connection.close()
