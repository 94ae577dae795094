"""The sidebar: links to the pages that the user may view."""

from functools import cache
from typing import Any

from django.http import HttpRequest
from django.urls import reverse

# Pages that are no lists: the title of the group, label, icon, permission, and the name of the URL. In the
# first group they follow the dashboard, in the others the lists.
_PAGES = (
    ("", "Queue", "pending", "executions.view_execution", "queue"),
    ("", "Failures", "error", "executions.view_execution", "failures"),
    ("", "Usage", "calculate", "executions.view_execution", "usage"),
    ("", "Tool calls", "timer", "executions.view_execution", "tool_calls"),
    ("Tenants", "Stale keys", "key_off", "tenants.view_apikey", "stale_keys"),
)
# Each link has a label, an icon, and the app and the name of a model.
_GROUPS = (
    (
        "",
        (
            ("History", "history", "executions", "execution"),
            ("Conversations", "forum", "executions", "conversation"),
            ("Approvals", "check_circle", "executions", "approval"),
        ),
    ),
    (
        "Tenants",
        (
            ("Tenants", "apartment", "tenants", "tenant"),
            ("API keys", "key", "tenants", "apikey"),
            ("Agents", "smart_toy", "agents", "agent"),
            ("Tools", "build", "tools", "tool"),
            ("Webhooks", "bolt", "webhooks", "webhookendpoint"),
            ("Webhook deliveries", "receipt_long", "webhooks", "webhookdelivery"),
        ),
    ),
    ("Platform", (("Language models", "network_intelligence", "agents", "languagemodel"),)),
    (
        "Staff",
        (
            ("Users", "person", "auth", "user"),
            ("Groups", "group", "auth", "group"),
            ("Log entries", "receipt_long", "admin", "logentry"),
            ("Access attempts", "lock", "axes", "accessattempt"),
        ),
    ),
)


@cache
def list_names() -> dict[str, str]:
    """The names of the lists by their URLs."""
    return {
        reverse(f"admin:{app}_{model}_changelist"): label
        for _, links in _GROUPS
        for label, _, app, model in links
    }


def sidebar(request: HttpRequest) -> list[dict[str, Any]]:
    """Groups of links, in the format of `UNFOLD["SIDEBAR"]["navigation"]`."""
    groups: list[dict[str, Any]] = [
        {
            "title": title,
            "separator": bool(title),
            "items": [
                {"title": label, "icon": icon, "link": reverse(f"admin:{app}_{model}_changelist")}
                for label, icon, app, model in links
                if request.user.has_perm(f"{app}.view_{model}")
            ],
        }
        for title, links in _GROUPS
    ]
    dashboard = {"title": "Dashboard", "icon": "space_dashboard", "link": reverse("admin:index")}
    groups[0]["items"][:0] = [dashboard, *_pages(request, "")]
    for group in groups[1:]:
        group["items"] += _pages(request, group["title"])
    return groups


def _pages(request: HttpRequest, title: str) -> list[dict[str, Any]]:
    """The links to the pages of a group that are no lists."""
    return [
        {"title": label, "icon": icon, "link": reverse(f"admin:{name}")}
        for group, label, icon, permission, name in _PAGES
        if group == title and request.user.has_perm(permission)
    ]
