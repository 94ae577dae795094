"""Permissions: operators manage, auditors read, nobody edits the log."""

from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, Permission, User
from django.test import Client
from django.urls import reverse

from executions.models import Conversation
from map_project.tenants.keys import issue_key
from map_project.tenants.models import Tenant
from tests.factories import AgentFactory, ApprovalFactory, ExecutionFactory

KINDS = [
    *("tenants_tenant", "tenants_apikey", "tools_tool", "agents_agent", "executions_execution"),
    *("executions_conversation", "executions_approval"),
]
READ_BY_ALL = [*KINDS, "admin_logentry", "axes_accessattempt"]


@pytest.fixture
def rows(tenant: Tenant) -> dict[str, Any]:
    agent = AgentFactory.create(tenant=tenant, with_tools=1)
    return {
        "tenants_tenant": tenant,
        "tenants_apikey": issue_key(tenant=tenant)[0],
        "tools_tool": agent.tools.get(),
        "agents_agent": agent,
        "executions_execution": (execution := ExecutionFactory.create(agent=agent)),
        "executions_approval": ApprovalFactory.create(execution=execution),
        "executions_conversation": Conversation.objects.create(tenant=tenant),
    }


def page(kind: str, verb: str, *args: object) -> str:
    return reverse(f"admin:{kind}_{verb}", args=args)


@pytest.mark.parametrize("kind", READ_BY_ALL)
def test_operators_and_auditors_can_read(operator: Client, auditor: Client, kind: str) -> None:
    for client in (operator, auditor):
        assert client.get(page(kind, "changelist")).status_code == 200


@pytest.mark.parametrize("kind", KINDS)
def test_an_auditor_cannot_change_rows(auditor: Client, rows: dict[str, Any], kind: str) -> None:
    row = rows[kind]
    before = type(row).objects.filter(pk=row.pk).values().get()
    assert auditor.get(page(kind, "change", row.pk)).status_code == 200
    for path in (
        page(kind, "change", row.pk),
        page(kind, "delete", row.pk),
        page(kind, "add"),
    ):
        assert auditor.post(path, {"name": "changed", "post": "yes"}).status_code == 403, path
    assert type(row).objects.filter(pk=row.pk).values().get() == before


def test_an_auditor_cannot_issue_rotate_revoke_or_reset(
    auditor: Client, rows: dict[str, Any]
) -> None:
    tenant, key = rows["tenants_tenant"], rows["tenants_apikey"]
    for path in (
        reverse("admin:issue_key", args=[tenant.pk]),
        reverse("admin:reset_usage", args=[tenant.pk]),
        reverse("admin:rotate_key", args=[key.pk]),
        reverse("admin:revoke_key", args=[key.pk]),
    ):
        assert auditor.get(path).status_code == 403, path
        assert auditor.post(path, {"grace": "0"}).status_code == 403, path
    key.refresh_from_db()
    assert (key.revoked_at, tenant.api_keys.count()) == (None, 1)


def test_operators_cannot_manage_staff(operator: Client, auditor: Client) -> None:
    assert operator.get(page("auth_user", "changelist")).status_code == 403
    assert auditor.get(page("auth_user", "changelist")).status_code == 200
    assert auditor.get(page("auth_user", "add")).status_code == 403


def test_nobody_can_edit_the_log_or_delete_staff(superuser: Client, operator: Client) -> None:
    operator.post(page("tenants_tenant", "add"), {"name": "logged", "is_active": "on"})
    entry = LogEntry.objects.latest("pk")
    assert superuser.get(page("admin_logentry", "changelist")).status_code == 200
    for path in (
        page("admin_logentry", "add"),
        page("admin_logentry", "delete", entry.pk),
        page("admin_logentry", "change", entry.pk),
        page("auth_user", "delete", User.objects.latest("pk").pk),
    ):
        assert superuser.post(path, {"post": "yes"}).status_code == 403, path


PERMISSIONS = {
    "operator": {
        "tenants": "view_tenant add_tenant change_tenant view_apikey add_apikey change_apikey",
        "tools": "view_tool add_tool change_tool delete_tool",
        "agents": "view_agent add_agent change_agent delete_agent "
        "view_agenttool add_agenttool change_agenttool delete_agenttool "
        "view_languagemodel add_languagemodel change_languagemodel delete_languagemodel",
        "executions": "view_execution view_conversation view_approval change_approval",
        "webhooks": "view_webhookendpoint change_webhookendpoint view_webhookdelivery",
        "admin": "view_logentry",
        "axes": "view_accessattempt delete_accessattempt",
    },
    "auditor": {
        "tenants": "view_tenant view_apikey",
        "tools": "view_tool",
        "agents": "view_agent view_agenttool view_languagemodel",
        "executions": "view_execution view_conversation view_approval",
        "webhooks": "view_webhookendpoint view_webhookdelivery",
        "admin": "view_logentry",
        "axes": "view_accessattempt",
        "auth": "view_user view_group",
    },
}


@pytest.mark.parametrize("name", PERMISSIONS)
def test_migrations_create_the_groups_with_these_permissions(name: str) -> None:
    """The test database was migrated from zero."""
    granted = Group.objects.get(name=name).permissions
    expected = {
        (app_label, codename)
        for app_label, codenames in PERMISSIONS[name].items()
        for codename in codenames.split()
    }
    assert {*granted.values_list("content_type__app_label", "codename")} == expected


def test_permissions_have_the_names_that_django_gives_them() -> None:
    """Django creates permissions after all migrations; those of the groups exist before."""
    for permission in Permission.objects.select_related("content_type"):
        model = permission.content_type.model_class()
        assert model is not None
        action = permission.codename.removesuffix(f"_{model._meta.model_name}")
        assert permission.name == f"Can {action} {model._meta.verbose_name_raw}"


def test_the_hash_of_a_password_is_not_shown(auditor: Client) -> None:
    user = User.objects.create_user("hashed", password="something-long-enough")
    content = auditor.get(page("auth_user", "change", user.pk)).content.decode()
    assert user.password.rpartition("$")[2] not in content


def test_a_user_without_a_group_sees_nothing() -> None:
    client = Client()
    client.force_login(User.objects.create_user("nobody", is_staff=True))
    index = client.get(reverse("admin:index"))
    assert index.status_code == 200
    assert b"has no role" in index.content
    assert b"Latest runs" not in index.content
    assert b"execution" not in client.get(reverse("admin:search"), {"s": "a"}).content
    for kind in READ_BY_ALL:
        assert client.get(page(kind, "changelist")).status_code == 403
