"""The admin site: its dashboard, its sign-in, its headers."""

import logging
from collections.abc import Callable
from typing import Any

from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from unfold.sites import UnfoldAdminSite

logger = logging.getLogger("map.desk")

# Alpine, which the theme is made of, compiles the expressions in its attributes.
CONTENT_SECURITY_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)


class DeskSite(UnfoldAdminSite):
    """Unfold's site with our pages. Every page of it loads from its own origin only."""

    site_title = "Mini Agent Platform"
    site_header = "Mini Agent Platform"
    index_title = "Dashboard"

    def admin_view(self, view: Callable[..., Any], cacheable: bool = False) -> Callable[..., Any]:
        guarded = super().admin_view(view, cacheable)

        def inner(request: HttpRequest, *args: Any, **options: Any) -> HttpResponseBase:
            return secured(lambda: guarded(request, *args, **options))

        return inner

    def login(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponseBase:
        from map_project.desk.signin import locked_out

        def page() -> HttpResponseBase:
            response: HttpResponseBase = super(DeskSite, self).login(request, extra_context)
            if getattr(request, "axes_locked_out", False):
                return locked_out(request, self.each_context(request))
            return response

        return secured(page)

    def index(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        from map_project.desk.dashboard import dashboard

        sees = request.user.has_perm("executions.view_execution")
        shown = dashboard(request) if sees else {"title": self.index_title}
        context = {**self.each_context(request), **shown, **(extra_context or {})}
        request.current_app = self.name
        template = "desk/dashboard.html" if sees else "desk/no_group.html"
        return TemplateResponse(request, template, context)

    def search(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        from map_project.desk.search import found

        results = found(request, request.GET.get("s", ""))
        context = {"results": results, "page_obj": None, "page_counter": 0, "execution_time": 0}
        return TemplateResponse(
            request, "desk/search.html", context, headers={"HX-Trigger": "search"}
        )


def secured(page: Callable[[], HttpResponseBase]) -> HttpResponseBase:
    """The page with the policy that keeps it to its own origin; a page for people where the database is
    away.
    """
    try:
        response = page()
        if isinstance(response, TemplateResponse):
            # Now, and not on the way out: it asks the database, too.
            response.render()
    except (OperationalError, InterfaceError) as error:
        logger.warning("the desk finds no database: %s", type(error).__name__)
        response = HttpResponse(render_to_string("desk/away.html"), status=503)
        response["Retry-After"] = "5"
    response.headers.setdefault("Content-Security-Policy", CONTENT_SECURITY_POLICY)
    return response
