"""The commands of operators: their output, their effects and their errors."""

import io
import os
import re
import subprocess
import sys
import uuid
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from map_project.api.audit import COMMAND_LINE
from map_project.tenants import last_used
from map_project.tenants.keys import hash_key, issue_key
from map_project.tenants.models import ApiKey, Tenant
from tests.api import Api
from tests.live import database_url

ROOT = Path(__file__).parents[3]


def run(*arguments: str) -> str:
    """Run a command and return its output."""
    out = io.StringIO()
    call_command(*arguments, stdout=out)
    return out.getvalue()


def error_of(*arguments: str) -> str:
    """Run a command that fails without output and return its error message."""
    out = io.StringIO()
    with pytest.raises(CommandError) as caught:
        call_command(*arguments, stdout=out)
    assert out.getvalue() == ""
    return str(caught.value)


@pytest.fixture
def name() -> str:
    return f"Tenant {uuid.uuid4()}"


class TestCreateTenant:
    def test_it_prints_the_id_and_nothing_else(self, name: str) -> None:
        printed = run("create_tenant", name)
        tenant = Tenant.objects.get(name=name)
        assert printed == f"{tenant.pk}\n"
        assert tenant.is_active
        assert (tenant.rate_limit_requests, tenant.rate_limit_window_seconds) == (None, None)

    def test_it_takes_a_quota(self, name: str) -> None:
        pk = run("create_tenant", name, "--rate-limit", "7", "--window", "2100").strip()
        tenant = Tenant.objects.get(pk=pk)
        assert (tenant.rate_limit_requests, tenant.rate_limit_window_seconds) == (7, 2100)

    def test_it_takes_the_models(self, name: str) -> None:
        pk = run("create_tenant", name, "--models", "gpt-4").strip()
        assert Tenant.objects.get(pk=pk).allowed_models == ["gpt-4"]
        other = f"{name} 2"
        assert "'gpt-9'" in error_of("create_tenant", other, "--models", "gpt-9")
        assert not Tenant.objects.filter(name=other).exists()

    def test_it_trims_the_name(self, name: str) -> None:
        run("create_tenant", f"  {name} ")
        assert Tenant.objects.filter(name=name).exists()

    @pytest.mark.parametrize(
        "options",
        [
            ["--rate-limit", "0"],
            ["--rate-limit", "1000001"],
            ["--rate-limit", "-1"],
            ["--rate-limit", "1.5"],
            ["--rate-limit", "1_0"],
            ["--rate-limit", "\u0665"],
            ["--rate-limit", "many"],
            ["--rate-limit", "default"],
            ["--rate-limit", ""],
            ["--rate-limit", "9" * 5000],
            ["--window", "0"],
            ["--window", "2101"],
            ["--window", "x"],
        ],
    )
    def test_it_rejects_an_invalid_quota(self, name: str, options: list[str]) -> None:
        assert error_of("create_tenant", name, *options)
        assert not Tenant.objects.filter(name=name).exists()

    @pytest.mark.parametrize("invalid", ["", "   ", "x" * 101])
    def test_it_rejects_an_invalid_name(self, invalid: str) -> None:
        assert error_of("create_tenant", invalid)
        assert not Tenant.objects.filter(name=invalid.strip()).exists()

    def test_it_rejects_a_name_that_exists(self, name: str) -> None:
        run("create_tenant", name)
        assert "already exists" in error_of("create_tenant", name)
        assert Tenant.objects.filter(name=name).count() == 1


class TestUpdateTenant:
    def changed(self, tenant: Tenant, *options: str) -> Tenant:
        assert run("update_tenant", str(tenant.pk), *options) == ""
        tenant.refresh_from_db()
        return tenant

    def test_it_changes_only_the_given_fields(self, tenant: Tenant) -> None:
        before = (tenant.name, tenant.is_active)
        updated = self.changed(tenant, "--rate-limit", "5", "--window", "10")
        assert (updated.rate_limit_requests, updated.rate_limit_window_seconds) == (5, 10)
        assert (updated.name, updated.is_active) == before
        updated = self.changed(tenant, "--rate-limit", "default")
        assert (updated.rate_limit_requests, updated.rate_limit_window_seconds) == (None, 10)
        updated = self.changed(tenant, "--window", "default")
        assert updated.rate_limit_window_seconds is None

    def test_without_options_it_changes_nothing(self, tenant: Tenant) -> None:
        before = Tenant.objects.filter(pk=tenant.pk).values()[0]
        self.changed(tenant)
        assert Tenant.objects.filter(pk=tenant.pk).values()[0] == before

    def test_it_finds_a_tenant_by_its_name(self, tenant: Tenant, name: str) -> None:
        run("update_tenant", tenant.name, "--name", name)
        tenant.refresh_from_db()
        assert tenant.name == name

    def test_keys_are_invalid_while_the_tenant_is_inactive(self, tenant: Tenant) -> None:
        keys = [issue_key(tenant=tenant)[1] for _ in range(3)]
        self.changed(tenant, "--inactive")
        assert {Api(key).get("tools").status for key in keys[:2]} == {401}
        self.changed(tenant, "--active")
        assert {Api(key).get("tools").status for key in keys} == {200}

    @pytest.mark.parametrize(
        "options",
        [
            ["--rate-limit", "0"],
            ["--window", "2101"],
            ["--window", "Default"],
            ["--rate-limit", ""],
            ["--name", " "],
            *(["--scopes", scopes] for scopes in ("", "read,", "read, run", "admin", "READ")),
            ["--name", "x" * 101],
            ["--active", "--inactive"],
        ],
    )
    def test_it_rejects_invalid_options_and_changes_nothing(
        self, tenant: Tenant, options: list[str]
    ) -> None:
        before = Tenant.objects.filter(pk=tenant.pk).values()[0]
        assert error_of("update_tenant", str(tenant.pk), "--rate-limit", "9", *options)
        assert Tenant.objects.filter(pk=tenant.pk).values()[0] == before

    def test_it_sets_and_removes_the_allowed_models(self, tenant: Tenant) -> None:
        updated = self.changed(tenant, "--models", "gpt-4, claude-3-opus")
        assert updated.allowed_models == ["gpt-4", "claude-3-opus"]
        assert self.changed(tenant, "--rate-limit", "5").allowed_models == updated.allowed_models
        assert self.changed(tenant, "--no-models").allowed_models == []
        assert self.changed(tenant, "--all-models").allowed_models is None

    def test_the_name_of_a_removed_model_may_be_kept(self, tenant: Tenant) -> None:
        Tenant.objects.filter(pk=tenant.pk).update(allowed_models=["gone"])
        assert self.changed(tenant, "--models", "gone,gpt-4").allowed_models == ["gone", "gpt-4"]

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (
                ["--models", "gpt-4,gpt-9"],
                "There is no model with the name 'gpt-9'. Models: gpt",
            ),
            (["--models", "gpt-4,gpt-4"], "distinct"),
            (["--models", ""], "name"),
            (["--models", "gpt-4,"], "name"),
            (["--models", "gpt-4", "--all-models"], "not allowed with"),
            (["--all-models", "--no-models"], "not allowed with"),
        ],
    )
    def test_it_rejects_invalid_models(
        self, tenant: Tenant, options: list[str], message: str
    ) -> None:
        Tenant.objects.filter(pk=tenant.pk).update(allowed_models=["gpt-4o"])
        before = Tenant.objects.filter(pk=tenant.pk).values()[0]
        assert message in error_of("update_tenant", tenant.name, "--rate-limit", "9", *options)
        assert Tenant.objects.filter(pk=tenant.pk).values()[0] == before

    def test_it_rejects_the_name_of_another_tenant(
        self, tenant: Tenant, other_tenant: Tenant
    ) -> None:
        assert "already exists" in error_of(
            "update_tenant", str(tenant.pk), "--name", other_tenant.name
        )


@pytest.mark.parametrize("command", ["update_tenant", "create_api_key", "list_api_keys"])
@pytest.mark.parametrize(
    "argument", ["nobody of this name", "0197a3c0-5b7e-7c1a-9f60-3a2f4f0f7a11", " "]
)
def test_an_unknown_tenant_is_reported(command: str, argument: str) -> None:
    assert repr(argument) in error_of(command, argument)


class TestCreateApiKey:
    def test_it_prints_the_key_and_nothing_else(self, tenant: Tenant) -> None:
        printed = run("create_api_key", str(tenant.pk))
        assert re.fullmatch(r"map_[A-Za-z0-9_-]{43}\n", printed)
        assert Api(printed.strip()).get("tools").status == 200

    def test_it_stores_only_a_hash_and_a_prefix(self, tenant: Tenant) -> None:
        key = run("create_api_key", tenant.name, "--name", "ci").strip()
        (row,) = ApiKey.objects.filter(tenant=tenant).values()
        assert (row["prefix"], row["key_hash"], row["name"]) == (key[:12], hash_key(key), "ci")
        assert (row["expires_at"], row["revoked_at"], row["last_used_at"]) == (None, None, None)
        assert not [value for value in row.values() if key[12:] in str(value)]

    @pytest.mark.parametrize(
        ("options", "scopes"),
        [
            ([], None),
            (["--scopes", "run,read,run"], ["read", "run"]),
            (["--scopes=keys"], ["keys"]),
        ],
    )
    def test_a_key_has_the_given_scopes(
        self, tenant: Tenant, options: list[str], scopes: list[str] | None
    ) -> None:
        run("create_api_key", str(tenant.pk), *options)
        row = ApiKey.objects.get(tenant=tenant)
        assert (row.scopes, row.created_by) == (scopes, COMMAND_LINE)

    def test_keys_differ(self, tenant: Tenant) -> None:
        keys = {run("create_api_key", str(tenant.pk)) for _ in range(5)}
        assert len(keys) == 5

    def test_a_key_may_expire(self, tenant: Tenant) -> None:
        before = timezone.now()
        run("create_api_key", str(tenant.pk), "--expires-in", "30")
        expires_at = ApiKey.objects.get(tenant=tenant).expires_at
        assert expires_at
        assert before <= expires_at - timedelta(days=30) <= timezone.now()

    @pytest.mark.parametrize(
        "options",
        [
            ["--expires-in", "0"],
            ["--expires-in", "-1"],
            ["--expires-in", "36501"],
            ["--expires-in", "1.5"],
            ["--expires-in", "9" * 400],
            ["--expires-in", "tomorrow"],
            ["--name", "x" * 101],
            ["--name", "a\0b"],
        ],
    )
    def test_it_rejects_invalid_options(self, tenant: Tenant, options: list[str]) -> None:
        assert error_of("create_api_key", str(tenant.pk), *options)
        assert not ApiKey.objects.filter(tenant=tenant).exists()


class TestListApiKeys:
    def test_it_prints_a_line_for_each_key(self, tenant: Tenant) -> None:
        unused, _ = issue_key(tenant=tenant)
        used, key = issue_key(
            tenant=tenant, name="ci", scopes=["read"], expires_in=timedelta(days=1)
        )
        Api(key).get("tools")
        last_used.flush()
        run("revoke_api_key", used.prefix)
        lines = run("list_api_keys", str(tenant.pk)).splitlines()
        fields = [line.split("\t") for line in lines]
        time = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"
        assert [row[:3] for row in fields] == [
            [unused.prefix, tenant.name, "-"],
            [used.prefix, tenant.name, "ci"],
        ]
        assert re.fullmatch(time, fields[0][3])
        assert fields[0][4:7] == ["-", "-", "-"]
        assert all(re.fullmatch(time, text) for text in fields[1][3:7])
        assert [row[7:] for row in fields] == [
            ["read,write,run,approve", "(command line)"],
            ["read", "(command line)"],
        ]

    def test_it_prints_no_keys(self, tenant: Tenant) -> None:
        row, key = issue_key(tenant=tenant)
        printed = run("list_api_keys")
        assert row.prefix in printed
        assert key not in printed
        assert row.key_hash not in printed

    def test_it_lists_the_keys_of_one_tenant_or_of_all(
        self, tenant: Tenant, other_tenant: Tenant
    ) -> None:
        own, other = (issue_key(tenant=each)[0].prefix for each in (tenant, other_tenant))
        assert own in run("list_api_keys", tenant.name)
        assert other not in run("list_api_keys", tenant.name)
        assert {own, other} <= {line.split("\t")[0] for line in run("list_api_keys").splitlines()}

    def test_names_cannot_add_columns_or_lines(self, name: str) -> None:
        tenant = Tenant.objects.create(name=f"{name}\t\n\x1b[31m")
        issue_key(tenant=tenant, name="a\tb\nc")
        (line,) = run("list_api_keys", str(tenant.pk)).splitlines()
        assert len(line.split("\t")) == 9
        assert line.isprintable() or line.replace("\t", "").isprintable()


class TestRevokeApiKey:
    def test_a_revocation_is_immediate_and_permanent(self, tenant: Tenant) -> None:
        row, key = issue_key(tenant=tenant)
        assert run("revoke_api_key", row.prefix) == ""
        assert Api(key).get("tools").status == 401
        row.refresh_from_db()
        first = row.revoked_at
        assert first
        run("revoke_api_key", row.prefix)
        row.refresh_from_db()
        assert row.revoked_at == first

    def test_other_keys_stay_valid(self, tenant: Tenant) -> None:
        (row, _), (_, kept) = (issue_key(tenant=tenant) for _ in range(2))
        run("revoke_api_key", row.prefix)
        assert Api(kept).get("tools").status == 200

    @pytest.mark.parametrize("invalid", ["", "map_", "map_00000000", "%", "x" * 5000])
    def test_it_rejects_an_unknown_prefix(self, invalid: str) -> None:
        assert repr(invalid[:12]) in error_of("revoke_api_key", invalid)

    def test_it_rejects_a_whole_key_and_does_not_print_it(self, tenant: Tenant) -> None:
        _, key = issue_key(tenant=tenant)
        assert key not in error_of("revoke_api_key", key)
        assert Api(key).get("tools").status == 200


class TestSeedDemo:
    A = uuid.UUID("11111111-1111-1111-1111-111111111111")
    B = uuid.UUID("22222222-2222-2222-2222-222222222222")

    @pytest.fixture(autouse=True)
    def _in_development(self, settings: Any) -> None:
        settings.DEVELOPMENT = True

    def rows(self) -> list[Any]:
        tenants = Tenant.objects.filter(pk__in=(self.A, self.B))
        keys = ApiKey.objects.filter(tenant__in=tenants).defer("last_used_at")
        stable = [
            field for field in (f.name for f in ApiKey._meta.fields) if field != "last_used_at"
        ]
        return [list(tenants.values()), list(keys.values(*stable))]

    def test_it_creates_two_tenants_with_known_keys_only_once(self) -> None:
        run("seed_demo")
        rows = self.rows()
        assert [len(table) for table in rows] == [2, 2]
        for key, tenant in (("tenant-a-key", self.A), ("tenant-b-key", self.B)):
            assert ApiKey.objects.get(key_hash=hash_key(key)).tenant_id == tenant
            assert Api(key).get("tools").status == 200
        run("seed_demo")
        assert self.rows() == rows

    def test_it_keeps_the_changes_of_an_operator(self) -> None:
        run("seed_demo")
        Tenant.objects.filter(pk=self.B).update(rate_limit_requests=5)
        key = ApiKey.objects.get(key_hash=hash_key("tenant-b-key"))
        run("revoke_api_key", key.prefix)
        try:
            run("seed_demo")
            assert Tenant.objects.get(pk=self.B).rate_limit_requests == 5
            key.refresh_from_db()
            assert key.revoked_at
        finally:
            Tenant.objects.filter(pk=self.B).update(rate_limit_requests=None)
            ApiKey.objects.filter(pk=key.pk).update(revoked_at=None)

    def test_outside_development_it_requires_force(self, settings: Any) -> None:
        settings.DEVELOPMENT = False
        assert "--force" in error_of("seed_demo")
        assert run("seed_demo", "--force") == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["create_tenant"], "required: name"),
        (
            ["create_tenant", "x", "--rate-limit", "many"],
            "Enter a non-negative integer, not 'many'.",
        ),
        (["update_tenant", "x", "--rate-limit", "-3"], 'Enter a positive integer or "default"'),
        (["revoke_api_key", "none"], "No API key has the prefix 'none'."),
    ],
)
def test_a_failed_command_prints_a_message_and_exits_with_a_code(
    arguments: list[str], message: str
) -> None:
    completed = subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env={**os.environ, "DATABASE_URL": database_url()},
        capture_output=True,
        text=True,
    )
    assert completed.returncode != 0
    assert completed.stdout == ""
    assert message in completed.stderr
    assert "Traceback" not in completed.stderr


def test_arguments_that_are_not_utf_8_are_rejected() -> None:
    """Python decodes bytes that are not UTF-8 to surrogates, which PostgreSQL rejects."""
    for arguments in (["create_tenant", "\udcff"], ["update_tenant", "\udcff", "--active"]):
        assert error_of(*arguments)
    assert error_of("revoke_api_key", "\udcff")


class TestBudgets:
    def test_create_and_update_set_them(self, name: str) -> None:
        pk = run("create_tenant", name, "--budget-usd-day", "2.50").strip()
        tenant = Tenant.objects.get(pk=pk)
        assert tenant.budget_usd_day == Decimal("2.5")
        assert tenant.budget_usd_month is None
        run(
            *("update_tenant", pk, "--budget-usd-day", "none", "--budget-usd-month", "300"),
            *("--budget-warning-percent", "50"),
        )
        tenant.refresh_from_db()
        assert tenant.budget_usd_day is None
        assert (tenant.budget_usd_month, tenant.budget_warning_percent) == (300, 50)

    @pytest.mark.parametrize(
        "options",
        [
            ["--budget-usd-day", "-1"],
            ["--budget-usd-day", "1e3"],
            ["--budget-usd-month", "1_0"],
            ["--budget-usd-month", "9999999999"],
            ["--budget-usd-month", "NaN"],
            ["--budget-warning-percent", "0"],
            ["--budget-warning-percent", "101"],
        ],
    )
    def test_invalid_values_change_nothing(self, name: str, options: list[str]) -> None:
        pk = run("create_tenant", name).strip()
        error_of("update_tenant", pk, *options)
        tenant = Tenant.objects.get(pk=pk)
        assert not tenant.has_budget
        assert tenant.budget_warning_percent is None


class TestRetention:
    def test_create_and_update_set_it(self, name: str) -> None:
        pk = run("create_tenant", name, "--retention-days", "30").strip()
        assert Tenant.objects.get(pk=pk).retention_days == 30
        run("update_tenant", pk, "--retention-days", "36500")
        assert Tenant.objects.get(pk=pk).retention_days == 36500
        run("update_tenant", pk, "--retention-days", "forever")
        assert Tenant.objects.get(pk=pk).retention_days is None

    @pytest.mark.parametrize("value", ["0", "36501", "-1", "1.5", "90d", "never", ""])
    def test_invalid_values_change_nothing(self, name: str, value: str) -> None:
        pk = run("create_tenant", name).strip()
        error_of("update_tenant", pk, f"--retention-days={value}")
        assert Tenant.objects.get(pk=pk).retention_days is None
