"""The sidebar: links to the pages that the user may view."""

from typing import Any

from django.http import HttpRequest
from django.urls import reverse

_GROUPS = (
    (
        "",
        (
            ("Dashboard", "space_dashboard", "admin:index", ""),
            (
                "History",
                "history",
                "admin:executions_execution_changelist",
                "executions.view_execution",
            ),
        ),
    ),
    (
        "Customers",
        (
            ("Tenants", "apartment", "admin:tenants_tenant_changelist", "tenants.view_tenant"),
            ("API keys", "key", "admin:tenants_apikey_changelist", "tenants.view_apikey"),
            ("Agents", "smart_toy", "admin:agents_agent_changelist", "agents.view_agent"),
            ("Tools", "build", "admin:tools_tool_changelist", "tools.view_tool"),
        ),
    ),
    (
        "Platform",
        (
            (
                "Language models",
                "network_intelligence",
                "admin:agents_languagemodel_changelist",
                "agents.view_languagemodel",
            ),
        ),
    ),
    (
        "Staff",
        (
            ("Users", "person", "admin:auth_user_changelist", "auth.view_user"),
            ("Groups", "group", "admin:auth_group_changelist", "auth.view_group"),
            (
                "Log entries",
                "receipt_long",
                "admin:admin_logentry_changelist",
                "admin.view_logentry",
            ),
            (
                "Access attempts",
                "lock",
                "admin:axes_accessattempt_changelist",
                "axes.view_accessattempt",
            ),
        ),
    ),
)


def sidebar(request: HttpRequest) -> list[dict[str, Any]]:
    """Groups of links, in the format of `UNFOLD["SIDEBAR"]["navigation"]`."""
    return [
        {
            "title": title,
            "separator": bool(title),
            "items": [
                {"title": label, "icon": icon, "link": reverse(route)}
                for label, icon, route, permission in items
                if not permission or request.user.has_perm(permission)
            ],
        }
        for title, items in _GROUPS
    ]
