"""What holds for every request, whoever asks and whatever for: an id, a bounded body, a known host."""

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

from map_project.api import request_id
from map_project.api.errors import ApiError, bad_request, enveloped, unreadable_body

logger = structlog.get_logger("map.request")

GetResponse = Callable[[HttpRequest], HttpResponse]

# Asked every few seconds: while all is well, there is nothing to tell.
_PROBES = {"/health", "/live", "/ready"}

# A refused body is read and thrown away up to this size: a client that is still sending when the
# connection closes would see a broken pipe instead of the answer.
_DRAIN_BYTES = 16 * 1024 * 1024
_BLOCK_BYTES = 64 * 1024


class RequestLogMiddleware:
    """`X-Request-ID` in, where it is well formed, and out; one log line a request, but for probes that
    found all well.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        started = time.perf_counter()
        identifier = request_id.begin(request.META.get("HTTP_X_REQUEST_ID"))
        response = self.get_response(request)
        response["X-Request-ID"] = identifier
        if not response.streaming:
            response["Content-Length"] = str(len(response.content))
            if request.method == "HEAD":
                # gunicorn would drop it as well, with a warning each time.
                response.content = b""
        if response.status_code != 200 or request.path not in _PROBES:
            level = logging.ERROR if response.status_code >= 500 else logging.INFO
            latency_seconds = time.perf_counter() - started
            logger.log(level, "request", **_told(request, response, latency_seconds))
        return response


def _told(request: HttpRequest, response: HttpResponse, latency_seconds: float) -> dict[str, Any]:
    """What the log says of a request: nothing that the caller sent, so a route and no path."""
    match = request.resolver_match
    told = {
        "method": request.method,
        "route": match and (match.view_name or match.route),
        "status": response.status_code,
        "latency_ms": round(latency_seconds * 1000, 2),
    }
    # By their names alone: who knows tenants and runs stands above this package.
    if caller := getattr(request, "map_caller", None):
        told |= {"tenant_id": str(caller.tenant_id), "key_prefix": caller.key_prefix}
    answer = getattr(response, "data", None)
    if isinstance(answer, dict) and "execution_id" in answer:
        told["execution_id"] = str(answer["execution_id"])
    return told


class ErrorEnvelopeMiddleware:
    """The last net: an error that left Django, WhiteNoise or a debug page in a form of its own leaves
    here in ours. The admin is for people, and keeps its pages.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        if response.status_code < 400 or request.path.startswith("/admin"):
            return response
        is_json = response.get("Content-Type", "").startswith("application/json")
        return response if is_json else enveloped(response)


class RequestGuardMiddleware:
    """Refuses a Host that is not ours (400) and a body over the bound (413) before anything parses.

    A chunked body has no length, and WSGI would show Django an empty one: it is read up to the
    bound and handed on with its length. What nobody read of a body is read before the answer goes out:
    the server would read a little of it and close, and a client that is still sending would see a
    broken pipe instead of its 401 or 429.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        try:
            request.get_host()
            _bound_body(request)
        except DisallowedHost:
            return bad_request("The Host header names no host of this service.").response()
        except ApiError as error:
            return error.response()
        response = self.get_response(request)
        # Else a view has read all of it.
        if not hasattr(request, "_body"):
            _drain(request.META["wsgi.input"])
        return response


def _bound_body(request: HttpRequest) -> None:
    """Raises ApiError `REQUEST_TOO_LARGE`, and `BAD_REQUEST` where the server cannot read the body."""
    limit = settings.MAX_BODY_BYTES
    stream = request.META["wsgi.input"]
    if "chunked" in request.META.get("HTTP_TRANSFER_ENCODING", "").lower():
        body = _read(stream, limit + 1)
        if len(body) <= limit:
            request.META["CONTENT_LENGTH"] = str(len(body))
            # WSGIRequest read the (missing) length when it was made; there is no public way back.
            request._stream = io.BytesIO(body)
            return
    elif int(request.META.get("CONTENT_LENGTH") or 0) <= limit:
        return
    _drain(stream)
    raise ApiError(
        413, "REQUEST_TOO_LARGE", f"The request body is over {limit} bytes.", {"max_bytes": limit}
    )


def _drain(stream: Any) -> None:
    # What cannot be read is not sent any more, either.
    with suppress(ApiError):
        for _ in range(_DRAIN_BYTES // _BLOCK_BYTES):
            if not _read(stream, _BLOCK_BYTES):
                return


def _read(stream: Any, size: int) -> bytes:
    try:
        return bytes(stream.read(size))
    except Exception as error:
        # Broken chunks, a lost connection: the server has exceptions of its own, without a base.
        raise unreadable_body() from error
