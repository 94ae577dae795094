"""The usage of a tenant with 100,000 rows of totals, among a million rows of others."""

import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.utils import timezone

from map_project.tenants.models import Tenant
from map_project.usage.models import EndedRun, HourlyUsage, Usage
from map_project.usage.months import usage_by_aspect
from map_project.usage.periods import Period, month_of
from map_project.usage.reports import COLUMNS, usage_of
from tests.factories import TenantFactory
from tests.many_rows import many_rows
from tests.query_plans import blocks, nodes, plans_of

pytestmark = pytest.mark.slow

ROWS_OF_TENANT, TENANTS = 100_000, 11

# Rows of all tenants are in each block of the table, which grows by the hour.
_FILL = """
INSERT INTO usage_hourlyusage (tenant_id, hour, model, provider, agent_id, agent_name, key_prefix, status,
    runs, input_tokens, output_tokens, cost_usd, tool_calls, failed_tool_calls, latency_ms)
SELECT (%s::uuid[])[1 + i %% %s], %s::timestamptz + i / 3300 * interval '1 hour', 'model ' || i %% 3,
    'openai', md5((i / 11 %% 50)::text)::uuid, 'agent', 'map_' || i / 550 %% 6,
    CASE WHEN i / 11 %% 10 = 0 THEN 'failed' ELSE 'succeeded' END, 10, 1000, 100, 0.01, 2, 1, 100
FROM generate_series(0, %s) i
"""


@pytest.fixture(scope="module")
def busy() -> Iterator[Tenant]:
    """Create the rows, and yield one of the tenants."""
    tenants: list[Tenant] = TenantFactory.create_batch(TENANTS)
    last = TENANTS * ROWS_OF_TENANT - 1
    parameters = [[tenant.pk for tenant in tenants], TENANTS, month().begin, last]
    # Ended runs that are not yet in the totals are read as well, and have no index by tenant.
    with many_rows("usage_scale", [(_FILL, parameters)], HourlyUsage, EndedRun, Usage):
        yield tenants[3]


def month() -> Period:
    return month_of(timezone.now().date(), ZoneInfo("Europe/Berlin"))


@pytest.mark.parametrize(
    "group_by", [[], *([name] for name in COLUMNS), ["day", "model", "status"]]
)
def test_it_reads_only_the_rows_of_the_tenant(busy: Tenant, group_by: list[str]) -> None:
    plans = plans_of(lambda: usage_of(busy.pk, month(), group_by))
    assert len(plans) == 1 + ("agent" in group_by) + ("key" in group_by)
    check([plan for plan in plans if "apikey" not in str(plan)])
    print(group_by, [round(plan["Execution Time"]) for plan in plans], "ms")


def test_the_page_of_the_admin_reads_only_the_rows_of_the_tenant(busy: Tenant) -> None:
    plans = plans_of(lambda: usage_by_aspect(busy.pk, month(), most=20))
    assert len(plans) == 3
    check([plan for plan in plans if "apikey" not in str(plan)])
    print([round(plan["Execution Time"]) for plan in plans], "ms")


def test_an_hour_reads_only_the_rows_of_the_hour(busy: Tenant) -> None:
    begin = month().begin
    hour = Period(begin, begin + timedelta(hours=1), ZoneInfo("UTC"))
    plans = plans_of(lambda: usage_of(busy.pk, hour, ["model"]))
    check(plans, max_rows=300)


def test_a_tenant_without_runs_reads_nothing(busy: Tenant) -> None:
    plans = plans_of(lambda: usage_of(uuid.uuid4(), month(), ["day"]))
    check(plans, max_rows=0)
    assert sum(blocks(plan) for plan in plans) < 20


def check(plans: list[Any], max_rows: int = ROWS_OF_TENANT) -> None:
    """Check that each plan reads the totals by their index, and no rows of other tenants or hours."""
    for plan in plans:
        found = [*nodes(plan["Plan"])]
        indexes = [node for node in found if node.get("Index Name") == "hourly_usage_once"]
        tables = [node for node in found if node.get("Relation Name") == "usage_hourlyusage"]
        assert len(indexes) == len(tables) == 1, plan
        assert all(name in indexes[0]["Index Cond"] for name in ("tenant_id", "hour")), plan
        assert tables[0]["Actual Rows"] <= max_rows
        assert tables[0].get("Rows Removed by Filter", 0) == 0
