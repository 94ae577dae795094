"""The URLs of the pages."""

from django.contrib.admin import AdminSite
from django.urls import URLPattern, path

from map_project.desk.operations.failures import failures_view
from map_project.desk.operations.tool_calls import tool_calls_view


def operations_urls(site: AdminSite) -> list[URLPattern]:
    """The URL patterns, for signed-in staff users."""
    return [
        path("failures/", site.admin_view(failures_view), name="failures"),
        path("tool-calls/", site.admin_view(tool_calls_view), name="tool_calls"),
    ]
