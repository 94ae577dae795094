"""Middleware of `/mcp`: the `Origin` header, and the form of all errors, whichever part they come from."""

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import orjson
from django.http import (
    HttpRequest,
    HttpResponse,
    JsonResponse,
    RawPostDataException,
    UnreadablePostError,
)

from map_project.mcp_server.errors import INVALID_REQUEST, is_of_run, protocol_error, tool_error
from map_project.mcp_server.messages import error_message, id_of, result_message
from map_project.mcp_server.revisions import MODERN, VERSION_HEADER, as_result

PATH = "/mcp"


class McpMiddleware:
    """Rejects web pages of other hosts, and gives errors the form of JSON-RPC.

    An error of a run becomes the result of the tool call, with the status 200. Headers are kept.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        if request.path == PATH and response.status_code >= 400:
            body = orjson.loads(response.content)
            if "jsonrpc" not in body:
                _translate(request, response, body)
        return response

    def process_view(self, request: HttpRequest, *_: Any) -> HttpResponse | None:
        """Respond with 403 to a web page of another host, which may reach this one by DNS rebinding."""
        origin = request.headers.get("Origin")
        if request.path != PATH or origin is None or _host(origin) == request.get_host().lower():
            return None
        error = {"code": INVALID_REQUEST, "message": "The Origin is not this host."}
        return JsonResponse(error_message(None, error), status=403)


def _host(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return None


def _translate(request: HttpRequest, response: HttpResponse, body: dict[str, Any]) -> None:
    message = _message(request)
    message_id, status = id_of(message), response.status_code
    is_call = message_id is not None and message.get("method") == "tools/call"
    if is_call and is_of_run(status, body):
        is_modern = request.headers.get(VERSION_HEADER) == MODERN
        response.status_code = 200
        content = result_message(message_id, as_result(tool_error(body), is_modern=is_modern))
    else:
        content = error_message(message_id, protocol_error(status, body))
    response.content = orjson.dumps(content)


def _message(request: HttpRequest) -> Any:
    """Return the body as JSON, or None if it is none, or has not been read: another part refused it."""
    if request.resolver_match is None or request.method != "POST":
        return None
    try:
        return orjson.loads(request.body)
    except (orjson.JSONDecodeError, UnreadablePostError, RawPostDataException):
        return None
