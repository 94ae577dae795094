"""The history at a million rows: exact totals, and pages that read few blocks at any offset."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from executions.history.counting import count_executions
from executions.history.models import HistoryTotal
from executions.history.pagination import MAX_PLAIN_OFFSET, HistoryPagination
from executions.models import Execution
from map_project.tenants.models import Tenant
from tests.factories import AgentFactory, ExecutionFactory, TenantFactory
from tests.many_rows import many_rows
from tests.query_plans import blocks, check_plans, nodes, plans_of

ROWS = 1_000_000
TENANTS = 10
NO_TOTALS: tuple[str, list[Any]] = (
    "INSERT INTO executions_historytotal SELECT id, 0, '0002-01-01Z' FROM tenants_tenant",
    [],
)
COLUMNS = ("id", "agent_id", "prompt", "response", "created_at")
# A tenth of the index. The table has about 50,000 blocks of 8 KiB.
MAX_BLOCKS = 2_500
MAX_BLOCKS_OF_TOTAL = 30


def page(tenant: Tenant, start: int, stop: int) -> list[dict[str, Any]]:
    executions = Execution.objects.filter(tenant=tenant).values(*COLUMNS)
    return HistoryPagination().get_page(executions, start, stop)


def test_a_deep_page_equals_the_page_of_a_plain_offset(tenant: Tenant) -> None:
    agent = AgentFactory.create(tenant=tenant)
    start = timezone.now() - timedelta(days=1)
    for number in range(MAX_PLAIN_OFFSET + 200):
        # Groups of three rows have the same time: they are ordered by id.
        ExecutionFactory.create(agent=agent, created_at=start + timedelta(seconds=number // 3))
    rows = Execution.objects.filter(tenant=tenant).order_by("-created_at", "-id")
    expected = list(rows.values(*COLUMNS))
    for offset in (0, *range(MAX_PLAIN_OFFSET - 1, MAX_PLAIN_OFFSET + 4), 650, 690, 699, 700, 5000):
        assert page(tenant, offset, offset + 21) == expected[offset : offset + 21], offset


@pytest.fixture(scope="module")
def million() -> Iterator[Tenant]:
    """Create a million executions of ten tenants, and yield one of the tenants.

    The newest rows belong to another tenant: no query may read them to find the tenant's own.
    """
    tenants = TenantFactory.create_batch(TENANTS)
    insert = """
        INSERT INTO executions_execution (id, tenant_id, agent_id, agent_name, prompt, model,
            response, status, error_code, latency_ms, request_id, created_at)
        SELECT gen_random_uuid(), (%s::uuid[])[1 + i %% 10], gen_random_uuid(), 'a',
            repeat('p', 90), 'gpt-4o', repeat('r', 200), 'succeeded', '', 1, 'r',
            now() - interval '30 days' + i * interval '1 second'
                + CASE WHEN i %% 10 = 4 THEN interval '15 days' ELSE interval '0' END
        FROM generate_series(1, %s) i
        """
    parameters = [[tenant.pk for tenant in tenants], ROWS]
    inserts = [(insert, parameters), NO_TOTALS]
    with many_rows("history_depth", inserts, Execution, HistoryTotal):
        yield tenants[3]


@pytest.mark.slow
def test_the_total_of_a_million_rows(million: Tenant) -> None:
    """After the first call, the rows are counted."""
    assert count_executions(million.pk) == ROWS // TENANTS
    (plan,) = plans_of(lambda: count_executions(million.pk))
    assert blocks(plan) <= MAX_BLOCKS_OF_TOTAL
    for node in nodes(plan["Plan"]):
        assert node.get("Relation Name") != "executions_execution" or (
            node["Node Type"] == "Index Only Scan"
        ), node


@pytest.mark.slow
@pytest.mark.parametrize("offset", [0, MAX_PLAIN_OFFSET, ROWS // TENANTS - 20])
def test_a_page_of_a_million_rows(million: Tenant, offset: int) -> None:
    plans = plans_of(lambda: page(million, offset, offset + 21))
    assert len(plans) == 1
    check_plans(plans, MAX_BLOCKS)
