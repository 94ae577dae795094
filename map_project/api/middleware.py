"""Middleware for every request: request id and log, error body, limits on the body, allowed hosts."""

import io
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import structlog
from django.conf import settings
from django.core.exceptions import DisallowedHost
from django.http import HttpRequest, HttpResponse
from structlog.contextvars import clear_contextvars

from map_project.api import request_id
from map_project.api.errors import (
    ApiError,
    BadRequest,
    RequestTooLarge,
    UnreadableBody,
    enveloped,
)

logger = structlog.get_logger("map.request")

GetResponse = Callable[[HttpRequest], HttpResponse]

# Requested every few seconds. Successful probes are not logged.
_PROBES = {"/health", "/live", "/ready"}

# A rejected body is read and discarded up to this size. A client that is still sending when the
# connection closes would see a broken pipe instead of the response.
_DRAIN_BYTES = 16 * 1024 * 1024
_BLOCK_BYTES = 64 * 1024


class RequestLogMiddleware:
    """Sets `X-Request-ID` on the response, and logs one line per request except successful probes."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        started = time.perf_counter()
        identifier = request_id.begin(request.META.get("HTTP_X_REQUEST_ID"))
        clear_contextvars()
        response = self.get_response(request)
        response["X-Request-ID"] = identifier
        if not response.streaming:
            response["Content-Length"] = str(len(response.content))
            if request.method == "HEAD":
                # gunicorn would drop the body as well, with a warning each time.
                response.content = b""
        if response.status_code != 200 or request.path not in _PROBES:
            level = logging.ERROR if response.status_code >= 500 else logging.INFO
            latency_seconds = time.perf_counter() - started
            logger.log(level, "request", **_log_fields(request, response, latency_seconds))
        return response


def _log_fields(
    request: HttpRequest, response: HttpResponse, latency_seconds: float
) -> dict[str, Any]:
    """Return the fields of the log line. They hold nothing that the client sent: the route, not the path."""
    match = request.resolver_match
    fields = {
        "method": request.method,
        "route": match and (match.view_name or match.route),
        "status": response.status_code,
        "latency_ms": round(latency_seconds * 1000, 2),
    }
    # Set by the limiter's middleware and by DRF, which are in higher layers.
    caller = getattr(request, "map_caller", None) or getattr(request, "auth", None)
    if caller is not None:
        fields |= {"tenant_id": str(caller.tenant_id), "key_prefix": caller.key_prefix}
    data = getattr(response, "data", None) or {}
    if execution_id := data.get("execution_id") or data.get("details", {}).get("execution_id"):
        fields["execution_id"] = str(execution_id)
    return fields


class ErrorEnvelopeMiddleware:
    """Replaces the body of errors of Django, WhiteNoise and debug pages, but not the admin's HTML pages."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        if response.status_code < 400 or request.path.startswith("/admin"):
            return response
        is_json = response.get("Content-Type", "").startswith("application/json")
        return response if is_json else enveloped(response)


class RequestGuardMiddleware:
    """Rejects a Host that is not allowed (400) and a body over the limit (413) before anything is parsed.

    Django sees a chunked body as empty, so it is read up to the limit and passed on with its length.
    The rest of any body is read before the response is sent (see `_DRAIN_BYTES`).
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        try:
            request.get_host()
            _limit_body(request)
        except DisallowedHost:
            return BadRequest(
                "The Host header does not contain a host name of this service."
            ).response()
        except ApiError as error:
            return error.response()
        response = self.get_response(request)
        _discard(request.META["wsgi.input"])
        return response


def _limit_body(request: HttpRequest) -> None:
    """Raises RequestTooLarge, and UnreadableBody if the server cannot read the body."""
    limit = settings.MAX_BODY_BYTES
    stream = request.META["wsgi.input"]
    if "chunked" in request.META.get("HTTP_TRANSFER_ENCODING", "").lower():
        body = _read(stream, limit + 1)
        if len(body) <= limit:
            request.META["CONTENT_LENGTH"] = str(len(body))
            # WSGIRequest limited its stream to the missing length when it was created. There is no public
            # way to replace the stream; the contract tests of chunked bodies fail if this stops working.
            request._stream = io.BytesIO(body)
            return
    elif int(request.META.get("CONTENT_LENGTH") or 0) <= limit:
        return
    _discard(stream)
    raise RequestTooLarge(f"The request body is larger than {limit} bytes.", max_bytes=limit)


def _discard(stream: Any) -> None:
    # A body that cannot be read is not being sent any more.
    with suppress(ApiError):
        for _ in range(_DRAIN_BYTES // _BLOCK_BYTES):
            if not _read(stream, _BLOCK_BYTES):
                return


def _read(stream: Any, size: int) -> bytes:
    try:
        return bytes(stream.read(size))
    except Exception as error:
        # gunicorn's exceptions for broken chunks and lost connections have no common base class.
        raise UnreadableBody from error
