"""URL of the MCP server."""

from django.urls import path

from map_project.mcp_server.views import McpViewSet

# `ratelimit.middleware` knows the route by its name.
urlpatterns = [path("mcp", McpViewSet.as_view({"post": "create"}), name="mcp")]
