"""The commands of an operator: what they print, what they keep, what they refuse."""

import io
import os
import re
import subprocess
import sys
import uuid
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from map_project.tenants import last_used
from map_project.tenants.keys import hash_key, issue_key
from map_project.tenants.models import ApiKey, Tenant
from tests.api import Api
from tests.live import database_url

ROOT = Path(__file__).parents[3]


def run(*arguments: str) -> str:
    """What a command prints on stdout."""
    out = io.StringIO()
    call_command(*arguments, stdout=out)
    return out.getvalue()


def refusal(*arguments: str) -> str:
    """The sentence with which a command refuses; nothing is printed on stdout."""
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
        assert "'gpt-9'" in refusal("create_tenant", other, "--models", "gpt-9")
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
    def test_it_refuses_a_quota_that_is_none(self, name: str, options: list[str]) -> None:
        assert refusal("create_tenant", name, *options)
        assert not Tenant.objects.filter(name=name).exists()

    @pytest.mark.parametrize("wrong", ["", "   ", "x" * 101])
    def test_it_refuses_a_name_that_is_none(self, wrong: str) -> None:
        assert refusal("create_tenant", wrong)
        assert not Tenant.objects.filter(name=wrong.strip()).exists()

    def test_it_refuses_a_name_that_is_taken(self, name: str) -> None:
        run("create_tenant", name)
        assert "already exists" in refusal("create_tenant", name)
        assert Tenant.objects.filter(name=name).count() == 1


class TestUpdateTenant:
    def changed(self, tenant: Tenant, *options: str) -> Tenant:
        assert run("update_tenant", str(tenant.pk), *options) == ""
        tenant.refresh_from_db()
        return tenant

    def test_it_changes_what_is_given_and_leaves_the_rest(self, tenant: Tenant) -> None:
        before = (tenant.name, tenant.is_active)
        found = self.changed(tenant, "--rate-limit", "5", "--window", "10")
        assert (found.rate_limit_requests, found.rate_limit_window_seconds) == (5, 10)
        assert (found.name, found.is_active) == before
        found = self.changed(tenant, "--rate-limit", "default")
        assert (found.rate_limit_requests, found.rate_limit_window_seconds) == (None, 10)
        found = self.changed(tenant, "--window", "default")
        assert found.rate_limit_window_seconds is None

    def test_nothing_given_changes_nothing(self, tenant: Tenant) -> None:
        before = Tenant.objects.filter(pk=tenant.pk).values()[0]
        self.changed(tenant)
        assert Tenant.objects.filter(pk=tenant.pk).values()[0] == before

    def test_it_finds_a_tenant_by_its_name(self, tenant: Tenant, name: str) -> None:
        run("update_tenant", tenant.name, "--name", name)
        tenant.refresh_from_db()
        assert tenant.name == name

    def test_deactivating_ends_every_key_and_activating_brings_them_back(
        self, tenant: Tenant
    ) -> None:
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
            ["--name", "x" * 101],
            ["--active", "--inactive"],
        ],
    )
    def test_it_refuses_what_is_wrong_and_changes_nothing(
        self, tenant: Tenant, options: list[str]
    ) -> None:
        before = Tenant.objects.filter(pk=tenant.pk).values()[0]
        assert refusal("update_tenant", str(tenant.pk), "--rate-limit", "9", *options)
        assert Tenant.objects.filter(pk=tenant.pk).values()[0] == before

    def test_it_keeps_a_tenant_to_some_models_and_lifts_that(self, tenant: Tenant) -> None:
        found = self.changed(tenant, "--models", "gpt-4, claude-3-opus")
        assert found.allowed_models == ["gpt-4", "claude-3-opus"]
        assert self.changed(tenant, "--rate-limit", "5").allowed_models == found.allowed_models
        assert self.changed(tenant, "--no-models").allowed_models == []
        assert self.changed(tenant, "--all-models").allowed_models is None

    def test_a_name_that_is_there_and_means_nothing_any_more_may_stay(self, tenant: Tenant) -> None:
        Tenant.objects.filter(pk=tenant.pk).update(allowed_models=["gone"])
        assert self.changed(tenant, "--models", "gone,gpt-4").allowed_models == ["gone", "gpt-4"]

    @pytest.mark.parametrize(
        ("options", "sentence"),
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
    def test_it_refuses_models_that_are_none(
        self, tenant: Tenant, options: list[str], sentence: str
    ) -> None:
        Tenant.objects.filter(pk=tenant.pk).update(allowed_models=["gpt-4o"])
        before = Tenant.objects.filter(pk=tenant.pk).values()[0]
        assert sentence in refusal("update_tenant", tenant.name, "--rate-limit", "9", *options)
        assert Tenant.objects.filter(pk=tenant.pk).values()[0] == before

    def test_it_refuses_the_name_of_another(self, tenant: Tenant, other_tenant: Tenant) -> None:
        assert "already exists" in refusal(
            "update_tenant", str(tenant.pk), "--name", other_tenant.name
        )


@pytest.mark.parametrize("command", ["update_tenant", "create_api_key", "list_api_keys"])
@pytest.mark.parametrize(
    "who", ["nobody of this name", "0197a3c0-5b7e-7c1a-9f60-3a2f4f0f7a11", " "]
)
def test_an_unknown_tenant_is_told_by_what_was_typed(command: str, who: str) -> None:
    assert repr(who) in refusal(command, who)


class TestCreateApiKey:
    def test_it_prints_the_key_and_nothing_else(self, tenant: Tenant) -> None:
        printed = run("create_api_key", str(tenant.pk))
        assert re.fullmatch(r"map_[A-Za-z0-9_-]{43}\n", printed)
        assert Api(printed.strip()).get("tools").status == 200

    def test_it_keeps_a_hash_and_the_first_characters_alone(self, tenant: Tenant) -> None:
        key = run("create_api_key", tenant.name, "--name", "ci").strip()
        (row,) = ApiKey.objects.filter(tenant=tenant).values()
        assert (row["prefix"], row["key_hash"], row["name"]) == (key[:12], hash_key(key), "ci")
        assert (row["expires_at"], row["revoked_at"], row["last_used_at"]) == (None, None, None)
        assert not [value for value in row.values() if key[12:] in str(value)]

    def test_keys_differ(self, tenant: Tenant) -> None:
        keys = {run("create_api_key", str(tenant.pk)) for _ in range(5)}
        assert len(keys) == 5

    def test_it_may_expire(self, tenant: Tenant) -> None:
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
    def test_it_refuses_what_is_wrong(self, tenant: Tenant, options: list[str]) -> None:
        assert refusal("create_api_key", str(tenant.pk), *options)
        assert not ApiKey.objects.filter(tenant=tenant).exists()


class TestListApiKeys:
    def test_a_line_a_key_with_all_that_is_known(self, tenant: Tenant) -> None:
        unused, _ = issue_key(tenant=tenant)
        used, key = issue_key(tenant=tenant, name="ci", expires_in=timedelta(days=1))
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
        assert fields[0][4:] == ["-", "-", "-"]
        assert all(re.fullmatch(time, text) for text in fields[1][3:])
        assert [len(row) for row in fields] == [7, 7]

    def test_no_key_is_in_it(self, tenant: Tenant) -> None:
        row, key = issue_key(tenant=tenant)
        printed = run("list_api_keys")
        assert row.prefix in printed
        assert key not in printed
        assert row.key_hash not in printed

    def test_one_tenants_or_all(self, tenant: Tenant, other_tenant: Tenant) -> None:
        own, other = (issue_key(tenant=each)[0].prefix for each in (tenant, other_tenant))
        assert own in run("list_api_keys", tenant.name)
        assert other not in run("list_api_keys", tenant.name)
        assert {own, other} <= {line.split("\t")[0] for line in run("list_api_keys").splitlines()}

    def test_text_of_names_makes_no_columns_and_no_lines(self, name: str) -> None:
        tenant = Tenant.objects.create(name=f"{name}\t\n\x1b[31m")
        issue_key(tenant=tenant, name="a\tb\nc")
        (line,) = run("list_api_keys", str(tenant.pk)).splitlines()
        assert len(line.split("\t")) == 7
        assert line.isprintable() or line.replace("\t", "").isprintable()


class TestRevokeApiKey:
    def test_it_is_at_once_and_for_good(self, tenant: Tenant) -> None:
        row, key = issue_key(tenant=tenant)
        assert run("revoke_api_key", row.prefix) == ""
        assert Api(key).get("tools").status == 401
        row.refresh_from_db()
        first = row.revoked_at
        assert first
        run("revoke_api_key", row.prefix)
        row.refresh_from_db()
        assert row.revoked_at == first

    def test_no_other_key_is_touched(self, tenant: Tenant) -> None:
        (row, _), (_, kept) = (issue_key(tenant=tenant) for _ in range(2))
        run("revoke_api_key", row.prefix)
        assert Api(kept).get("tools").status == 200

    @pytest.mark.parametrize("wrong", ["", "map_", "map_00000000", "%", "x" * 5000])
    def test_it_refuses_a_prefix_of_none(self, wrong: str) -> None:
        assert repr(wrong[:12]) in refusal("revoke_api_key", wrong)

    def test_the_whole_key_is_no_prefix_and_is_not_repeated(self, tenant: Tenant) -> None:
        _, key = issue_key(tenant=tenant)
        assert key not in refusal("revoke_api_key", key)
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

    def test_it_makes_two_tenants_with_known_keys_and_again_changes_nothing(self) -> None:
        run("seed_demo")
        rows = self.rows()
        assert [len(found) for found in rows] == [2, 2]
        for key, tenant in (("tenant-a-key", self.A), ("tenant-b-key", self.B)):
            assert ApiKey.objects.get(key_hash=hash_key(key)).tenant_id == tenant
            assert Api(key).get("tools").status == 200
        run("seed_demo")
        assert self.rows() == rows

    def test_what_an_operator_did_to_them_stays(self) -> None:
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

    def test_outside_development_it_wants_force(self, settings: Any) -> None:
        settings.DEVELOPMENT = False
        assert "--force" in refusal("seed_demo")
        assert run("seed_demo", "--force") == ""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["create_tenant"], "required: name"),
        (["create_tenant", "x", "--rate-limit", "many"], "'many' is not an integer"),
        (["revoke_api_key", "none"], "No API key has the prefix 'none'."),
    ],
)
def test_in_a_terminal_a_refusal_is_a_sentence_and_a_code(arguments: list[str], said: str) -> None:
    found = subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env={**os.environ, "DATABASE_URL": database_url()},
        capture_output=True,
        text=True,
    )
    assert found.returncode != 0
    assert found.stdout == ""
    assert said in found.stderr
    assert "Traceback" not in found.stderr


def test_a_name_that_is_no_text_is_refused_in_a_sentence() -> None:
    """Bytes that are not UTF-8 come to Python as surrogates, which no database takes."""
    for arguments in (["create_tenant", "\udcff"], ["update_tenant", "\udcff", "--active"]):
        assert refusal(*arguments)
    assert refusal("revoke_api_key", "\udcff")
