"""The addresses. No trailing slash anywhere but in the admin."""

from django.urls import include, path, re_path
from django.views.decorators.csrf import csrf_exempt
from django.views.generic import RedirectView

from map_project.api import views
from map_project.api.pages import RedocView, SwaggerView
from map_project.api.schema import SchemaView

handler400 = "map_project.api.errors.handler400"
handler404 = "map_project.api.errors.handler404"
handler500 = "map_project.api.errors.handler500"

urlpatterns = [
    path("api/v1/", include("executions.urls")),
    path("api/v1/", include("agents.urls")),
    path("api/v1/", include("tools.urls")),
    path("", csrf_exempt(RedirectView.as_view(url="/docs", http_method_names=["get", "head"]))),
    path("health", views.HealthView.as_view(), name="health"),
    path("live", views.LiveView.as_view(), name="live"),
    path("ready", views.ReadyView.as_view(), name="ready"),
    path("schema", SchemaView.as_view(), name="schema"),
    path("docs", SwaggerView.as_view(url_name="schema"), name="docs"),
    path("redoc", RedocView.as_view(url_name="schema"), name="redoc"),
    path("admin", RedirectView.as_view(pattern_name="admin:index")),
    # Named, not included: nothing of the admin is imported before somebody opens it.
    path("admin/", ("map_project.desk.urls", "admin", "admin")),
    re_path("", views.unknown_route),
]
