"""Middleware of the admin's pages."""

import logging
from collections.abc import Callable
from typing import Any

from django.contrib import admin
from django.core.exceptions import SuspiciousOperation, ValidationError
from django.db import DatabaseError, DataError, InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.middleware.gzip import GZipMiddleware
from django.template.loader import render_to_string

from map_project.api import request_id
from map_project.postgresql.queries import (
    LOCK_NOT_AVAILABLE,
    QUERY_CANCELED,
    custom_plans,
    sqlstate,
)

logger = logging.getLogger("map.desk")

# Alpine.js, which the theme uses, evaluates expressions in attributes: it needs 'unsafe-eval'.
CONTENT_SECURITY_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)

# Title and text of the error pages by status.
_ERRORS = {
    400: ("Bad request", "The URL or the form contains an invalid filter or value."),
    403: (
        "No permission",
        (
            "Your account may not open this page or make this change. If you submitted a form, "
            "reload the page and try again."
        ),
    ),
    404: ("Page not found", "There is no page at this address."),
    405: ("Method not allowed", "This page does not support the HTTP method of the request."),
    413: ("Request too large", "The form is larger than the server accepts."),
}
_INTERNAL_ERROR = ("Internal error", "Include the request ID when you report this error.")
_TOO_SLOW = (
    "This took too long",
    "The query exceeded STATEMENT_TIMEOUT_MS. Choose a shorter time range, or filter by tenant.",
)
_LOCKED = ("The row is being changed", "Another change had not finished. Try again.")
_NO_DATABASE = (
    "The database is unavailable",
    'The admin needs the database. Check /health and reload this page when it reports "ok".',
)
_TIMEOUTS = {QUERY_CANCELED: _TOO_SLOW, LOCK_NOT_AVAILABLE: _LOCKED}


class AdminPagesMiddleware:
    """The admin's Content-Security-Policy and error pages.

    Cookies belong to the admin alone. The API ignores them and never sets one: without this, Django
    would answer a malformed `map_csrf` cookie with a new one.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if not _is_admin(request):
            request.META.pop("HTTP_COOKIE", None)
            return self.get_response(request)
        with custom_plans():
            response = self.get_response(request)
        if response.status_code >= 400 and not _is_page(response):
            response = _error_page(request, response)
        response.headers.setdefault("Content-Security-Policy", CONTENT_SECURITY_POLICY)
        return response

    def process_view(self, request: HttpRequest, *_: Any) -> None:
        """Reject a NUL character in the path or in the query, which PostgreSQL cannot store or compare."""
        if not _is_admin(request):
            return
        texts = [request.path_info]
        for name, values in request.GET.lists():
            texts += [name, *values]
        if "\0" in "".join(texts):
            raise SuspiciousOperation

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """Render the error page for a failed query, and for a value that a field cannot have."""
        if not _is_admin(request):
            return None
        if isinstance(exception, DataError | ValidationError):
            logger.warning("a value is not valid: %s", type(exception).__name__)
            return _page(400, *_ERRORS[400])
        state = sqlstate(exception) if isinstance(exception, DatabaseError) else ""
        if state in _TIMEOUTS:
            logger.warning("a query of the admin exceeded its time limit")
            return _page(503, *_TIMEOUTS[state])
        if isinstance(exception, OperationalError | InterfaceError):
            logger.warning("the admin cannot reach the database: %s", type(exception).__name__)
            page = _page(503, *_NO_DATABASE)
            page.headers["Retry-After"] = "5"
            return page
        return None


class AdminGZipMiddleware(GZipMiddleware):
    """Compresses the admin's pages, with random bytes against attacks on compressed secrets (BREACH)."""

    def process_response(
        self, request: HttpRequest, response: HttpResponseBase
    ) -> HttpResponseBase:
        # Compression would hold back the events of a stream.
        if not _is_admin(request) or response.get("Content-Type") == "text/event-stream":
            return response
        return super().process_response(request, response)


def _is_admin(request: HttpRequest) -> bool:
    return request.path_info == "/admin" or request.path_info.startswith("/admin/")


def _is_page(response: HttpResponse) -> bool:
    # Django's page for 403 has no explanation and no link.
    is_html = response.get("Content-Type", "").startswith("text/html")
    return is_html and bool(response.content) and response.status_code != 403


def _error_page(request: HttpRequest, response: HttpResponse) -> HttpResponse:
    """The page for an error without one: of the API's handlers, of the middleware, or with an empty body."""
    status = response.status_code
    title, text = _ERRORS.get(status, _INTERNAL_ERROR)
    # The layout reads the query, which can be the reason of a 400.
    page = _page_with_menu(request, status, title, text) if status in {403, 404} else None
    page = page or _page(status, title, text)
    for name, value in response.items():
        if name.lower() not in {"content-type", "content-length"}:
            page[name] = value
    return page


def _page_with_menu(
    request: HttpRequest, status: int, title: str, text: str
) -> HttpResponse | None:
    """The page in the admin's layout; None for a user who is not signed in, and without a database."""
    try:
        if not (hasattr(request, "user") and admin.site.has_permission(request)):
            return None
        context = {**admin.site.each_context(request), **_context(title, text)}
        return HttpResponse(
            render_to_string("desk/error_with_menu.html", context, request), status=status
        )
    except DatabaseError:
        return None


def _page(status: int, title: str, text: str) -> HttpResponse:
    return HttpResponse(render_to_string("desk/error.html", _context(title, text)), status=status)


def _context(title: str, text: str) -> dict[str, str]:
    return {"title": title, "text": text, "request_id": request_id.current()}
