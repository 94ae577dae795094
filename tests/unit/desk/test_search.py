"""The search of the admin, and the reset of a tenant's usage."""

import uuid
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test import Client
from django.urls import reverse

from executions.models import Execution
from map_project.tenants.keys import issue_key
from map_project.tenants.models import Tenant
from ratelimit.limiter import Limiter, LimiterUnavailable, Quota, default_limiter
from tests.factories import AgentFactory, ExecutionFactory, ToolFactory


def search(client: Client, text: str) -> list[str]:
    """Return the links of the results."""
    response = client.get(reverse("admin:search"), {"s": text})
    assert response.status_code == 200
    return [result["link"] for result in response.context["results"]]


def page(row: Any) -> str:
    return reverse(f"admin:{row._meta.label_lower.replace('.', '_')}_change", args=[row.pk])


def test_an_id_finds_its_row(operator: Client, tenant: Tenant) -> None:
    agent = AgentFactory.create(tenant=tenant)
    tool = ToolFactory.create(tenant=tenant)
    for row in (tenant, agent, tool, ExecutionFactory.create(agent=agent)):
        assert search(operator, f" {str(row.pk).upper()} ") == [page(row)]
    assert search(operator, str(uuid.uuid4())) == []


def test_names_and_key_prefixes_find_their_rows(operator: Client, tenant: Tenant) -> None:
    name = str(uuid.uuid4())[:20]
    agent = AgentFactory.create(tenant=tenant, name=f"agent {name}")
    tool = ToolFactory.create(tenant=tenant, name=f"tool {name}")
    assert search(operator, name) == [page(agent), page(tool)]
    key, text = issue_key(tenant=tenant)
    assert search(operator, text) == [page(key)]
    assert search(operator, tenant.name[:30]) == [page(tenant)]


@pytest.mark.parametrize("form", ["{0.hex}", "{0}", "my.{0}"])
def test_a_request_id_finds_its_executions(operator: Client, tenant: Tenant, form: str) -> None:
    request_id = form.format(uuid.uuid4())
    agent = AgentFactory.create(tenant=tenant)
    rows = [ExecutionFactory.create(agent=agent, request_id=request_id) for _ in range(2)]
    assert sorted(search(operator, f" {request_id}")) == sorted(map(page, rows))


def test_the_search_for_a_request_id_uses_an_index(tenant: Tenant) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET enable_seqscan = off")
        plan = Execution.objects.filter(request_id="x").order_by()[:5].explain()
        cursor.execute("RESET enable_seqscan")
    assert "execution_by_request" in plan


@pytest.mark.parametrize("text", ["", "  "])
def test_an_empty_search_finds_nothing(operator: Client, text: str) -> None:
    assert search(operator, text) == []


def test_a_window_is_reset(operator: Client, tenant: Tenant) -> None:
    default_limiter().take(tenant.pk, limit=100, window_seconds=60)
    path = reverse("admin:reset_usage", args=[tenant.pk])
    assert b"Reset usage?" in operator.get(path).content
    assert operator.post(path).status_code == 302
    assert default_limiter().peek([Quota(tenant.pk, 100, 60)])[0].used == 0
    entry = LogEntry.objects.get(object_id=str(tenant.pk))
    assert entry.get_change_message() == "Reset the usage of the rate limit: 1 → 0."


def test_a_window_is_not_reset_without_redis(
    operator: Client, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    def raise_unavailable(*_: object) -> None:
        raise LimiterUnavailable("gone")

    monkeypatch.setattr(Limiter, "reset", raise_unavailable)
    response = operator.post(reverse("admin:reset_usage", args=[tenant.pk]), follow=True)
    assert b"was not reset" in response.content
    assert not LogEntry.objects.filter(object_id=str(tenant.pk)).exists()
