"""The history in the admin: keyset pagination, bounded search, no COUNT."""

import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models import CharField, Func, QuerySet, Value
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from executions.admin.filters import AgentFilter
from executions.models import Execution
from map_project.tenants.models import Tenant
from tests.factories import AgentFactory, ExecutionFactory

PATH = "/admin/executions/execution/"


def change_list(client: Client, **parameters: Any) -> Any:
    """Return the change list of the page."""
    response = client.get(PATH, parameters)
    assert response.status_code == 200
    return response.context["cl"]


@pytest.fixture
def runs(tenant: Tenant) -> list[Execution]:
    """120 executions of one tenant, some at the same time, newest first."""
    agent = AgentFactory.create(tenant=tenant)
    now = timezone.now()
    executions = [
        Execution(
            tenant=tenant,
            agent_id=agent.pk,
            agent_name=agent.name,
            prompt=f"number {n}.",
            status="succeeded",
            latency_ms=n,
        )
        for n in range(120)
    ]
    for n, run in enumerate(executions):
        run.created_at = now - timedelta(minutes=n // 7)
    Execution.objects.bulk_create(executions)
    return list(Execution.objects.filter(tenant=tenant))


def test_pages_have_no_gaps_and_no_duplicates(
    operator: Client, tenant: Tenant, runs: list[Execution]
) -> None:
    seen, url = [], f"{PATH}?tenant__id__exact={tenant.pk}"
    while url:
        page = operator.get(url).context["cl"]
        seen += [run.pk for run in page.result_list]
        url = f"{PATH}{page.older_url}" if page.older_url else ""
    assert seen == [run.pk for run in runs]


def test_a_page_needs_no_count(operator: Client, tenant: Tenant, runs: list[Execution]) -> None:
    with CaptureQueriesContext(
        connection,
    ) as queries:
        change_list(operator, tenant__id__exact=tenant.pk)
        change_list(operator)
    statements = [query["sql"] for query in queries if "executions_execution" in query["sql"]]
    assert len(statements) == 2
    assert all("COUNT" not in sql and "LIMIT 51" in sql for sql in statements)
    assert all('"executions_execution"."response"' not in sql for sql in statements)


@pytest.mark.parametrize(
    "position",
    [
        "",
        "nonsense",
        "2026-01-01_x",
        f"x_{uuid.UUID(int=1)}",
        f"9999-99-99T00:00:00_{uuid.UUID(int=1)}",
    ],
)
def test_an_invalid_position_is_the_first_page(
    operator: Client, tenant: Tenant, runs: list[Execution], position: str
) -> None:
    page = change_list(operator, tenant__id__exact=tenant.pk, before=position)
    assert page.result_list[0].pk == runs[0].pk


def test_filters(operator: Client, tenant: Tenant) -> None:
    agent = AgentFactory.create(tenant=tenant, name="Researcher")
    failed = ExecutionFactory.create(agent=agent, status="failed", model="gpt-4")
    old = ExecutionFactory.create(agent=agent, created_at=timezone.now() - timedelta(days=20))
    other = ExecutionFactory.create(agent=AgentFactory.create(tenant=tenant))

    def filtered(**parameters: Any) -> set[uuid.UUID]:
        page = change_list(operator, tenant__id__exact=tenant.pk, **parameters)
        return {run.pk for run in page.result_list}

    assert filtered() == {failed.pk, other.pk}
    assert filtered(period="30d") == {failed.pk, other.pk, old.pk}
    assert filtered(period="all", agent="Researcher") == {failed.pk, old.pk}
    assert filtered(agent=str(agent.pk)) == {failed.pk}
    assert filtered(agent="researcher") == set()
    assert filtered(model="gpt-4") == {failed.pk}
    day = f"{old.created_at:%Y-%m-%d}"
    assert filtered(created_at_from=day, created_at_to=day) == {old.pk}
    assert filtered(created_at_to="nonsense") == {failed.pk, other.pk}


def test_a_search_needs_a_tenant_and_a_time_range(
    operator: Client, tenant: Tenant, runs: list[Execution]
) -> None:
    search = {"q": "NUMBER 17."}
    assert len(change_list(operator, tenant__id__exact=tenant.pk, **search).result_list) == 1
    assert not change_list(operator, **search).result_list
    for unbounded in ({"period": "all"}, {"created_at_to": "2030-01-01"}):
        page = change_list(operator, tenant__id__exact=tenant.pk, **unbounded, **search)
        assert not page.result_list


def test_a_timeout_is_reported(
    operator: Client, tenant: Tenant, runs: list[Execution], monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(_: object, __: object, executions: QuerySet[Execution]) -> QuerySet[Execution]:
        return executions.annotate(
            waited=Func(Value(5.0), function="pg_sleep", output_field=CharField())
        ).exclude(waited__isnull=True)

    monkeypatch.setattr(AgentFilter, "queryset", slow)
    with connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = 50")
        response = operator.get(PATH)
        cursor.execute("RESET statement_timeout")
    assert response.status_code == 200
    assert b"Too many runs to search" in response.content


def test_the_page_of_an_execution_escapes_markup(operator: Client, tenant: Tenant) -> None:
    run = ExecutionFactory.create(
        agent=AgentFactory.create(tenant=tenant),
        prompt="<script>alert(1)</script>\n  two",
        status="odd",
    )
    page = operator.get(
        reverse("admin:executions_execution_change", args=[run.pk])
    ).content.decode()
    assert "&lt;script&gt;alert(1)&lt;/script&gt;\n  two" in page
    assert "<script>alert" not in page
    assert "desk-plain" in page
    missing = reverse("admin:executions_execution_change", args=[uuid.uuid4()])
    assert operator.get(missing).status_code == 302
