"""Filters and cursors of the history."""

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import pytest

from executions.models import Execution
from map_project.tenants.keys import issue_key
from map_project.tenants.models import Tenant
from tests.api import Api
from tests.contract.shapes import ids
from tests.factories import AgentFactory, ExecutionFactory

START = datetime(2026, 3, 1, tzinfo=UTC)


def created(tenant: Tenant, **columns: Any) -> Execution:
    return ExecutionFactory.create(agent=AgentFactory.create(tenant=tenant), **columns)


def found(api: Api, query: str) -> list[str]:
    response = api.get(f"history?{query}")
    assert response.status == 200, response.content
    return ids(response.json)


def test_filter_by_agent(api: Api, tenant: Tenant) -> None:
    execution, _ = created(tenant), created(tenant)
    assert found(api, f"agent_id={execution.agent_id}") == [str(execution.pk)]
    assert found(api, f"agent_id={uuid4()}") == []


def test_filter_by_model_and_status(api: Api, tenant: Tenant) -> None:
    failed = created(tenant, model="gpt-4", status="failed")
    other, running = created(tenant, model="gpt-4"), created(tenant, status="running")
    assert found(api, "model=gpt-4") == [str(other.pk), str(failed.pk)]
    assert found(api, "status=failed") == [str(failed.pk)]
    assert found(api, "status=running&model=gpt-4o") == [str(running.pk)]
    assert found(api, "model=GPT-4") == found(api, "model=gpt-4&status=queued") == []


def test_filter_by_key(api: Api, tenant: Tenant, other_tenant: Tenant) -> None:
    agent = AgentFactory.create(tenant=tenant)
    keys = [issue_key(tenant=tenant) for _ in range(2)]
    runs = [Api(text).run(agent.pk).json["execution_id"] for _, text in keys]
    foreign, text = issue_key(tenant=other_tenant)
    Api(text).run(AgentFactory.create(tenant=other_tenant).pk)
    for (key, _), run in zip(keys, runs, strict=True):
        assert found(api, f"key_id={key.pk}") == [run]
    assert found(api, f"key_id={foreign.pk}") == found(api, f"key_id={uuid4()}") == []


def test_filter_by_time(api: Api, tenant: Tenant) -> None:
    """`since` is inclusive, `until` is not."""
    runs = [str(created(tenant, created_at=START + timedelta(hours=n)).pk) for n in range(48)]
    assert found(api, "since=2026-03-02T22:00:00Z") == [runs[47], runs[46]]
    assert found(api, "until=2026-03-01T01:00:00.000001Z") == [runs[1], runs[0]]
    assert found(api, "since=2026-03-01T05:00:00%2B01:00&until=2026-03-01T05:00:00Z") == [runs[4]]
    assert found(api, "since=2026-03-02&until=2026-03-02T01:00:00Z") == [runs[24]]
    assert found(api, "since=2026-03-02&until=2026-03-01") == []


def test_other_tenants_are_not_found(api: Api, other_tenant: Tenant) -> None:
    foreign = created(other_tenant)
    for query in (f"agent_id={foreign.agent_id}", "model=gpt-4o", "status=succeeded", "since=2020"):
        response = api.get(
            f"history?{query}-01-01" if query == "since=2020" else f"history?{query}"
        )
        assert (response.status, response.json["items"]) == (200, [])


@pytest.mark.parametrize(
    "query",
    [
        *("agent_id=x", "agent_id=", "key_id=1", "model=", f"model={'x' * 101}", "status=done"),
        *("status=", "since=", "until=2026-13-01T00:00:00Z", "since=2026-03-01T00:00:00+01:00"),
        *("status=failed&status=succeeded", "since=2026-01-01&since=2026-01-01"),
        *("cursor=", "cursor=x", f"cursor={'A' * 36}", f"cursor={'A' * 5000}", "cursor=%C3%A9"),
        *(f"cursor={'_' * 36}", f"cursor={'=' * 36}"),
    ],
)
def test_an_invalid_value_is_refused(api: Api, query: str) -> None:
    response = api.get(f"history?{query}")
    assert (response.status, response.error_code) == (400, "BAD_REQUEST")
    assert response.json["message"].startswith(query.partition("=")[0])


def test_the_total_of_a_filtered_list(
    api: Api, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is exact, or null if it is above the maximum. Pages without a filter always have it."""
    agent = AgentFactory.create(tenant=tenant)
    ExecutionFactory.create_batch(7, agent=agent)
    ExecutionFactory.create_batch(2, agent=agent, model="gpt-4")
    assert api.get("history?limit=2&model=gpt-4o").json["total"] == 7
    monkeypatch.setattr("executions.history.counting.MAX_COUNTED", 6)
    page = api.get("history?limit=2&model=gpt-4o").json
    assert (page["total"], page["offset"], page["has_more"]) == (None, 0, True)
    assert api.get("history?limit=2&model=gpt-4").json["total"] == 2
    assert api.get("history?limit=2").json["total"] == 9


def test_pages_with_cursors(api: Api, tenant: Tenant) -> None:
    """All executions, once each, although others are added. Groups of them have the same time."""
    agent = AgentFactory.create(tenant=tenant)
    for number in range(23):
        time = START + timedelta(seconds=number // 4)
        ExecutionFactory.create(agent=agent, created_at=time, model=f"m{number % 2}")
    for query in ("", "&model=m1", f"&model=m1&agent_id={agent.pk}", "&since=2026-03-01"):
        expected = found(api, f"limit=100{query}")
        page = api.get(f"history?limit=3{query}").json
        joined = ids(page)
        while page["has_more"]:
            ExecutionFactory.create(agent=agent, model="m1")
            page = api.get(f"history?limit=3{query}&cursor={page['next_cursor']}").json
            assert (page["total"], page["offset"], page["limit"]) == (None, None, 3)
            joined += ids(page)
        assert "next_cursor" not in page
        assert joined == expected, query


def test_a_cursor_excludes_an_offset(api: Api, tenant: Tenant) -> None:
    ExecutionFactory.create_batch(2, agent=AgentFactory.create(tenant=tenant))
    cursor = api.get("history?limit=1").json["next_cursor"]
    response = api.get(f"history?cursor={quote(cursor)}&offset=0")
    assert (response.status, response.error_code) == (400, "BAD_REQUEST")
    assert "offset" in response.json["message"]


def test_a_cursor_is_only_a_position(api: Api, tenant: Tenant, other_api: Api) -> None:
    """That of another tenant shows nothing of it."""
    ExecutionFactory.create_batch(3, agent=AgentFactory.create(tenant=tenant))
    cursor = api.get("history?limit=1").json["next_cursor"]
    assert other_api.get(f"history?cursor={cursor}").json["items"] == []


def test_a_changed_cursor_is_refused(api: Api, tenant: Tenant) -> None:
    ExecutionFactory.create_batch(2, agent=AgentFactory.create(tenant=tenant))
    cursor = api.get("history?limit=1").json["next_cursor"]
    for position in (0, 10, 20, 35):
        letter = "A" if cursor[position] != "A" else "B"
        changed = cursor[:position] + letter + cursor[position + 1 :]
        assert api.get(f"history?cursor={changed}").status == 400
