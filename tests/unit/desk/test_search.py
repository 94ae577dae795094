"""The search of the admin, and the reset of a tenant's usage."""

import uuid
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.urls import reverse

from map_project.tenants.keys import issue_key
from map_project.tenants.models import Tenant
from ratelimit.limiter import Limiter, LimiterUnavailable, Quota, default_limiter
from tests.factories import AgentFactory, ExecutionFactory, ToolFactory


def found(client: Client, text: str) -> list[str]:
    """The links of what is found."""
    answer = client.get(reverse("admin:search"), {"s": text})
    assert answer.status_code == 200
    return [result["link"] for result in answer.context["results"]]


def page(row: Any) -> str:
    return reverse(f"admin:{row._meta.label_lower.replace('.', '_')}_change", args=[row.pk])


def test_an_id_leads_to_its_page(operator: Client, tenant: Tenant) -> None:
    agent = AgentFactory.create(tenant=tenant)
    tool = ToolFactory.create(tenant=tenant)
    for row in (tenant, agent, tool, ExecutionFactory.create(agent=agent)):
        assert found(operator, f" {str(row.pk).upper()} ") == [page(row)]
    assert found(operator, str(uuid.uuid4())) == []


def test_a_name_and_a_prefix_lead_there_as_well(operator: Client, tenant: Tenant) -> None:
    name = str(uuid.uuid4())[:20]
    agent = AgentFactory.create(tenant=tenant, name=f"agent {name}")
    tool = ToolFactory.create(tenant=tenant, name=f"tool {name}")
    assert found(operator, name) == [page(agent), page(tool)]
    key, text = issue_key(tenant=tenant)
    assert found(operator, text) == [page(key)]
    assert found(operator, tenant.name[:30]) == [page(tenant)]


@pytest.mark.parametrize("text", ["", "  ", "\0"])
def test_nothing_is_found_by_nothing(operator: Client, text: str) -> None:
    assert found(operator, text) == []


def test_a_window_is_reset(operator: Client, tenant: Tenant) -> None:
    default_limiter().take(tenant.pk, limit=100, window_seconds=60)
    path = reverse("admin:reset_usage", args=[tenant.pk])
    assert operator.get(path).status_code == 403
    assert operator.post(path).status_code == 302
    assert default_limiter().peek([Quota(tenant.pk, 100, 60)])[0].used == 0
    entry = LogEntry.objects.get(object_id=str(tenant.pk))
    assert entry.get_change_message() == "Reset the usage of the rate limit."


def test_a_window_is_not_reset_without_redis(
    operator: Client, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(*_: object) -> None:
        raise LimiterUnavailable("gone")

    monkeypatch.setattr(Limiter, "reset", lost)
    answer = operator.post(reverse("admin:reset_usage", args=[tenant.pk]), follow=True)
    assert b"was not reset" in answer.content
    assert not LogEntry.objects.filter(object_id=str(tenant.pk)).exists()
