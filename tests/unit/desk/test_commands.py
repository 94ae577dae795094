"""The commands create_operator and seed_demo --history."""

import io
import sys
import uuid
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db.models import F
from django.utils import timezone

from agents.models import AgentTool
from executions.models import Execution
from map_project.tenants.models import Tenant

PASSWORD = "correct horse battery"


@pytest.mark.parametrize(
    ("options", "groups"),
    [([], {"operator"}), (["--auditor"], {"auditor"}), (["--superuser"], set())],
)
def test_an_account_is_created(options: list[str], groups: set[str]) -> None:
    name, out = f"made-{uuid.uuid4()}", io.StringIO()
    call_command(
        "create_operator",
        name,
        "--email",
        "a@example.com",
        "--password",
        PASSWORD,
        *options,
        stdout=out,
    )
    user = User.objects.get(username=name)
    assert set(user.groups.values_list("name", flat=True)) == groups
    assert (user.is_staff, user.is_superuser) == (True, not groups)
    assert user.check_password(PASSWORD)
    assert PASSWORD not in out.getvalue()


def test_the_password_is_read_from_stdin(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"piped-{uuid.uuid4()}"
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{PASSWORD}\n"))
    call_command("create_operator", name, "--password-stdin", verbosity=0)
    assert User.objects.get(username=name).check_password(PASSWORD)


@pytest.mark.parametrize("again", [PASSWORD, "another"])
def test_the_password_is_asked_for_at_a_terminal(
    monkeypatch: pytest.MonkeyPatch, again: str
) -> None:
    from map_project.desk.management.commands import create_operator

    name, inputs = f"typed-{uuid.uuid4()}", iter((PASSWORD, again))
    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr(create_operator, "getpass", lambda _: next(inputs))
    if again == PASSWORD:
        call_command("create_operator", name, verbosity=0)
    else:
        with pytest.raises(CommandError, match="do not match"):
            call_command("create_operator", name)
    assert User.objects.filter(username=name).exists() == (again == PASSWORD)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["x", "--password", "short"], "too short"),
        (["not a name", "--password", PASSWORD], "valid username"),
        (["x", "--email", "nowhere", "--password", PASSWORD], "valid email"),
        (["x"], "not a terminal"),
    ],
)
def test_invalid_arguments_are_reported(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    with pytest.raises(CommandError, match=message):
        call_command("create_operator", *arguments)
    assert not User.objects.filter(username="x").exists()


def test_usernames_are_unique() -> None:
    name = f"twice-{uuid.uuid4()}"
    call_command("create_operator", name, "--password", PASSWORD, verbosity=0)
    with pytest.raises(CommandError, match="already exists"):
        call_command("create_operator", name, "--password", PASSWORD)


@pytest.fixture(scope="module")
def seeded() -> str:
    """Create about 3,000 runs and return the output of the command."""
    out = io.StringIO()
    call_command("seed_demo", "--force", "--history", "3000", stdout=out)
    return out.getvalue()


def test_the_history_of_a_month(seeded: str) -> None:
    names = ["Northwind Trading", "Acme Robotics", "Helvetia Biolabs", "Kaito Logistics"]
    tenants = Tenant.objects.filter(name__in=names)
    assert tenants.count() == len(names)
    runs = Execution.objects.filter(tenant__in=tenants)
    now = timezone.now()
    assert not runs.exclude(created_at__range=(now - timedelta(days=30, hours=1), now)).exists()
    statuses = Counter(runs.values_list("status", flat=True))
    assert statuses["succeeded"] > 0.9 * statuses.total()
    assert statuses["failed"] > 0
    assert statuses["incomplete"] > 0
    assert not runs.filter(status="succeeded", response="").exists()
    assert not runs.filter(prompt__contains="{").exists()
    mixed = AgentTool.objects.exclude(agent__tenant=F("tool__tenant"))
    assert not mixed.exists()
    # The ids have the same order as the times.
    by_id, by_time = runs.order_by("pk"), runs.order_by("created_at")
    assert abs(by_id[0].created_at - by_time[0].created_at) < timedelta(seconds=1)


def test_the_progress_is_shown(seeded: str) -> None:
    lines = seeded.splitlines()
    assert lines[-1].startswith("[##############################] 3,000 of 3,000 runs")


@pytest.mark.parametrize("number", ["0", "-1", "many", "10000001"])
def test_a_number_out_of_range_is_rejected(number: str) -> None:
    with pytest.raises(CommandError):
        call_command("seed_demo", "--force", "--history", number)


def test_without_history_nothing_is_printed(capsys: Any) -> None:
    call_command("seed_demo", "--force")
    assert capsys.readouterr().out == ""
