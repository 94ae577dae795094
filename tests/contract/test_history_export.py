"""The export of the history."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import override_settings

from executions.history import export
from executions.models import Execution, Step
from map_project.tenants.models import Tenant
from tests.api import Api
from tests.factories import AgentFactory, ExecutionFactory

START = datetime(2026, 3, 1, tzinfo=UTC)


def lines(api: Api, query: str = "") -> list[Any]:
    response = api.get(f"history/export?{query}")
    assert response.status == 200, response.content
    assert response.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in response.content.splitlines()]


def ids(found: list[Any]) -> list[str]:
    return [line["id"] for line in found]


@pytest.fixture
def executions(tenant: Tenant) -> list[Execution]:
    """Create executions, the oldest first. Groups of three have the same time."""
    agent = AgentFactory.create(tenant=tenant)
    created = [
        ExecutionFactory.create(
            agent=agent,
            created_at=START + timedelta(seconds=number // 3),
            model="gpt-4" if number % 2 else "gpt-4o",
            prompt="wanted" if number % 5 == 0 else "other",
            metadata={"number": str(number)},
        )
        for number in range(17)
    ]
    return sorted(created, key=lambda each: (each.created_at, each.pk))


@pytest.fixture(params=[(500, 50, 10**6), (2, 50, 10**6), (5, 2, 10**6), (5, 4, 40)], ids=str)
def _batches(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in zip(("MAX_KEYS", "MAX_ROWS", "MAX_BYTES"), request.param, strict=True):
        monkeypatch.setattr(export, name, value)


@pytest.mark.usefixtures("_batches")
def test_all_executions_the_oldest_first(api: Api, executions: list[Execution]) -> None:
    assert ids(lines(api)) == [str(each.pk) for each in executions]


@pytest.mark.usefixtures("_batches")
def test_an_export_continues_after_each_line(api: Api, executions: list[Execution]) -> None:
    found = lines(api)
    for number, line in enumerate(found):
        assert lines(api, f"cursor={line['cursor']}") == found[number + 1 :]


@pytest.mark.usefixtures("_batches")
def test_filters(api: Api, executions: list[Execution]) -> None:
    wanted = [str(each.pk) for each in executions if each.prompt == "wanted"]
    assert ids(lines(api, "q=wanted")) == wanted
    assert ids(lines(api, f"q=wanted&cursor={lines(api, 'q=wanted')[0]['cursor']}")) == wanted[1:]
    assert ids(lines(api, "model=gpt-4")) == [
        str(each.pk) for each in executions if each.model == "gpt-4"
    ]
    assert ids(lines(api, "until=2026-03-01T00:00:01Z")) == ids(lines(api))[:3]
    assert len(lines(api, "metadata.number=7")) == len(lines(api, "metadata.number=7&model=gpt-4"))
    assert lines(api, "q=nowhere") == lines(api, "status=failed") == []


def test_a_line_is_the_execution_with_all_steps(api: Api, executions: list[Execution]) -> None:
    Step.objects.bulk_create(
        Step(execution=executions[0], position=n, kind="model", name=f"m{n}", latency_ms=1)
        for n in range(130)
    )
    first, second, *_ = lines(api)
    cursor, steps = first.pop("cursor"), first["steps"]
    assert isinstance(cursor, str)
    assert [step["name"] for step in steps] == [f"m{n}" for n in range(130)]
    whole = api.get(f"history/{executions[0].pk}").json
    assert first | {"steps": steps[:100]} == whole
    second.pop("cursor")
    assert second == api.get(f"history/{executions[1].pk}").json


def test_executions_that_are_not_exported(api: Api, tenant: Tenant, other_tenant: Tenant) -> None:
    """Those that have not ended, those of the last seconds, and those of other tenants."""
    agent = AgentFactory.create(tenant=tenant)
    ended = [
        ExecutionFactory.create(agent=agent, created_at=START, status=status)
        for status in ("succeeded", "incomplete", "failed", "cancelled")
    ]
    for status in ("queued", "running", "requires_action"):
        ExecutionFactory.create(agent=agent, created_at=START, status=status)
    ExecutionFactory.create(agent=agent)
    ExecutionFactory.create(agent=AgentFactory.create(tenant=other_tenant), created_at=START)
    assert sorted(ids(lines(api))) == sorted(str(each.pk) for each in ended)
    assert lines(api, "status=running") == []


def test_an_execution_that_is_deleted_meanwhile_is_left_out(
    api: Api, executions: list[Execution], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "MAX_ROWS", 3)
    original = export._batch

    def deleting(keys: Any) -> Any:
        Execution.objects.filter(pk=executions[7].pk).delete()
        return original(keys)

    monkeypatch.setattr(export, "_batch", deleting)
    expected = [str(each.pk) for each in executions if each != executions[7]]
    assert ids(lines(api)) == expected


@pytest.mark.parametrize("query", ["cursor=x", "status=done", "q=", "since=x", "agent_id=1"])
def test_an_invalid_value_is_refused(api: Api, query: str) -> None:
    assert api.get(f"history/export?{query}").error_code == "BAD_REQUEST"


@pytest.mark.parametrize("query", ["limit=1", "offset=1", "page=2"])
def test_a_parameter_of_lists_is_unknown(api: Api, query: str) -> None:
    response = api.get(f"history/export?{query}")
    assert response.details["unknown_parameters"] == [query.partition("=")[0]]


def test_a_head_request_has_no_body(api: Api, executions: list[Execution]) -> None:
    response = api.call("HEAD", "history/export")
    assert (response.status, response.content) == (200, b"")


def test_there_is_a_maximum_of_open_streams(api: Api, executions: list[Execution]) -> None:
    """An export takes a place, and gives it back."""
    for _ in range(3):
        with override_settings(MAX_OPEN_STREAMS=1):
            assert len(lines(api)) == len(executions)
    with override_settings(MAX_OPEN_STREAMS=0):
        assert api.get("history/export").error_code == "SERVICE_UNAVAILABLE"
