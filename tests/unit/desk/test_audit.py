"""The audit log: every change in the admin and by a command, from which value to which, without secrets."""

import io
import json
import os
import pwd
import re
from typing import Any

import pytest
from axes.models import AccessAttempt
from django.contrib.admin.models import ADDITION, CHANGE, DELETION, LogEntry
from django.contrib.auth.models import Group, Permission, User
from django.core.management import call_command
from django.db.models import Model
from django.test import Client
from django.urls import reverse

from agents.models import Agent, AgentTool, LanguageModel
from map_project.api.audit import COMMAND_LINE, MAX_VALUE_LENGTH
from map_project.tenants.keys import issue_key
from map_project.tenants.models import ApiKey, Tenant
from tests.factories import AgentFactory, TenantFactory, ToolFactory
from tools.models import Tool

SECRET = "a-secret-of-the-audit-tests"


def entries(row: Model) -> list[LogEntry]:
    found = LogEntry.objects.filter(
        object_id=str(row.pk), content_type__model=row._meta.model_name
    ).order_by("pk")
    return [*found]


def last(row: Model) -> LogEntry:
    entry = entries(row)[-1]
    assert SECRET not in entry.change_message
    return entry


def form_data(client: Client, path: str) -> dict[str, Any]:
    """The values of the form on a page, as a browser sends them."""
    form = client.get(path).context["adminform"].form
    data = {}
    for name, field in form.fields.items():
        value = field.prepare_value(form.get_initial_for_field(field, name))
        if value not in (None, False):
            data[name] = value
    return data


def change(client: Client, row: Model, **changes: Any) -> LogEntry:
    path = reverse(f"admin:{row._meta.label_lower.replace('.', '_')}_change", args=[row.pk])
    data = form_data(client, path)
    data.update(changes)
    response = client.post(path, {name: value for name, value in data.items() if value != "off"})
    assert response.status_code == 302, response.context["adminform"].form.errors
    return last(row)


def command(name: str, *arguments: object, **options: Any) -> str:
    output = io.StringIO()
    call_command(name, *map(str, arguments), stdout=output, **options)
    return output.getvalue().strip()


def by_command(entry: LogEntry) -> str:
    """The message of an entry that names the user of the operating system."""
    name = pwd.getpwuid(os.geteuid()).pw_name
    prefix = f"By the operating system's user {name}: "
    assert entry.user.username == COMMAND_LINE
    assert entry.get_change_message().startswith(prefix)
    return entry.get_change_message().removeprefix(prefix)


def test_a_change_of_a_tenant_in_the_admin(operator: Client, tenant: Tenant) -> None:
    entry = change(operator, tenant, rate_limit_requests="7", is_active="off")
    assert entry.action_flag == CHANGE
    assert entry.get_change_message() == ("is_active: true → false; rate_limit_requests: null → 7")
    assert str(entry.user.pk) == operator.session["_auth_user_id"]
    page = operator.get(reverse("admin:tenants_tenant_history", args=[tenant.pk]))
    assert "rate_limit_requests: null → 7" in page.content.decode()


def test_a_change_of_a_tool_and_of_an_agent(operator: Client, tenant: Tenant) -> None:
    tool = ToolFactory.create(tenant=tenant, name="before")
    entry = change(operator, tool, name="after", parameters='{"type": "object"}')
    assert 'name: "before" → "after"' in entry.get_change_message()
    assert "parameters: {" in entry.get_change_message()
    agent = AgentFactory.create(tenant=tenant, role="old")
    entry = change(operator, agent, role="new", selected_tools=[tool.pk], temperature="0.5")
    assert entry.get_change_message() == (
        'role: "old" → "new"; temperature: null → 0.5; selected_tools: [] → ["after"]'
    )
    assert change(operator, agent, selected_tools=[]).get_change_message() == (
        'selected_tools: ["after"] → []'
    )


def test_long_values_are_bounded(operator: Client, tenant: Tenant) -> None:
    tool = ToolFactory.create(tenant=tenant)
    schema = json.dumps({"type": "object", "description": "x" * 4_000})
    message = change(operator, tool, parameters=schema).get_change_message()
    assert len(message) < 2 * MAX_VALUE_LENGTH
    assert re.search(r"… \(4,0\d\d characters\)", message)


def test_new_and_deleted_rows_are_logged_with_their_values(
    operator: Client, tenant: Tenant
) -> None:
    sent = {"tenant": str(tenant.pk), "name": "new tool", "description": "Does it."}
    assert operator.post(reverse("admin:tools_tool_add"), sent).status_code == 302
    tool = tenant.tool_set.get(name="new tool")
    entry = last(tool)
    assert entry.action_flag == ADDITION
    assert entry.get_change_message() == (
        f'tenant: "{tenant.name}"; name: "new tool"; description: "Does it."'
    )
    operator.post(reverse("admin:tools_tool_delete", args=[tool.pk]), {"post": "yes"})
    entry = last(tool)
    assert entry.action_flag == DELETION
    assert 'name: "new tool"' in entry.get_change_message()
    many = ToolFactory.create_batch(2, tenant=tenant)
    selected = [str(tool.pk) for tool in many]
    sent_action = {"action": "delete_selected", "_selected_action": selected, "post": "yes"}
    operator.post(reverse("admin:tools_tool_changelist"), sent_action)
    assert [last(tool).action_flag for tool in many] == [DELETION, DELETION]


def test_credentials_and_passwords_are_not_logged(superuser: Client) -> None:
    model = LanguageModel.objects.create(
        name=f"audit-{TenantFactory.build().name}",
        provider="openai",
        base_url="http://models.example/v1",
    )
    entry = change(superuser, model, credential=SECRET, max_retries="5")
    assert entry.get_change_message() == "credential: changed; max_retries: 2 → 5"
    command("update_model", model.name, credential=SECRET, timeout=9)
    assert by_command(last(model)) == "credential_token: changed; timeout_seconds: 60 → 9"

    user = User.objects.create_user("audited-" + TenantFactory.build().name, is_staff=True)
    path = reverse("admin:auth_user_password_change", args=[user.pk])
    sent = {"password1": SECRET, "password2": SECRET, "usable_password": "true"}
    assert superuser.post(path, sent).status_code == 302
    assert last(user).get_change_message() == "password: changed"
    group = Group.objects.get(name="auditor")
    user.refresh_from_db()
    joined = {"date_joined_0": "2026-01-01", "date_joined_1": "00:00:00"}
    message = change(superuser, user, groups=[group.pk], **joined)
    assert 'groups: [] → ["auditor"]' in message.get_change_message()

    client = Client()
    client.force_login(user)
    sent = {"old_password": SECRET, "new_password1": SECRET + "2", "new_password2": SECRET + "2"}
    assert client.post(reverse("admin:password_change"), sent).status_code == 302
    assert last(user).get_change_message() == "password: changed"
    assert last(user).user == user


def test_commands_for_tenants() -> None:
    name = TenantFactory.build().name
    tenant = Tenant.objects.get(pk=command("create_tenant", name, rate_limit=5))
    assert last(tenant).action_flag == ADDITION
    assert by_command(last(tenant)) == (f'name: "{name}"; is_active: true; rate_limit_requests: 5')
    command("update_tenant", tenant.pk, "--inactive", "--rate-limit", "default")
    assert by_command(last(tenant)) == "is_active: true → false; rate_limit_requests: 5 → null"
    command("update_tenant", tenant.pk, "--inactive")
    assert len(entries(tenant)) == 2


def test_commands_for_keys(tenant: Tenant) -> None:
    command("create_api_key", tenant.pk, "--name", "production")
    key = tenant.api_keys.get()
    assert by_command(last(key)) == 'Issued. name: "production"'
    assert by_command(last(tenant)) == f"Issued the API key {key.prefix}."
    command("revoke_api_key", key.prefix)
    assert by_command(last(key)).startswith("Revoked. revoked_at: null → ")
    count = len(entries(key))
    command("revoke_api_key", key.prefix)
    assert len(entries(key)) == count
    for entry in (*entries(key), *entries(tenant)):
        assert key.key_hash not in entry.change_message


def test_commands_for_users_and_models() -> None:
    name = "audited-" + TenantFactory.build().name
    command("create_operator", name, password=SECRET, auditor=True)
    user = User.objects.get(username=name)
    assert by_command(last(user)) == f'username: "{name}"; role: "auditor"'
    command("create_model", name, provider="mock")
    model = LanguageModel.objects.get(name=name)
    assert f'name: "{name}"' in by_command(last(model))
    assert last(model).action_flag == ADDITION


def test_commands_of_django_and_axes(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "audited-" + TenantFactory.build().name
    monkeypatch.setenv("DJANGO_SUPERUSER_PASSWORD", SECRET)
    command("createsuperuser", interactive=False, username=name, email="root@example.com")
    user = User.objects.get(username=name)
    assert by_command(last(user)) == (
        f'username: "{name}"; email: "root@example.com"; role: "superuser"'
    )
    monkeypatch.setattr("getpass.getpass", lambda **_: SECRET)
    command("changepassword", name)
    assert by_command(last(user)) == "password: changed"

    Client().post("/admin/login/", {"username": name, "password": "x"}, REMOTE_ADDR="192.0.2.77")
    command("axes_reset_ip", "192.0.2.77")
    entry = LogEntry.objects.filter(content_type__model="accessattempt").latest("pk")
    assert by_command(entry) == "1 deleted. ip_address: 192.0.2.77"


def test_a_rotation_has_the_old_and_the_new_expiry(operator: Client, tenant: Tenant) -> None:
    key, _ = issue_key(tenant=tenant)
    operator.post(reverse("admin:rotate_key", args=[key.pk]), {"grace": "3600"})
    message = last(key).get_change_message()
    new = tenant.api_keys.latest("created_at")
    assert message.startswith(f"Rotated. New key: {new.prefix}. expires_at: null → ")
    operator.post(reverse("admin:revoke_key", args=[new.pk]))
    assert last(new).get_change_message().startswith("Revoked. revoked_at: null → ")


def test_the_user_of_commands_cannot_sign_in(tenant: Tenant) -> None:
    issue_key(tenant=tenant)
    user = User.objects.get(username=COMMAND_LINE)
    assert not user.is_active
    assert not user.is_staff
    assert not user.has_usable_password()
    assert ApiKey.objects.filter(tenant=tenant).exists()


def test_a_change_at_the_end_of_a_long_value_is_shown(operator: Client, tenant: Tenant) -> None:
    schema: dict[str, Any] = {"type": "object", "description": "x" * 2_000, "title": "old title"}
    tool = ToolFactory.create(tenant=tenant, parameters=schema)
    sent = json.dumps({**schema, "title": "new title"})
    message = change(operator, tool, parameters=sent).get_change_message()
    assert message.count("old title") == message.count("new title") == 1
    assert len(message) < 2 * MAX_VALUE_LENGTH


def test_a_change_of_a_long_list_is_shown(superuser: Client) -> None:
    permissions = [*Permission.objects.order_by("pk")]
    group = Group.objects.create(name=f"audited-{TenantFactory.build().name}")
    group.permissions.set(permissions[:-1])
    kept = [permission.pk for permission in permissions[1:]]
    message = change(superuser, group, permissions=kept).get_change_message()
    removed, added = message.split(" → ")
    assert (str(permissions[0]) in removed, str(permissions[-1]) in added) == (True, True)
    assert len(message) < 500
    superuser.post(reverse("admin:auth_group_delete", args=[group.pk]), {"post": "yes"})
    assert "permissions: [" in last(group).get_change_message()


def test_a_removed_password_is_logged(superuser: Client) -> None:
    user = User.objects.create_user("audited-" + TenantFactory.build().name, password=SECRET)
    path = reverse("admin:auth_user_password_change", args=[user.pk])
    sent = {"password1": "", "password2": "", "usable_password": "false", "unset-password": "1"}
    assert superuser.post(path, sent).status_code == 302
    assert last(user).get_change_message() == "password: removed"


def test_the_form_of_a_failed_sign_in_is_not_logged(operator: Client) -> None:
    sent = {"username": "x", "password": SECRET, "password2": SECRET}
    Client().post(f"/admin/login/?key={SECRET}", sent, REMOTE_ADDR="192.0.2.78")
    attempt = AccessAttempt.objects.get(ip_address="192.0.2.78")
    operator.post(reverse("admin:axes_accessattempt_delete", args=[attempt.pk]), {"post": "yes"})
    assert "192.0.2.78" in last(attempt).get_change_message()
    assert "post_data: set" in last(attempt).get_change_message()


def test_the_demo_history_is_logged() -> None:
    """Of a customer whose agent and tools do not exist."""
    tenant, _ = Tenant.objects.get_or_create(name="Acme Robotics")
    AgentTool.objects.filter(agent__tenant=tenant).delete()
    Agent.objects.filter(tenant=tenant).delete()
    Tool.objects.filter(tenant=tenant).delete()
    command("seed_demo", "--force", "--history", "5")
    agents, tools = [*Agent.objects.filter(tenant=tenant)], [*Tool.objects.filter(tenant=tenant)]
    assert (bool(agents), bool(tools)) == (True, True)
    for row in (*agents, *tools):
        assert f'name: "{row.name}"' in by_command(last(row))


def test_the_log_is_searched_for_the_user_of_a_command(operator: Client) -> None:
    tenant = Tenant.objects.get(pk=command("create_tenant", TenantFactory.build().name))
    name = pwd.getpwuid(os.geteuid()).pw_name
    path = reverse("admin:admin_logentry_changelist")
    page = operator.get(path, {"q": f"user {name}: name"}).content.decode()
    assert str(tenant) in page
