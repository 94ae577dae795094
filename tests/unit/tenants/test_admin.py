"""Pages of the admin, and actions that it does not allow."""

import uuid
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from executions.models import Conversation, Execution
from map_project.tenants.keys import issue_key
from map_project.tenants.models import Tenant
from tests.factories import AgentFactory, ExecutionFactory, ToolFactory


def client_of(**fields: Any) -> Client:
    """Return a client signed in as a new user with these fields."""
    client = Client()
    client.force_login(User.objects.create_user(str(uuid.uuid4()), **fields))
    return client


@pytest.fixture(scope="module")
def operator() -> Client:
    return client_of(is_staff=True, is_superuser=True)


def page(kind: str, verb: str, *args: object) -> str:
    return reverse(f"admin:{kind}_{verb}", args=args)


@pytest.fixture
def rows(tenant: Tenant) -> dict[str, Any]:
    """A row of each kind, by the name in the URLs of its pages."""
    agent = AgentFactory.create(tenant=tenant, with_tools=1)
    return {
        "tenants_tenant": tenant,
        "tenants_apikey": issue_key(tenant=tenant)[0],
        "tools_tool": ToolFactory.create(tenant=tenant),
        "agents_agent": agent,
        "executions_execution": ExecutionFactory.create(agent=agent),
        "executions_conversation": Conversation.objects.create(tenant=tenant),
    }


PERMANENT = ["tenants_tenant", "tenants_apikey", "executions_execution", "executions_conversation"]
KINDS = [*PERMANENT, "tools_tool", "agents_agent"]


@pytest.mark.parametrize("kind", KINDS)
def test_an_operator_sees_everything(operator: Client, rows: dict[str, Any], kind: str) -> None:
    assert operator.get(page(kind, "changelist")).status_code == 200
    assert operator.get(page(kind, "change", rows[kind].pk)).status_code == 200


@pytest.mark.parametrize("kind", KINDS)
def test_other_users_see_nothing(rows: dict[str, Any], kind: str) -> None:
    for path in (page(kind, "changelist"), page(kind, "change", rows[kind].pk)):
        for client in (Client(), client_of()):
            response = client.get(path)
            assert (response.status_code, response["location"]) == (
                302,
                f"/admin/login/?next={path}",
            )
        assert client_of(is_staff=True).get(path).status_code == 403


@pytest.mark.parametrize("kind", PERMANENT)
def test_permanent_rows_cannot_be_deleted(
    operator: Client, rows: dict[str, Any], kind: str
) -> None:
    row = rows[kind]
    for method in (operator.get, operator.post):
        assert method(page(kind, "delete", row.pk), {"post": "yes"}).status_code == 403
    many = {"action": "delete_selected", "_selected_action": [str(row.pk)], "post": "yes"}
    operator.post(page(kind, "changelist"), many)
    assert type(row).objects.filter(pk=row.pk).exists()
    assert b"delete_selected" not in operator.get(page(kind, "changelist")).content


def test_history_is_read_only(operator: Client, rows: dict[str, Any]) -> None:
    execution = rows["executions_execution"]
    before = Execution.objects.filter(pk=execution.pk).values()[0]
    changed = {"prompt": "another", "response": "another", "status": "succeeded"}
    response = operator.post(page("executions_execution", "change", execution.pk), changed)
    assert response.status_code == 403
    for method in (operator.get, operator.post):
        assert method(page("executions_execution", "add"), changed).status_code == 403
    assert Execution.objects.filter(pk=execution.pk).values()[0] == before


def test_the_hash_of_a_key_is_not_shown(operator: Client, rows: dict[str, Any]) -> None:
    key = rows["tenants_apikey"]
    for path in (
        page("tenants_apikey", "changelist"),
        page("tenants_apikey", "change", key.pk),
        page("tenants_tenant", "change", key.tenant_id),
    ):
        assert key.key_hash.encode() not in operator.get(path).content


@pytest.mark.parametrize("kind", ["tools_tool", "agents_agent"])
def test_the_tenant_of_tools_and_agents_cannot_be_changed(
    operator: Client, rows: dict[str, Any], other_tenant: Tenant, kind: str
) -> None:
    row = rows[kind]
    sent = {
        "tenant": str(other_tenant.pk),
        "name": "moved",
        "role": "r",
        "description": "d",
        "agenttool_set-TOTAL_FORMS": "0",
        "agenttool_set-INITIAL_FORMS": "0",
    }
    operator.post(page(kind, "change", row.pk), sent)
    before = row.tenant_id
    row.refresh_from_db()
    assert row.tenant_id == before


def test_a_tool_in_use_cannot_be_deleted(operator: Client, rows: dict[str, Any]) -> None:
    tool = rows["agents_agent"].tools.get()
    operator.post(page("tools_tool", "delete", tool.pk), {"post": "yes"})
    tool.refresh_from_db()


def test_the_path_without_a_slash_redirects_to_the_admin() -> None:
    assert Client().get("/admin")["location"] == "/admin/"
