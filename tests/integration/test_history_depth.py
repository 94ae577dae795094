"""The history at a million rows: exact, and cheap at any depth."""

import json
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from executions import history
from executions.history import CLOSED_AFTER, HistoryPagination, count_executions
from executions.models import Execution
from map_project.tenants.models import Tenant
from tests.factories import AgentFactory, ExecutionFactory, TenantFactory

ROWS = 1_000_000
TENANTS = 10
# A tenth of the index, and not the table, which has some 50,000 blocks of 8 KiB.
MAX_BLOCKS = 2_500


def page(tenant: Tenant, start: int, stop: int) -> list[Execution]:
    executions = Execution.objects.filter(tenant_id=tenant.pk)
    return HistoryPagination().get_page(executions, start, stop)


def newest_first(tenant: Tenant) -> list[uuid.UUID]:
    rows = Execution.objects.filter(tenant=tenant).order_by("-created_at", "-id")
    return list(rows.values_list("id", flat=True))


def test_a_deep_page_is_the_page_that_a_plain_offset_gives(tenant: Tenant) -> None:
    agent = AgentFactory.create(tenant=tenant)
    start = timezone.now() - timedelta(days=1)
    for number in range(1200):
        # Three at a time share an instant: the order among them is that of their ids.
        ExecutionFactory.create(agent=agent, created_at=start + timedelta(seconds=number // 3))
    expected = newest_first(tenant)
    for offset in (0, 499, 500, 501, 502, 503, 700, 1190, 1199, 1200, 5000):
        assert [row.pk for row in page(tenant, offset, offset + 21)] == expected[
            offset : offset + 21
        ], offset


def test_the_total_counts_what_came_since(tenant: Tenant) -> None:
    agent = AgentFactory.create(tenant=tenant)
    ExecutionFactory.create(agent=agent, created_at=timezone.now() - 2 * CLOSED_AFTER)
    ExecutionFactory.create(agent=agent)
    assert count_executions(tenant.pk) == 2
    ExecutionFactory.create(agent=agent)
    assert count_executions(tenant.pk) == 3


def test_an_empty_history_is_counted_anew_each_time(tenant: Tenant) -> None:
    assert count_executions(tenant.pk) == 0
    ExecutionFactory.create(agent=AgentFactory.create(tenant=tenant))
    assert count_executions(tenant.pk) == 1


def test_what_is_written_into_the_past_shows_in_the_end(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("executions.history._CACHE_TTL_SECONDS", 0)
    monkeypatch.setattr("executions.history._CACHE_TTL_FACTOR", 0)
    agent = AgentFactory.create(tenant=tenant)
    for count in (1, 2, 3):
        ExecutionFactory.create(agent=agent, created_at=timezone.now() - 2 * CLOSED_AFTER)
        assert count_executions(tenant.pk) == count


def test_tenants_are_counted_apart(tenant: Tenant, other_tenant: Tenant) -> None:
    ExecutionFactory.create(agent=AgentFactory.create(tenant=tenant))
    assert (count_executions(tenant.pk), count_executions(other_tenant.pk)) == (1, 0)


@pytest.fixture(scope="module")
def million() -> Tenant:
    """One of ten tenants with a million executions between them. The newest of all are another's:
    nobody may read through them to get at others.
    """
    tenants = TenantFactory.create_batch(TENANTS)
    with connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = 0")
        cursor.execute("SET lock_timeout = 0")
        connection.connection.answer_timeout_seconds = None
        cursor.execute(
            """
            INSERT INTO executions_execution (id, tenant_id, agent_id, agent_name, prompt, model,
                response, status, error_code, latency_ms, request_id, created_at)
            SELECT gen_random_uuid(), (%s::uuid[])[1 + i %% 10], gen_random_uuid(), 'a',
                repeat('p', 90), 'gpt-4o', repeat('r', 200), 'succeeded', '', 1, 'r',
                now() - interval '30 days' + i * interval '1 second'
                    + CASE WHEN i %% 10 = 4 THEN interval '15 days' ELSE interval '0' END
            FROM generate_series(1, %s) i
            """,
            [[tenant.pk for tenant in tenants], ROWS],
        )
        cursor.execute("VACUUM (ANALYZE) executions_execution")
    connection.close()
    return tenants[3]


@pytest.mark.slow
@pytest.mark.parametrize(
    "read",
    [
        lambda tenant: count_executions(tenant.pk),
        lambda tenant: page(tenant, 0, 21),
        lambda tenant: page(tenant, ROWS // TENANTS - 20, ROWS // TENANTS + 1),
    ],
    ids=["total", "first page", "deepest page"],
)
@pytest.mark.parametrize("counted_before", [False, True])
def test_a_million_rows_are_read_by_the_index(
    million: Tenant, read: Callable[[Tenant], object], counted_before: bool
) -> None:
    history._closed_counts.clear()
    if counted_before:
        count_executions(million.pk)
    plans = [explained(*it) for it in statements_of(lambda: read(million))]
    for node in (node for plan in plans for node in nodes(plan["Plan"])):
        assert node["Node Type"] not in {"Seq Scan", "Sort"}, node
    assert sum(blocks(plan) for plan in plans) <= MAX_BLOCKS


def statements_of(read: Callable[[], object]) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []

    def note(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        found.append((sql, params))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(note):
        read()
    return found


def explained(sql: str, params: Any) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) {sql}", params)
        answer = cursor.fetchone()[0]
        return (json.loads(answer) if isinstance(answer, str) else answer)[0]


def blocks(plan: Any) -> int:
    """How many blocks were looked at, in memory or not."""
    return int(plan["Plan"]["Shared Hit Blocks"]) + int(plan["Plan"]["Shared Read Blocks"])


def nodes(plan: Any) -> Iterator[Any]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)
