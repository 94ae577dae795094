"""The page "Tool calls": calls, failures and durations by tool, sorted, with links."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from executions.models import Execution, Step
from map_project.tenants.models import Tenant
from tests.factories import AgentFactory, ExecutionFactory, ToolFactory
from tests.unit.desk.test_failures import runs_at

PATH = "/admin/tool-calls/"


@pytest.fixture
def run(tenant: Tenant) -> Execution:
    execution: Execution = ExecutionFactory.create(agent=AgentFactory.create(tenant=tenant))
    return execution


def add_calls(run: Execution, name: str, *latencies_ms: int, **fields: Any) -> None:
    first = run.steps.count()
    Step.objects.bulk_create(
        Step(
            execution=run, position=first + number, kind="tool", name=name, latency_ms=latency_ms,
            **fields,
        )
        for number, latency_ms in enumerate(latencies_ms)
    )  # fmt: skip


def rows(client: Client, tenant: Tenant, **query: str) -> list[dict[str, Any]]:
    response = client.get(PATH, {"tenant": str(tenant.pk), **query})
    assert response.status_code == 200
    found: list[dict[str, Any]] = response.context["tools"]
    return found


def test_calls_failures_and_durations_of_a_tool(
    auditor: Client, tenant: Tenant, run: Execution
) -> None:
    tool = ToolFactory.create(tenant=tenant, name="search")
    ToolFactory.create(name="search")
    add_calls(run, "search", *range(1, 97))
    add_calls(run, "search", 3_000, error="timeout")
    add_calls(run, "search", 1, 2, error="http_503")
    add_calls(run, "search", 4_000)
    (row,) = rows(auditor, tenant)
    assert (row["calls"], row["failures"], row["share"]) == (100, 3, "3.0 %")
    assert row["errors"] == [("http_503", 2), ("timeout", 1)]
    assert (row["p50"], row["p95"], row["slowest"]) == ("48 ms", "93 ms", "4.0 s")
    assert (row["tool_id"], row["tenant"]) == (tool.pk, tenant)
    assert runs_at(auditor, row["url"]) == {str(run.pk)}


def test_calls_that_were_not_made_or_have_not_ended_are_not_counted(
    auditor: Client, tenant: Tenant, run: Execution
) -> None:
    for error in ("declined", "not_called", "unknown_tool"):
        add_calls(run, "search", 0, error=error)
    add_calls(run, "search", 0, is_running=True)
    assert rows(auditor, tenant) == []
    add_calls(run, "search", 5)
    (row,) = rows(auditor, tenant)
    assert (row["calls"], row["failures"], row["errors"]) == (1, 0, [])


@pytest.mark.parametrize(
    ("order", "names"),
    [
        ("", "failing slowest slow"),
        ("failures", "failing slowest slow"),
        ("p95", "slow failing slowest"),
        ("max", "slowest slow failing"),
        ("calls", "slowest failing slow"),
        ("; DROP TABLE", "failing slowest slow"),
    ],
)
def test_orders(auditor: Client, tenant: Tenant, run: Execution, order: str, names: str) -> None:
    add_calls(run, "failing", 20, 20, error="timeout")
    add_calls(run, "slow", 100)
    add_calls(run, "slowest", *[1] * 40, 1_000)
    assert " ".join(row["name"] for row in rows(auditor, tenant, sort=order)) == names


@pytest.mark.parametrize(("period", "calls"), [("1h", 1), ("24h", 2), ("30d", 2)])
def test_periods(auditor: Client, tenant: Tenant, run: Execution, period: str, calls: int) -> None:
    now = timezone.now()
    for hours in (0.5, 20, 30):
        add_calls(run, "search", 1, created_at=now - timedelta(hours=hours))
    assert rows(auditor, tenant, period=period)[0]["calls"] == calls


def test_the_calls_of_a_run_that_started_before_the_period(
    auditor: Client, tenant: Tenant, run: Execution
) -> None:
    """For example, of a run that waited for an approval."""
    add_calls(run, "search", 1)
    old = ExecutionFactory.create(
        agent__tenant=tenant, created_at=timezone.now() - timedelta(days=3)
    )
    add_calls(old, "search", *[1] * 1_000, error="timeout")
    assert [row["calls"] for row in rows(auditor, tenant)] == [1_001]
    everything = auditor.get(PATH).context["tools"]
    assert [row["calls"] for row in everything if row["tenant"] == tenant] == [1_001]


def test_a_tool_of_another_tenant_is_another_tool(
    auditor: Client, tenant: Tenant, run: Execution, other_tenant: Tenant
) -> None:
    other = ExecutionFactory.create(agent=AgentFactory.create(tenant=other_tenant))
    add_calls(run, "search", 1)
    add_calls(other, "search", *[1] * 1_000, error="timeout")
    assert [row["calls"] for row in rows(auditor, tenant)] == [1]
    everything = auditor.get(PATH).context["tools"]
    assert [row["calls"] for row in everything if row["tenant"] == other_tenant] == [1_000]


def test_a_tool_that_does_not_exist_any_more(
    auditor: Client, tenant: Tenant, run: Execution
) -> None:
    add_calls(run, "<b>gone</b>", 1)
    page = auditor.get(PATH, {"tenant": str(tenant.pk)}).content.decode()
    assert "&lt;b&gt;gone&lt;/b&gt;" in page
    assert "deleted or renamed" in page


def test_the_page_needs_the_permission_to_view_executions(auditor: Client) -> None:
    assert f'href="{PATH}"' in auditor.get("/admin/").content.decode()
    client = Client()
    client.force_login(User.objects.create_user("no-tool-calls", is_staff=True))
    assert client.get(PATH).status_code == 403
