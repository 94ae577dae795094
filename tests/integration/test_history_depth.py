"""The history at a million rows: exact totals, and pages that read few blocks at any offset."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from executions.history import counting
from executions.history.counting import CLOSED_AFTER, count_executions
from executions.history.pagination import MAX_PLAIN_OFFSET, HistoryPagination
from executions.models import Execution
from map_project.tenants.models import Tenant
from tests.api import Api
from tests.factories import AgentFactory, ExecutionFactory, TenantFactory
from tests.many_rows import many_rows
from tests.query_plans import check_plans, plans_of, statements_of

ROWS = 1_000_000
TENANTS = 10
COLUMNS = ("id", "agent_id", "prompt", "response", "created_at")
# A tenth of the index. The table has about 50,000 blocks of 8 KiB.
MAX_BLOCKS = 2_500
# Without the closed rows: their count is cached.
MAX_BLOCKS_OF_CACHED_COUNT = 20


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


def test_the_total_includes_new_rows(tenant: Tenant) -> None:
    agent = AgentFactory.create(tenant=tenant)
    ExecutionFactory.create(agent=agent, created_at=timezone.now() - 2 * CLOSED_AFTER)
    for count in (2, 3, 4):
        ExecutionFactory.create(agent=agent)
        assert count_executions(tenant.pk) == count


def test_the_total_of_a_history_without_closed_rows(tenant: Tenant) -> None:
    assert count_executions(tenant.pk) == 0
    ExecutionFactory.create(agent=AgentFactory.create(tenant=tenant))
    assert count_executions(tenant.pk) == 1


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("new_rows", [0, 1, 5, 6, 7])
def test_the_total_of_a_page(api: Api, tenant: Tenant, new_rows: int, offset: int) -> None:
    """The page may end before, with or after the last of the new rows."""
    agent = AgentFactory.create(tenant=tenant)
    past = timezone.now() - 2 * CLOSED_AFTER
    ExecutionFactory.create_batch(10, agent=agent, created_at=past)
    count_executions(tenant.pk)
    ExecutionFactory.create_batch(new_rows, agent=agent)
    total: list[int] = []

    def read() -> None:
        total.append(api.get(f"history?limit=5&offset={offset}").json["total"])

    statements = [sql for sql, _ in statements_of(read) if "executions_execution" in sql]
    assert total == [10 + new_rows]
    # A first page that ends with a closed row contains all new rows: they need no count.
    assert len(statements) == (1 if offset == 0 and new_rows <= 5 else 2)


def test_rows_inserted_in_the_past_are_counted_when_the_cached_count_expires(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "CACHE_TTL_SECONDS", 0)
    monkeypatch.setattr(counting, "CACHE_TTL_FACTOR", 0)
    agent = AgentFactory.create(tenant=tenant)
    for count in (1, 2, 3):
        ExecutionFactory.create(agent=agent, created_at=timezone.now() - 2 * CLOSED_AFTER)
        assert count_executions(tenant.pk) == count


def test_each_tenant_has_its_own_total(tenant: Tenant, other_tenant: Tenant) -> None:
    past = timezone.now() - 2 * CLOSED_AFTER
    ExecutionFactory.create(agent=AgentFactory.create(tenant=tenant), created_at=past)
    assert (count_executions(tenant.pk), count_executions(other_tenant.pk)) == (1, 0)


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
    with many_rows("history_depth", [(insert, parameters)], Execution):
        yield tenants[3]


@pytest.mark.slow
def test_the_total_of_a_million_rows(million: Tenant) -> None:
    """The first call counts the closed rows, later ones only the rows since."""
    first = plans_of(lambda: count_executions(million.pk))
    later = plans_of(lambda: count_executions(million.pk))
    assert (len(first), len(later)) == (2, 1)
    check_plans(first, MAX_BLOCKS)
    check_plans(later, MAX_BLOCKS_OF_CACHED_COUNT)


@pytest.mark.slow
@pytest.mark.parametrize("offset", [0, MAX_PLAIN_OFFSET, ROWS // TENANTS - 20])
def test_a_page_of_a_million_rows(million: Tenant, offset: int) -> None:
    plans = plans_of(lambda: page(million, offset, offset + 21))
    assert len(plans) == 1
    check_plans(plans, MAX_BLOCKS)
