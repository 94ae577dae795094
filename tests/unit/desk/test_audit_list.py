"""The list of the audit log: who, the values before and after, and its filters."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import User
from django.db import connection
from django.db.models import Model
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from map_project.api import audit
from map_project.api.audit import KeyActor
from map_project.desk.audit_log.messages import Change, read
from map_project.tenants.keys import issue_key
from map_project.tenants.models import Tenant
from tests.factories import AgentFactory, ApprovalFactory, ExecutionFactory, ToolFactory

PATH = reverse("admin:admin_logentry_changelist")


def found(client: Client, **query: str) -> list[LogEntry]:
    response = client.get(PATH, query)
    assert response.status_code == 200
    return list(response.context["cl"].result_list)


def names(client: Client, tenant: Tenant, **query: str) -> set[str]:
    entries = found(client, tenant=str(tenant.pk), **query)
    return {f"{entry.object_repr}: {entry.change_message}" for entry in entries}


@pytest.fixture
def editor() -> User:
    return User.objects.create_user(f"editor-{timezone.now().timestamp()}")


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ({"name": ("a", "b")}, [("name", '"a"', '"b"')]),
        ({"limit": (None, 7), "on": (True, False)}, [("limit", "null", "7"), ("on", "true", "false")]),
        ({"text": ('"; x: 1 → 2', "\n")}, [("text", r'"\"; x: 1 → 2"', r'"\n"')]),
        ({"cost": (1.5, -2), "ids": ([1], {"a": "; "})},
         [("cost", "1.5", "-2"), ("ids", "[1]", '{"a": "; "}')]),
    ],
)  # fmt: skip
def test_fields_are_read_from_the_text(
    values: dict[str, tuple[Any, Any]], shown: list[tuple[str, str, str]]
) -> None:
    before = {name: value for name, (value, _) in values.items()}
    after = {name: value for name, (_, value) in values.items()}
    entry = read(audit.changes(before, after), "eve")
    assert (entry.who, entry.text) == ("eve", "")
    assert entry.changes == tuple(Change(*each) for each in shown)


def test_new_rows_and_secrets_have_no_value_before() -> None:
    text = audit.changes({}, {"name": "a", "key": "x", "on": True}, secret={"key"})
    assert read(text, "eve").changes == (
        Change("name", "", '"a"'),
        Change("key", "", "set"),
        Change("on", "", "true"),
    )


def test_long_values_are_read() -> None:
    text = audit.changes(
        {"name": "a", "schema": "x" * 4_000, "list": list(range(900))},
        {"name": "b", "schema": "x" * 3_000 + "y", "list": list(range(901))},
    )
    name, schema, numbers = read(text, "eve").changes
    assert (name.before, name.after) == ('"a"', '"b"')
    assert schema.before.endswith("(4,002 characters)")
    assert schema.after.endswith("(3,003 characters)")
    assert (numbers.before, numbers.after) == ("[]", "[900] (only the entries that differ)")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "No fields changed.",
        "Reset the usage of the rate limit: 5 → 0.",
        "Issued the API key map_abcdefgh.",
        "name: ",
        'name: "a" → ',
        'name: "a" → "b" and more',
        'name: "a',
        "name: " + "[" * 100_000,
        "12 deleted. ip_address: 192.0.2.1; and: more: of: it",
    ],
)
def test_other_texts_are_shown_as_they_are(text: str) -> None:
    entry = read(text, "eve")
    assert (entry.text, entry.changes) == (text, ())


def test_who_made_a_change() -> None:
    assert read('By the API key map_12345678: Revoked. a: null → "b"', "(API)") == (
        read('Revoked. a: null → "b"', "API key map_12345678…")
    )
    by_command = read('By the operating system\'s user root: name: "a" → "b"', "(command line)")
    assert by_command.who == "root (command line)"
    assert by_command.changes == (Change("name", '"a"', '"b"'),)
    revoked = read('Revoked. revoked_at: null → "2026-01-01"', "eve")
    assert (revoked.text, len(revoked.changes)) == ("Revoked.", 1)


def test_the_list_shows_who_changed_what(auditor: Client, tenant: Tenant, editor: User) -> None:
    changes = {"rate_limit_requests": None, "name": "<i>"}, {"rate_limit_requests": 7, "name": "b"}
    audit.record(tenant, audit.changes(*changes), user=editor)
    page = auditor.get(PATH, {"tenant": str(tenant.pk)}).content.decode()
    assert editor.username in page
    assert "<b>rate_limit_requests</b> <del>null</del> → <ins>7</ins>" in page
    assert "<del>&quot;&lt;i&gt;&quot;</del>" in page
    assert f'href="/admin/tenants/tenant/{tenant.pk}/change/"' in page


def log(row: Model, message: str, editor: User) -> None:
    LogEntry.objects.log_actions(editor.pk, [row], CHANGE, message, single_object=True)


def test_the_filter_of_tenants(
    auditor: Client, operator: Client, tenant: Tenant, other_tenant: Tenant, editor: User
) -> None:
    expected = set()
    for owner in (tenant, other_tenant):
        agent = AgentFactory.create(tenant=owner)
        execution = ExecutionFactory.create(agent=agent)
        key = issue_key(tenant=owner, user=KeyActor("map_12345678"))[0]
        rows = (owner, agent, execution, key, ApprovalFactory.create(execution=execution))
        for row in rows:
            log(row, f"of {owner}", editor)
            if owner == tenant:
                expected.add(f"{row}: of {owner}")
    log(editor, "of a user", editor)
    shown = names(auditor, tenant)
    assert {text for text in shown if ": of " in text} == expected
    assert any("By the API key map_12345678: Issued" in text for text in shown)
    deleted = ToolFactory.create(tenant=tenant, name="deleted tool")
    log(deleted, "before its deletion", editor)
    operator.post(reverse("admin:tools_tool_delete", args=[deleted.pk]), {"post": "yes"})
    shown = names(auditor, tenant)
    assert "deleted tool: before its deletion" in shown
    assert len({text for text in shown if text.startswith("deleted tool")}) == 2
    assert not any("deleted tool" in text for text in names(auditor, other_tenant))


def test_other_filters(auditor: Client, tenant: Tenant, editor: User) -> None:
    log(tenant, "by the editor", editor)
    AgentFactory.create(tenant=tenant)
    other = User.objects.create_user(f"other-{editor.username}")
    log(AgentFactory.create(tenant=tenant), "by another", other)
    (entry,) = found(auditor, user__id__exact=str(editor.pk))
    assert entry.change_message == "by the editor"
    kind = {"content_type__id__exact": str(entry.content_type_id)}
    assert len(found(auditor, tenant=str(tenant.pk), **kind)) == 1
    assert len(found(auditor, tenant=str(tenant.pk))) == 2
    assert len(found(auditor, tenant=str(tenant.pk), q="by another")) == 1
    assert found(auditor, tenant="11111111-1111-1111-1111-000000000000") == []
    assert auditor.get(PATH, {"tenant": "x"}).status_code == 400


@pytest.mark.parametrize(
    ("query", "count"),
    [({}, 2), ({"period": "24h"}, 1), ({"period": "all"}, 3), ({"period": "x"}, 2)],
)
def test_periods(
    auditor: Client, tenant: Tenant, editor: User, query: dict[str, str], count: int
) -> None:
    for days in (0, 20, 40):
        log(tenant, f"{days} days ago", editor)
        entry = LogEntry.objects.filter(object_id=str(tenant.pk)).latest("pk")
        time = timezone.now() - timedelta(days=days)
        LogEntry.objects.filter(pk=entry.pk).update(action_time=time)
    assert len(found(auditor, tenant=str(tenant.pk), **query)) == count
    day = f"{timezone.now() - timedelta(days=40):%Y-%m-%d}"
    dates = {"action_time_from": day, "action_time_to": day}
    (entry,) = found(auditor, tenant=str(tenant.pk), **dates)
    assert entry.change_message == "40 days ago"


def test_the_indexes_exist() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT indexdef FROM pg_indexes WHERE tablename = 'django_admin_log'")
        definitions = " ".join(row[0] for row in cursor.fetchall())
    assert "(action_time, id)" in definitions
    assert "(object_id, content_type_id)" in definitions
