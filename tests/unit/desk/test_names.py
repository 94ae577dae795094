"""Each list, and each page below it, has one name: that of the sidebar."""

import re

import pytest
from django.test import Client

from map_project.desk.navigation import list_names
from map_project.tenants.models import Tenant
from tests.factories import AgentFactory

LISTS = {
    "/admin/executions/execution/": "History",
    "/admin/executions/conversation/": "Conversations",
    "/admin/executions/approval/": "Approvals",
    "/admin/tenants/tenant/": "Tenants",
    "/admin/tenants/apikey/": "API keys",
    "/admin/agents/agent/": "Agents",
    "/admin/tools/tool/": "Tools",
    "/admin/agents/languagemodel/": "Language models",
    "/admin/auth/user/": "Users",
    "/admin/auth/group/": "Groups",
    "/admin/admin/logentry/": "Log entries",
    "/admin/axes/accessattempt/": "Access attempts",
    "/admin/webhooks/webhookendpoint/": "Webhooks",
    "/admin/webhooks/webhookdelivery/": "Webhook deliveries",
}


def texts(page: str, element: str) -> list[str]:
    """Return the texts of all elements of this kind."""
    found = re.findall(rf"<{element}[ >].*?</{element}>", page, re.DOTALL)
    return [" ".join(re.sub(r"<[^>]*>", " ", text).split()) for text in found]


@pytest.mark.parametrize("path", LISTS)
def test_a_list_has_the_name_of_the_sidebar(superuser: Client, path: str) -> None:
    name = LISTS[path]
    assert list_names()[path] == name
    page = superuser.get(path).content.decode()
    assert texts(page, "title") == [f"{name} | Mini Agent Platform"]
    (heading,) = texts(page, "h1")
    assert re.fullmatch(rf"{name}( \d+ results?.*)?", heading), heading
    assert not [text for text in texts(page, "h3") if text.startswith("By ")]


def test_all_lists_are_examined() -> None:
    assert set(list_names()) == set(LISTS)


def test_breadcrumbs_have_the_names_of_rows_as_they_are(superuser: Client, tenant: Tenant) -> None:
    agent = AgentFactory.create(tenant=tenant, name="crm_lookup")
    for page in ("change", "history", "delete"):
        response = superuser.get(f"/admin/agents/agent/{agent.pk}/{page}/")
        assert texts(response.content.decode(), "h1") == ["Agents chevron_right crm_lookup"]


def test_the_page_of_changes_has_the_name_of_its_button(superuser: Client, tenant: Tenant) -> None:
    page = superuser.get(f"/admin/tenants/tenant/{tenant.pk}/history/").content.decode()
    assert texts(page, "title") == [f"Changes of {tenant} | Mini Agent Platform"]
    assert "Changes" in texts(page, "h2")


def test_there_are_no_pages_of_django_apps(superuser: Client) -> None:
    for app in ("executions", "axes", "auth"):
        response = superuser.get(f"/admin/{app}/")
        assert (response.status_code, response["Location"]) == (302, "/admin/")
