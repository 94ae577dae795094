"""The URLconf. Paths have no trailing slash, except in the admin."""

from django.contrib import admin
from django.urls import include, path, re_path
from django.views.generic import RedirectView

from map_project.api.views import unknown_route

handler400 = "map_project.api.errors.handler400"
handler404 = "map_project.api.errors.handler404"
handler500 = "map_project.api.errors.handler500"

urlpatterns = [
    path("api/v1/", include("executions.urls")),
    path("api/v1/", include("agents.urls")),
    path("api/v1/", include("tools.urls")),
    path("api/v1/", include("map_project.webhooks.urls")),
    path("api/v1/", include("map_project.tenants.self_service.urls")),
    path("api/v1/", include("map_project.usage.urls")),
    path("api/v1/", include("ratelimit.urls")),
    path("v1/", include("map_project.openai_api.urls")),
    path("", include("map_project.mcp_server.urls")),
    path("", include("map_project.api.urls")),
    path("admin", RedirectView.as_view(pattern_name="admin:index")),
    path("admin/", admin.site.urls),
    re_path("", unknown_route),
]
