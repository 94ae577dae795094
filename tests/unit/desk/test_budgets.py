"""Budgets in the admin: the form, the page of a tenant and the dashboard."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db.models import Model
from django.test import Client
from django.urls import reverse

from map_project.tenants.models import Tenant
from map_project.usage.models import BudgetWarning, DailyCost


def page(tenant: Tenant) -> str:
    return reverse("admin:tenants_tenant_change", args=[tenant.pk])


def spend(tenant: Tenant, cost_usd: str) -> None:
    DailyCost.objects.create(tenant=tenant, day=datetime.now(UTC).date(), cost_usd=cost_usd)


def change(client: Client, tenant: Tenant, **fields: str) -> Any:
    return client.post(page(tenant), {"name": tenant.name, "is_active": "on", **fields})


def test_an_operator_sets_and_removes_budgets(operator: Client, tenant: Tenant) -> None:
    sent = {"budget_usd_day": "2.50", "budget_usd_month": "40", "budget_warning_percent": "90"}
    assert change(operator, tenant, **sent).status_code == 302
    tenant.refresh_from_db()
    assert [str(tenant.budget_usd_day), str(tenant.budget_usd_month)] == [
        "2.500000000",
        "40.000000000",
    ]
    assert tenant.budget_warning_percent == 90
    assert change(operator, tenant).status_code == 302
    tenant.refresh_from_db()
    assert not tenant.has_budget


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("budget_usd_day", "-1"),
        ("budget_usd_day", "1e3"),
        ("budget_usd_month", "1.0000000001"),
        ("budget_usd_month", "9999999999"),
        ("budget_warning_percent", "0"),
        ("budget_warning_percent", "101"),
    ],
)
def test_invalid_budgets_are_rejected(
    operator: Client, tenant: Tenant, field: str, value: str
) -> None:
    response = change(operator, tenant, **{field: value})
    assert response.status_code == 200
    assert field in response.context["adminform"].form.errors


def test_the_page_of_a_tenant_shows_what_is_spent(operator: Client, tenant: Tenant) -> None:
    assert "Budgets" not in operator.get(page(tenant)).content.decode()
    Tenant.objects.filter(pk=tenant.pk).update(budget_usd_day=2, budget_usd_month=40)
    spend(tenant, "1.25")
    text = operator.get(page(tenant)).content.decode()
    assert "1.25 of 2 USD" in text
    assert "1.25 of 40 USD" in text
    assert "exhausted" not in text
    Tenant.objects.filter(pk=tenant.pk).update(budget_usd_day=1)
    assert "exhausted: runs are rejected (429)" in operator.get(page(tenant)).content.decode()


def test_the_dashboard_lists_tenants_that_were_warned_in_this_period(
    operator: Client, tenant: Tenant, other_tenant: Tenant
) -> None:
    today = datetime.now(UTC).date()
    rows: list[Model] = [
        BudgetWarning(tenant=tenant, period="day", starts_on=today),
        BudgetWarning(tenant=other_tenant, period="day", starts_on=today - timedelta(days=40)),
    ]
    for row, owner in zip(rows, (tenant, other_tenant), strict=True):
        # More than others, so that it is shown although other tests warn tenants.
        Tenant.objects.filter(pk=owner.pk).update(budget_usd_day="0.001")
        spend(owner, "999")
        row.save()
    found = {item.tenant for item in operator.get("/admin/").context["budgets"]}
    assert tenant in found
    assert other_tenant not in found
    assert "Budgets nearly or fully spent" in operator.get("/admin/").content.decode()
    for row in rows:
        row.delete()
