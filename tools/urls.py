"""Addresses of tools. An id is parsed by us: a malformed one is a 404 of the tool."""

from django.urls import path

from tools.views import ToolViewSet

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
]
