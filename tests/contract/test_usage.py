"""`GET /api/v1/usage`: what the runs of a tenant add up to."""

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from django.conf import settings
from django.db import connection
from django.utils import timezone

from map_project.tenants.keys import issue_key
from map_project.tenants.models import Tenant
from map_project.usage import reports
from map_project.usage.folding import fold_usage
from map_project.usage.models import EndedRun
from map_project.usage.periods import month_of
from tests.api import Api
from tests.at_once import beside
from tests.conftest import api_of
from tests.factories import AgentFactory
from tests.usage import AMOUNTS, MARCH, NOON, NOTHING, ended, read, runs_by, totalled


def test_a_month_without_runs(api: Api) -> None:
    assert read(api, MARCH) == {
        "from": "2026-03-01T00:00:00Z",
        "to": "2026-04-01T00:00:00Z",
        "timezone": "UTC",
        "group_by": [],
        "totals": NOTHING,
        "items": [],
    }
    assert read(api, f"{MARCH}&group_by=day")["items"] == []


def test_a_run_is_in_the_current_month_at_once(api: Api, tenant: Tenant) -> None:
    agent = AgentFactory.create(tenant=tenant)
    for runs in (1, 2):
        assert api.run(agent.pk).status == 200
        found = read(api, "")
        assert found["totals"]["runs"] == runs
    month = month_of(timezone.now().date(), ZoneInfo("UTC"))
    assert datetime.fromisoformat(found["from"]) == month.begin
    assert datetime.fromisoformat(found["to"]) == month.end


def test_all_amounts_from_both_tables(api: Api, tenant: Tenant) -> None:
    agent = AgentFactory.create(tenant=tenant)
    ended(agent, input_tokens=7, output_tokens=5, cost_usd=Decimal("0.000000001"))
    ended(agent, status="failed", input_tokens=1)
    totalled(
        tenant,
        runs=4,
        status="failed",
        cost_usd=Decimal("1234567.10"),
        tool_calls=3,
        failed_tool_calls=2,
        input_tokens=2**40,
    )
    totalled(tenant, status="incomplete", runs=2)
    assert read(api, MARCH)["totals"] == {
        "runs": 8,
        "failures": 5,
        "input_tokens": 2**40 + 8,
        "output_tokens": 5,
        "total_tokens": 2**40 + 13,
        "cost_usd": "1234567.100000001",
        "tool_calls": 3,
        "failed_tool_calls": 2,
    }
    assert runs_by(api, "status") == {"failed": 5, "incomplete": 2, "succeeded": 1}


def test_groups_of_days(api: Api, tenant: Tenant) -> None:
    agent = AgentFactory.create(tenant=tenant)
    for day, runs in ((1, 1), (2, 3), (31, 2)):
        for _ in range(runs):
            ended(agent, datetime(2026, 3, day, 23, 59, tzinfo=UTC))
    ended(agent, datetime(2026, 4, 1, tzinfo=UTC))
    ended(agent, datetime(2026, 2, 28, 23, tzinfo=UTC))
    assert runs_by(api, "day") == {"2026-03-01": 1, "2026-03-02": 3, "2026-03-31": 2}
    assert read(api, f"{MARCH}&group_by=day")["totals"]["runs"] == 6
    partial = "from=2026-03-01T23:00:00Z&to=2026-03-02T23:00:00Z"
    assert runs_by(api, "day", partial) == {"2026-03-01": 1}


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("from=2026-03-02&to=2026-03-02", "from must be before to"),
        ("from=2026-03-02&to=2026-03-01", "from must be before to"),
        ("from=2199-03-02", "from must be before to"),
        ("from=2025-01-01&to=2026-02-06", "at most 400 days"),
        ("timezone=Berlin", "timezone must be"),
        ("timezone=", "timezone must be"),
        ("timezone=../../etc/passwd", "timezone must be"),
        ("timezone=Europe", "timezone must be"),
        ("timezone=UTC%2B1", "timezone must be"),
        ("group_by=", "group_by must be"),
        ("group_by=hour", "group_by must be"),
        ("group_by=day,day", "group_by must be"),
        ("group_by=day,", "group_by must be"),
        ("group_by=tenant_id", "group_by must be"),
        ("format=xml", "format must be"),
        ("format=", "format must be"),
        ("limit=10", "Unknown query parameter: limit"),
        ("since=2026-03-01", "Unknown query parameter: since"),
    ],
)
def test_bad_parameters(api: Api, query: str, message: str) -> None:
    response = api.get(f"usage?{query}")
    assert (response.status, response.error_code) == (400, "BAD_REQUEST")
    assert message in response.json["message"]


def test_groups_of_agents_have_the_last_name(api: Api, tenant: Tenant) -> None:
    agent = AgentFactory.create(tenant=tenant, name="now")
    totalled(tenant, NOON - timedelta(days=2), agent_id=agent.pk, agent_name="first", runs=5)
    totalled(tenant, NOON, agent_id=agent.pk, agent_name="zz second", runs=3)
    ended(agent, NOON, agent_name="third")
    deleted = uuid.uuid4()
    totalled(tenant, NOON, agent_id=deleted, agent_name="gone")
    found = read(api, f"{MARCH}&group_by=agent")["items"]
    assert [(item["agent"], item["runs"]) for item in found] == [
        ({"id": str(deleted), "name": "gone"}, 1),
        ({"id": str(agent.pk), "name": "third"}, 9),
    ]
    earlier = read(api, "from=2026-03-01&to=2026-03-14&group_by=agent")["items"]
    assert [item["agent"]["name"] for item in earlier] == ["first"]


def test_groups_of_keys(tenant: Tenant) -> None:
    key, text = issue_key(tenant=tenant, name="ci")
    for prefix, runs in ((key.prefix, 2), ("map_deleted0", 3), ("", 4)):
        totalled(tenant, key_prefix=prefix, runs=runs)
    found = read(Api(text), f"{MARCH}&group_by=key")["items"]
    by_prefix = {item["key"]["prefix"]: (item["key"], item["runs"]) for item in found}
    assert by_prefix == {
        key.prefix: ({"id": str(key.pk), "name": "ci", "prefix": key.prefix}, 2),
        "map_deleted0": ({"id": None, "name": None, "prefix": "map_deleted0"}, 3),
        None: ({"id": None, "name": None, "prefix": None}, 4),
    }


def test_a_key_of_another_tenant_with_this_prefix_is_not_named(
    api: Api, tenant: Tenant, other_tenant: Tenant
) -> None:
    key, _ = issue_key(tenant=other_tenant, name="secret")
    totalled(tenant, key_prefix=key.prefix)
    (item,) = read(api, f"{MARCH}&group_by=key")["items"]
    assert item["key"] == {"id": None, "name": None, "prefix": key.prefix}


def test_several_groups_are_sorted_and_add_up(api: Api, tenant: Tenant) -> None:
    agents = AgentFactory.create_batch(2, tenant=tenant)
    for model in ("b", "B", "a"):
        for day in (2, 1):
            for agent in agents:
                ended(agent, datetime(2026, 3, day, tzinfo=UTC), model=model, input_tokens=day)
    query = f"{MARCH}&group_by=model,day"
    found = read(api, query)
    assert [*found["items"][0]] == ["model", "day", *AMOUNTS]
    assert [(item["model"], item["day"]) for item in found["items"]] == [
        (model, f"2026-03-0{day}") for model in ("B", "a", "b") for day in (1, 2)
    ]
    assert found["totals"] == read(api, MARCH)["totals"]
    assert found["totals"]["input_tokens"] == 18
    everything = read(api, f"{MARCH}&group_by=day,model,agent,key,status")
    assert len(everything["items"]) == 12
    assert everything["totals"] == found["totals"]


def test_only_the_own_tenant(api: Api, other_api: Api, tenant: Tenant) -> None:
    ended(AgentFactory.create(tenant=tenant))
    for group in reports.COLUMNS:
        assert read(other_api, f"{MARCH}&group_by={group}")["items"] == []
    assert read(other_api, MARCH)["totals"] == NOTHING
    assert read(api, MARCH)["totals"]["runs"] == 1


def test_too_many_groups(api: Api, tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reports, "MAX_GROUPS", 3)
    for number in range(4):
        totalled(tenant, model=f"m{number}", at=NOON + timedelta(hours=number % 3))
        response = api.get(f"usage?{MARCH}&group_by=model")
        assert response.status == (400 if number == 3 else 200)
    assert "more than 3 groups" in response.json["message"]
    assert read(api, f"{MARCH}&group_by=day")["totals"]["runs"] == 4


def test_a_range_that_takes_too_long(api: Api) -> None:
    """The statement waits for a lock until it is cancelled."""

    def hold_lock() -> None:
        with connection.cursor() as cursor:
            cursor.execute("LOCK TABLE usage_hourlyusage")

    assert read(api, "")["totals"] == NOTHING
    with beside(hold_lock), connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = 50")
        response = api.get("usage")
        cursor.execute(f"SET statement_timeout = {settings.STATEMENT_TIMEOUT_MS}")
    assert (response.status, response.error_code) == (400, "BAD_REQUEST")
    assert "Choose a shorter range" in response.json["message"]


def test_the_scope_and_other_methods(tenant: Tenant) -> None:
    api = api_of(tenant, scopes=["run", "write"])
    assert api.get("usage").error_code == "INSUFFICIENT_SCOPE"
    assert api_of(tenant, scopes=["read"]).get("usage").status == 200
    assert api_of(tenant).post("usage", {}).error_code == "METHOD_NOT_ALLOWED"
    assert api_of(tenant).call("HEAD", "usage").status == 200


def test_folding_changes_nothing(api: Api, tenant: Tenant) -> None:
    agents = AgentFactory.create_batch(2, tenant=tenant)
    for agent in agents:
        ended(agent, input_tokens=3)
    queries: Sequence[str] = [f"{MARCH}&group_by={name}" for name in reports.COLUMNS]
    before = [read(api, query) for query in queries]
    while EndedRun.objects.filter(tenant=tenant).exists():
        fold_usage()
    assert [read(api, query) for query in queries] == before
