"""The URLs of the pages."""

from django.contrib.admin import AdminSite
from django.urls import URLPattern, path
from django.views.decorators.http import require_POST

from map_project.desk.operations.failures import failures_view
from map_project.desk.operations.queue import cancel_view, queue_view
from map_project.desk.operations.tool_calls import tool_calls_view
from map_project.desk.operations.usage import usage_view


def operations_urls(site: AdminSite) -> list[URLPattern]:
    """The URL patterns, for signed-in staff users."""
    return [
        path("failures/", site.admin_view(failures_view), name="failures"),
        path("queue/", site.admin_view(queue_view), name="queue"),
        path("queue/cancel/", site.admin_view(require_POST(cancel_view)), name="cancel_runs"),
        path("tool-calls/", site.admin_view(tool_calls_view), name="tool_calls"),
        path("usage/", site.admin_view(usage_view), name="usage"),
    ]
