"""The admin site, with our dashboard and search."""

from typing import Any, cast

from django.apps import apps
from django.contrib.auth.models import User
from django.core.exceptions import FieldDoesNotExist, PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, URLResolver, path, reverse
from unfold.sites import UnfoldAdminSite

from map_project.api import audit
from map_project.desk.connection_checks import test_connection_view
from map_project.desk.dashboard import dashboard
from map_project.desk.operations.urls import operations_urls
from map_project.desk.search import search_results
from map_project.desk.stale_keys import stale_keys_view


class DeskSite(UnfoldAdminSite):
    """Unfold's admin site, with a dashboard instead of the list of applications."""

    index_title = "Dashboard"

    def get_urls(self) -> list[URLPattern | URLResolver]:
        test_connection = self.admin_view(test_connection_view)
        pattern = path(
            "agents/languagemodel/<int:pk>/test/", test_connection, name="test_connection"
        )
        # Django's redirects to pages of rows outside the admin, of which there are none.
        no_page = path("r/<path:row>", self.admin_view(_no_page))
        stale_keys = path("stale-keys/", self.admin_view(stale_keys_view), name="stale_keys")
        return [pattern, no_page, stale_keys, *operations_urls(self), *super().get_urls()]

    def index(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        can_view = request.user.has_perm("executions.view_execution")
        page = dashboard(request) if can_view else {"title": self.index_title}
        context = {**self.each_context(request), **page, **(extra_context or {})}
        request.current_app = self.name
        template = "desk/dashboard.html" if can_view else "desk/no_group.html"
        return TemplateResponse(request, template, context)

    def app_index(
        self, request: HttpRequest, app_label: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The dashboard: the sidebar has the lists, in groups of its own."""
        return HttpResponseRedirect(reverse("admin:index"))

    def password_change(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Django logs changes of a password by another user only."""
        response = super().password_change(request, extra_context)
        if request.method == "POST" and response.status_code == 302:
            audit.record(cast(User, request.user), "password: changed", user=request.user)
        return response

    def autocomplete_view(self, request: HttpRequest) -> HttpResponse:
        """Only for a relation's own side: the reverse side has no form field."""
        try:
            model = apps.get_model(request.GET["app_label"], request.GET["model_name"])
            field = model._meta.get_field(request.GET["field_name"])
        except (LookupError, FieldDoesNotExist):
            raise PermissionDenied from None
        if field.auto_created:
            raise PermissionDenied
        return super().autocomplete_view(request)

    def search(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        results = search_results(request, request.GET.get("s", ""))
        context = {"results": results, "page_obj": None, "page_counter": 0, "execution_time": 0}
        return TemplateResponse(
            request, "desk/search.html", context, headers={"HX-Trigger": "search"}
        )


def _no_page(request: HttpRequest, row: str) -> HttpResponse:
    raise Http404
