"""The page "Failures": counts by error, model, tenant and tool, and links that lead to these runs."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from executions.models import Execution, Step
from map_project.tenants.models import Tenant
from tests.factories import AgentFactory, ExecutionFactory

PATH = "/admin/failures/"


def page(client: Client, tenant: Tenant, **query: str) -> Any:
    response = client.get(PATH, {"tenant": str(tenant.pk), **query})
    assert response.status_code == 200
    return response.context


def runs_at(client: Client, url: str) -> set[str]:
    """The runs in the history at the URL of a link."""
    response = client.get(url)
    assert response.status_code == 200
    return {str(run.pk) for run in response.context["cl"].result_list}


def failed(tenant: Tenant, **fields: Any) -> Execution:
    values = {"error_code": "MODEL_ERROR", "error_reason": "server_error", **fields}
    run: Execution = ExecutionFactory.create(
        agent=AgentFactory.create(tenant=tenant),
        status="failed",
        stop_reason="model_error",
        **values,
    )
    return run


def test_errors_are_counted_and_lead_to_their_runs(
    auditor: Client, tenant: Tenant, other_tenant: Tenant
) -> None:
    same = {str(failed(tenant).pk), str(failed(tenant).pk)}
    limited = failed(tenant, error_reason="rate_limited")
    failed(other_tenant)
    ExecutionFactory.create(agent=AgentFactory.create(tenant=tenant))
    rows = page(auditor, tenant)["errors"]
    assert [(row["error_reason"], row["number"]) for row in rows] == [
        ("server_error", 2),
        ("rate_limited", 1),
    ]
    assert rows[0]["latest"] > rows[1]["latest"] - timedelta(minutes=1)
    assert runs_at(auditor, rows[0]["url"]) == same
    assert runs_at(auditor, rows[1]["url"]) == {str(limited.pk)}


def test_models_are_counted_and_lead_to_their_runs(auditor: Client, tenant: Tenant) -> None:
    run = failed(tenant, model="gpt-4", provider="openai")
    failed(tenant, model="gpt-4", provider="mock")
    failed(tenant, model="gpt-4", provider="mock")
    rows = page(auditor, tenant, period="24h")["models"]
    assert [(row["model"], row["provider"], row["number"]) for row in rows] == [
        ("gpt-4", "mock", 2),
        ("gpt-4", "openai", 1),
    ]
    assert runs_at(auditor, rows[1]["url"]) == {str(run.pk)}


def test_tenants_are_counted_if_none_is_selected(auditor: Client, tenant: Tenant) -> None:
    # More than those of other tests, of which the page shows only the first.
    for _ in range(40):
        failed(tenant)
    response = auditor.get(PATH)
    row = next(row for row in response.context["tenants"] if row["name"] == tenant.name)
    assert row["number"] == 40
    selected = auditor.get(PATH + row["url"]).context
    assert sum(error["number"] for error in selected["errors"]) == 40
    assert selected["tenants"] == []


def add_call(run: Execution, name: str, error: str, **fields: Any) -> None:
    Step.objects.create(
        execution=run, position=run.steps.count(), kind="tool", name=name, error=error,
        latency_ms=1, **fields,
    )  # fmt: skip


def test_tools_are_counted_with_their_errors_and_lead_to_their_runs(
    auditor: Client, tenant: Tenant, other_tenant: Tenant
) -> None:
    agent = AgentFactory.create(tenant=tenant)
    first, second, without = ExecutionFactory.create_batch(3, agent=agent)
    for error in ("timeout", "timeout", "bad_arguments"):
        add_call(first, "search", error)
    add_call(second, "search", "timeout")
    add_call(second, "mail", "timeout")
    for error in ("", "declined", "not_called"):
        add_call(without, "search", error)
    other = ExecutionFactory.create(agent=AgentFactory.create(tenant=other_tenant))
    add_call(other, "search", "timeout")
    rows = page(auditor, tenant)["tools"]
    assert [(row["name"], row["number"], row["errors"]) for row in rows] == [
        ("search", 4, [("timeout", 3), ("bad_arguments", 1)]),
        ("mail", 1, [("timeout", 1)]),
    ]
    assert rows[0]["tenant"] == tenant
    assert runs_at(auditor, rows[0]["url"]) == {str(first.pk), str(second.pk)}
    assert runs_at(auditor, rows[1]["url"]) == {str(second.pk)}
    at_any_time = "/admin/executions/execution/?period=all&failed_tool=search"
    found = runs_at(auditor, f"{at_any_time}&tenant__id__exact={tenant.pk}")
    assert found == {str(first.pk), str(second.pk)}


@pytest.mark.parametrize(("period", "count"), [("today", 1), ("24h", 2), ("7d", 3), ("x", 1)])
def test_periods(auditor: Client, tenant: Tenant, period: str, count: int) -> None:
    now = timezone.now()
    midnight = datetime(now.year, now.month, now.day, tzinfo=now.tzinfo)
    times = (max(midnight, now - timedelta(minutes=1)), midnight - timedelta(microseconds=1))
    for created_at in (*times, now - timedelta(days=6), now - timedelta(days=8)):
        run = failed(tenant, created_at=created_at)
        add_call(run, "search", "timeout", created_at=created_at)
    context = page(auditor, tenant, period=period)
    assert sum(row["number"] for row in context["errors"]) == count
    assert sum(row["number"] for row in context["tools"]) == count
    assert len(context["examples"]) == count
    assert len(runs_at(auditor, context["errors"][0]["url"])) == count
    assert len(runs_at(auditor, context["history_url"])) == count


def test_the_latest_failures_have_a_message(auditor: Client, tenant: Tenant) -> None:
    runs = [failed(tenant, provider_message=f"<b>overloaded {n}</b>") for n in range(12)]
    response = auditor.get(PATH, {"tenant": str(tenant.pk)})
    shown = response.context["examples"]
    assert [run.pk for run in shown] == [run.pk for run in runs[:1:-1]]
    assert "&lt;b&gt;overloaded 11&lt;/b&gt;" in response.content.decode()


def test_a_tenant_that_does_not_exist_is_a_bad_request(auditor: Client) -> None:
    for tenant in ("x", "11111111-1111-1111-1111-000000000000"):
        response = auditor.get(PATH, {"tenant": tenant})
        assert response.status_code == 400
        assert b"</html>" in response.content


def test_the_page_needs_the_permission_to_view_executions() -> None:
    client = Client()
    assert client.get(PATH).status_code == 302
    client.force_login(User.objects.create_user("no-failures", is_staff=True))
    assert client.get(PATH).status_code == 403
    assert 'href="/admin/failures/"' not in client.get("/admin/").content.decode()


def test_the_menu_has_a_link(auditor: Client) -> None:
    assert 'href="/admin/failures/"' in auditor.get("/admin/").content.decode()
