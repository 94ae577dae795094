"""The first step of an empty installation, and the links of the charts."""

from datetime import datetime, timedelta

import pytest
from django.db import connection, transaction
from django.test import Client

from map_project.tenants.models import Tenant
from tests.factories import AgentFactory, ExecutionFactory

FIRST_STEP = "Create your first tenant"
ADD = 'href="/admin/tenants/tenant/add/"'


def test_an_empty_installation_has_a_first_step(
    operator: Client, auditor: Client, tenant: Tenant
) -> None:
    assert FIRST_STEP not in operator.get("/admin/").content.decode()
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("TRUNCATE tenants_tenant, executions_execution, desk_runsofday CASCADE")
        page = operator.get("/admin/").content.decode()
        read_only = auditor.get("/admin/").content.decode()
        transaction.set_rollback(True)
    assert FIRST_STEP in page
    assert ADD in page
    assert FIRST_STEP in read_only
    assert ADD not in read_only


def found(client: Client, tenant: Tenant, **query: str) -> list[str]:
    response = client.get(
        "/admin/executions/execution/", {"tenant__id__exact": str(tenant.pk), **query}
    )
    assert response.status_code == 200
    return [str(run.pk) for run in response.context["cl"].result_list]


def test_the_history_has_a_filter_of_error_codes(operator: Client, tenant: Tenant) -> None:
    agent = AgentFactory.create(tenant=tenant)
    failed = {
        code: ExecutionFactory.create(agent=agent, status="failed", error_code=code)
        for code in ("MODEL_ERROR", "LOST")
    }
    ExecutionFactory.create(agent=agent)
    for code, execution in failed.items():
        assert found(operator, tenant, error_code=code) == [str(execution.pk)]
    assert len(found(operator, tenant)) == 3


@pytest.mark.parametrize("range_name", ["1h", "30d"])
def test_a_bucket_of_a_chart_leads_to_its_runs(
    operator: Client, tenant: Tenant, range_name: str
) -> None:
    execution = ExecutionFactory.create(agent=AgentFactory.create(tenant=tenant))
    chart = operator.get(f"/admin/?range={range_name}").context["charts"]["runs"]
    begin = max(label for label in chart["labels"] if label <= execution.created_at.isoformat())
    end = datetime.fromisoformat(begin) + timedelta(seconds=chart["width"])
    times = {"created_at_from": begin[:16], "created_at_to": end.isoformat()[:16]}
    assert found(operator, tenant, **times) == [str(execution.pk)]
    before = {"created_at_from": "2020-01-01T00:00", "created_at_to": begin[:16]}
    assert found(operator, tenant, **before) == []
