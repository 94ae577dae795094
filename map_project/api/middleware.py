"""What holds for every request, whoever asks and whatever for: an id, a bounded body, a known host."""

import io
import logging
import time
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.core.exceptions import DisallowedHost
from django.http import HttpRequest, HttpResponse

from map_project.api import request_id
from map_project.api.errors import ApiError, bad_request

logger = logging.getLogger("map.request")

GetResponse = Callable[[HttpRequest], HttpResponse]

# A refused body is read and thrown away up to this size: a client that is still sending when the
# connection closes would see a broken pipe instead of the answer.
_DRAIN_BYTES = 16 * 1024 * 1024
_BLOCK_BYTES = 64 * 1024


class RequestIdMiddleware:
    """`X-Request-ID` in, where it is well formed, and out; one log line a request."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        started = time.perf_counter()
        identifier = request_id.begin(request.headers.get("X-Request-ID"))
        response = self.get_response(request)
        response["X-Request-ID"] = identifier
        if not response.streaming:
            response["Content-Length"] = str(len(response.content))
        latency_ms = (time.perf_counter() - started) * 1000
        logger.info(
            "%s %s %s %.1fms", request.method, request.path, response.status_code, latency_ms
        )
        return response


class RequestGuardMiddleware:
    """Refuses a Host that is not ours (400) and a body over the bound (413) before anything parses.

    A chunked body has no length, and WSGI would show Django an empty one: it is read up to the
    bound and handed on with its length.
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
        return self.get_response(request)


def _bound_body(request: HttpRequest) -> None:
    """Raises ApiError `REQUEST_TOO_LARGE`."""
    limit = settings.MAX_BODY_BYTES
    stream = request.META["wsgi.input"]
    if "chunked" in request.headers.get("Transfer-Encoding", "").lower():
        body = stream.read(limit + 1)
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
    for _ in range(_DRAIN_BYTES // _BLOCK_BYTES):
        if not stream.read(_BLOCK_BYTES):
            return
