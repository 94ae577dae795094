"""Addresses of tools. An id is parsed by us: a malformed one is a 404 of the tool."""

from django.urls import path

from tools.views import ToolTestViewSet, ToolViewSet

urlpatterns = [
    path("tools", ToolViewSet.as_view({"get": "list", "post": "create"}), name="tools"),
    path(
        "tools/<str:pk>",
        ToolViewSet.as_view(
            {
                "get": "retrieve",
                "put": "update",
                "patch": "partial_update",
                "delete": "destroy",
            }
        ),
        name="tool",
    ),
    # The limiter's middleware knows this route by its name.
    path("tools/<str:pk>/test", ToolTestViewSet.as_view({"post": "create"}), name="tool-test"),
]
