"""The page "Usage": a tenant's month, its parts, and their CSV."""

import csv
import io
import uuid
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from map_project.desk.operations.usage import ROWS_SHOWN
from map_project.tenants.keys import issue_key
from map_project.tenants.models import Tenant
from map_project.usage.models import HourlyUsage
from tests.factories import AgentFactory
from tests.usage import NOON, ended, totalled

PATH = "/admin/usage/"


def page(client: Client, tenant: Tenant, month: str = "2026-03") -> Any:
    response = client.get(PATH, {"tenant": str(tenant.pk), "month": month})
    assert response.status_code == 200
    return response.context


def rows(context: Any, label: str) -> list[tuple[str, list[str]]]:
    (table,) = (table for table in context["tables"] if table["label"] == label)
    return [(row["text"], row["figures"]) for row in table["rows"]]


def values(context: Any) -> dict[str, str]:
    return {tile["label"]: tile["value"] for tile in context["tiles"]}


def download(client: Client, tenant: Tenant, **query: str) -> list[list[str]]:
    parameters = {"tenant": str(tenant.pk), "month": "2026-03", "format": "csv", **query}
    response = client.get(PATH, parameters)
    assert response.status_code == 200
    assert response["Content-Type"].startswith("text/csv")
    return [*csv.reader(io.StringIO(response.content.decode(), newline=""))]


@pytest.fixture
def used(tenant: Tenant) -> Tenant:
    """A tenant with runs in March 2026, in both tables, and in the hours around it."""
    key, _ = issue_key(tenant=tenant, name="ci")
    agent = AgentFactory.create(tenant=tenant, name="second")
    fields = {"agent_id": agent.pk, "agent_name": "first", "key_prefix": key.prefix}
    totalled(tenant, NOON - timedelta(days=1), runs=2_000, cost_usd=Decimal("1.5"), **fields)
    totalled(tenant, NOON, runs=3, status="failed", model="gpt-4", tool_calls=4, **fields)
    ended(agent, NOON + timedelta(hours=1), input_tokens=1_000, output_tokens=1)
    for moment in (datetime(2026, 2, 28, 23, tzinfo=UTC), datetime(2026, 4, 1, tzinfo=UTC)):
        totalled(tenant, moment, runs=77)
    return tenant


def test_the_totals_and_all_parts(auditor: Client, used: Tenant, other_tenant: Tenant) -> None:
    totalled(other_tenant, NOON, runs=99)
    context = page(auditor, used)
    assert values(context) == {
        "Runs": "2,004",
        "Failed": "3",
        "Cost (USD)": "1.5",
        "Tool calls": "4",
        "Tokens": "1,001",
    }
    assert rows(context, "Day") == [
        ("14 Mar", ["2,000", "0", "0", "0", "1.5", "0", "0"]),
        ("15 Mar", ["4", "3", "1,000", "1", "0", "4", "0"]),
    ]
    assert [(name, figures[0]) for name, figures in rows(context, "Model")] == [
        ("gpt-4o", "2,001"),
        ("gpt-4", "3"),
    ]
    assert [(name, figures[0]) for name, figures in rows(context, "Agent")] == [("second", "2,004")]
    assert [(name, figures[0]) for name, figures in rows(context, "API key")] == [
        ("ci", "2,003"),
        ("(no name)", "1"),
    ]
    assert {name: figures[0] for name, figures in rows(context, "Status")} == {
        "succeeded": "2,001",
        "failed": "3",
    }


def test_the_chart_has_each_day(auditor: Client, used: Tenant) -> None:
    chart = page(auditor, used)["charts"]["runs"]
    assert len(chart["labels"]) == 31
    assert chart["labels"][14] == "2026-03-15T00:00:00+00:00"
    assert [series["label"] for series in chart["series"]] == ["succeeded", "failed"]
    by_status = {series["label"]: series["values"] for series in chart["series"]}
    assert by_status["succeeded"][13:15] == [2_000, 1]
    assert by_status["failed"][13:15] == [0, 3]
    assert sum(map(sum, by_status.values())) == 2_004


def test_only_the_largest_are_shown(auditor: Client, tenant: Tenant) -> None:
    for number in range(ROWS_SHOWN + 5):
        totalled(tenant, model=f"m{number:02}", cost_usd=number, agent_name=f"a{number:02}")
    context = page(auditor, tenant)
    for label, letter in (("Model", "m"), ("Agent", "a")):
        found = [name for name, _ in rows(context, label)]
        assert found == [f"{letter}{number:02}" for number in range(ROWS_SHOWN + 4, 4, -1)]
    text = auditor.get(PATH, {"tenant": str(tenant.pk), "month": "2026-03"}).content.decode()
    assert text.count("the first 20 of 25") == 2
    assert len(download(auditor, tenant, group_by="agent")) == ROWS_SHOWN + 6


def test_csv(auditor: Client, used: Tenant) -> None:
    found = download(auditor, used, group_by="day")
    assert [line[:2] for line in found] == [
        ["day", "runs"],
        ["2026-03-14", "2000"],
        ["2026-03-15", "4"],
    ]
    links = [table["csv"] for table in page(auditor, used)["tables"]]
    assert [auditor.get(PATH + link).status_code for link in links] == [200] * 5
    unknown = {"tenant": str(used.pk), "format": "csv", "group_by": "tenant_id"}
    assert auditor.get(PATH, unknown).status_code == 400


def test_the_name_of_the_file_is_safe(auditor: Client) -> None:
    tenant = Tenant.objects.create(name=f'A"; é\r\nB {uuid.uuid4()}')
    response = auditor.get(PATH, {"tenant": str(tenant.pk), "month": "2026-03", "format": "csv"})
    name = response["Content-Disposition"].removeprefix('attachment; filename="usage-a-e-b-')
    assert name.endswith('-day-2026-03-01-to-2026-04-01.csv"')


def test_months(auditor: Client, used: Tenant) -> None:
    links = page(auditor, used)["links"]
    assert [f"{month:%Y-%m}" for month, _ in links] == ["2026-02", "2026-03", "2026-04"]
    february = auditor.get(PATH + links[0][1]).context
    assert values(february)["Runs"] == "77"
    this_month = f"{timezone.now():%Y-%m}"
    for month in ("", this_month, "2026-13", "x", "0000-01", "9999-12", "2026-3"):
        context = page(auditor, used, month)
        assert context["choice"].month == this_month
        assert len(context["links"]) == 2  # none in the future


def test_without_a_tenant_and_without_runs(auditor: Client, tenant: Tenant) -> None:
    assert "Choose a tenant." in auditor.get(PATH).content.decode()
    response = auditor.get(PATH, {"tenant": str(tenant.pk)})
    assert "No runs ended in this month." in response.content.decode()
    for unknown in ("x", "11111111-1111-1111-1111-000000000000"):
        assert auditor.get(PATH, {"tenant": unknown}).status_code == 400


def test_names_are_escaped(auditor: Client, tenant: Tenant) -> None:
    totalled(tenant, agent_name="<b>x</b>")
    text = auditor.get(PATH, {"tenant": str(tenant.pk), "month": "2026-03"}).content.decode()
    assert "&lt;b&gt;x&lt;/b&gt;" in text


def test_links_to_the_page(operator: Client, auditor: Client, tenant: Tenant) -> None:
    for client in (operator, auditor):
        assert f'href="{PATH}"' in client.get("/admin/").content.decode()
        change = client.get(f"/admin/tenants/tenant/{tenant.pk}/change/").content.decode()
        assert f'href="{PATH}?tenant={tenant.pk}"' in change


def test_the_page_needs_a_permission(tenant: Tenant) -> None:
    client, query = Client(), {"tenant": str(tenant.pk), "format": "csv"}
    assert client.get(PATH, query).status_code == 302
    client.force_login(User.objects.create_user(f"no-usage-{uuid.uuid4()}", is_staff=True))
    assert client.get(PATH, query).status_code == 403
    assert PATH not in client.get("/admin/").content.decode()


def test_the_numbers_of_queries_do_not_depend_on_the_rows(
    auditor: Client, tenant: Tenant, django_assert_max_num_queries: Any
) -> None:
    for number in range(30):
        totalled(tenant, model=f"m{number}", key_prefix=f"map_{number}")
    assert HourlyUsage.objects.filter(tenant=tenant).count() == 30
    with django_assert_max_num_queries(9):
        page(auditor, tenant)
