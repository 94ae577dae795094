"""Middleware of the admin's pages."""

import logging
from collections.abc import Callable

from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string

logger = logging.getLogger("map.desk")

# Alpine.js, which the theme uses, evaluates expressions in attributes: it needs 'unsafe-eval'.
CONTENT_SECURITY_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)


class AdminPagesMiddleware:
    """The admin's Content-Security-Policy, and its page for a database that cannot be reached.

    Cookies belong to the admin alone. The API ignores them and never sets one: without this, Django
    would answer a malformed `map_csrf` cookie with a new one.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if not request.path_info.startswith("/admin"):
            request.META.pop("HTTP_COOKIE", None)
            return self.get_response(request)
        response = self.get_response(request)
        response.headers.setdefault("Content-Security-Policy", CONTENT_SECURITY_POLICY)
        return response

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """Render the error page for an admin page whose database connection failed."""
        is_lost = isinstance(exception, OperationalError | InterfaceError)
        if not is_lost or not request.path_info.startswith("/admin"):
            return None
        logger.warning("the admin cannot reach the database: %s", type(exception).__name__)
        page = render_to_string("desk/database_unavailable.html")
        return HttpResponse(page, status=503, headers={"Retry-After": "5"})
