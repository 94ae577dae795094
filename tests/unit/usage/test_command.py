"""`manage.py usage`."""

import io
from decimal import Decimal
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from map_project.tenants.models import Tenant
from tests.factories import AgentFactory
from tests.usage import AMOUNTS, ended, totalled


def run(*arguments: str) -> str:
    out = io.StringIO()
    call_command("usage", *arguments, stdout=out)
    return out.getvalue()


def test_the_totals_of_a_month(tenant: Tenant, other_tenant: Tenant) -> None:
    totalled(tenant, runs=3, cost_usd=Decimal("0.5"), status="failed")
    totalled(other_tenant, runs=99)
    header = "\t".join(AMOUNTS)
    expected = f"{header}\n3\t3\t0\t0\t0\t0.5\t0\t0\n"
    for name in (tenant.name, str(tenant.pk)):
        assert run("--tenant", name, "--month", "2026-03") == expected
    nothing = f"{header}\n" + "\t".join("00000000") + "\n"
    assert run("--tenant", tenant.name) == run("--tenant", tenant.name, "--month", "2026-04")
    assert run("--tenant", tenant.name) == nothing


def test_groups(tenant: Tenant) -> None:
    totalled(tenant, agent_name="a\tb", runs=2, key_prefix="")
    arguments = ("--tenant", tenant.name, "--month", "2026-03", "--group-by", "day,key,agent")
    header, line = run(*arguments).splitlines()
    assert header.startswith("day\tkey_id\tkey_name\tkey_prefix\tagent_id\tagent_name\truns\t")
    fields = line.split("\t")
    assert fields[:4] == ["2026-03-15", "-", "-", "-"]
    assert fields[5:7] == ["a b", "2"]


def test_csv(tenant: Tenant) -> None:
    totalled(tenant, model="=1+1")
    ended(AgentFactory.create(tenant=tenant))
    printed = run("--tenant", tenant.name, "--month", "2026-03", "--group-by", "model", "--csv")
    lines = printed.split("\r\n")
    assert [line.split(",")[0] for line in lines] == ["model", "'=1+1", "gpt-4o", ""]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--month", "2026-13"], "Enter a month such as 2026-11"),
        (["--month", "March"], "Enter a month such as 2026-11"),
        (["--group-by", "hour"], "group_by must be one of"),
    ],
)
def test_wrong_arguments(tenant: Tenant, options: list[Any], message: str) -> None:
    with pytest.raises(CommandError, match=message):
        run("--tenant", tenant.name, *options)


def test_the_tenant_must_exist() -> None:
    with pytest.raises(CommandError, match="No tenant has the name or ID 'nobody'"):
        run("--tenant", "nobody")
    with pytest.raises(CommandError, match="--tenant"):
        run()
