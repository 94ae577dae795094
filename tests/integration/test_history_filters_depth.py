"""The filters of the history at a million executions of one tenant: pages that read few blocks."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models import Max

from executions.history import blocks as blocks_of_search
from executions.history.blocks import index_history
from executions.history.models import HistoryTotal
from executions.models import Execution, SearchBlock
from map_project.tenants.keys import issue_key
from map_project.tenants.models import Tenant
from tests.api import Api
from tests.factories import TenantFactory
from tests.integration.test_history_depth import NO_TOTALS
from tests.many_rows import make_visible, many_rows
from tests.query_plans import (
    MAX_SORTED_ROWS,
    blocks,
    check_plans,
    explained,
    nodes,
    statements_of,
)

ROWS = 1_000_000

# The table has about 60,000 blocks of 8 KiB, and each index about 10,000.
MAX_BLOCKS_OF_PAGE = 500
# Of a page of a combination that no execution matches, although many match each of its filters.
MAX_BLOCKS_OF_COMBINATION = 2_500
# Of up to a hundred blocks of the search, each with a hundred executions.
MAX_BLOCKS_OF_SEARCH = 8_000
# The blocks that contain all words of a search, if they are few: of its 10,000.
MAX_SORTED_BLOCKS = 1_000
AGENT = "00000000-0000-4000-8000-00000000000%d"
NONE = "00000000-0000-4000-8000-ffffffffffff"


@pytest.fixture(scope="module")
def million() -> Iterator[tuple[Tenant, str, list[str]]]:
    """Create the executions. Yield their tenant, its API key, and the IDs of two of its keys.

    The newest half are of one agent, and the others of ten. The first key started those of one agent.
    """
    tenant = TenantFactory.create()
    keys = [issue_key(tenant=tenant) for _ in range(3)]
    insert = """
        INSERT INTO executions_execution (id, tenant_id, agent_id, agent_name, prompt, model,
            response, status, error_code, latency_ms, request_id, key_prefix, metadata, created_at)
        SELECT gen_random_uuid(), %s, ('00000000-0000-4000-8000-' || lpad(agent::text, 12, '0'))::uuid, 'a',
            'Summarize document ' || i || CASE WHEN i < 400000 THEN ' early' ELSE '' END
                || CASE WHEN i %% 1000 = 7 THEN ' seldom' ELSE '' END,
            CASE WHEN i %% 2 = 0 THEN 'gpt-4o' ELSE 'gpt-4' END,
            repeat('r', 200), CASE WHEN i %% 100000 = 1 THEN 'failed' ELSE 'succeeded' END, '', 1, 'r',
            CASE agent WHEN 3 THEN %s ELSE %s END,
            jsonb_build_object('ticket', i::text, 'env', CASE WHEN i %% 2 = 0 THEN 'prod' ELSE 'test' END),
            now() - interval '30 days' + i * interval '1 second'
        FROM generate_series(1, %s) i, LATERAL (
            SELECT CASE WHEN i > 500000 THEN 0 ELSE i %% 10 END AS agent
        ) agents
        """
    parameters = [tenant.pk, keys[0][0].prefix, keys[1][0].prefix, ROWS]
    inserts = [(insert, parameters), NO_TOTALS]
    with many_rows("history_filters", inserts, Execution, SearchBlock, HistoryTotal) as cursor:
        while execution_count_after_blocks(tenant) > blocks_of_search.ROWS:
            index_history()
        make_visible(cursor, "executions_searchblock")
        yield tenant, keys[2][1], [str(key.pk) for key, _ in keys[:2]]


@pytest.mark.slow
@pytest.mark.parametrize(
    "query",
    [
        *("", f"agent_id={AGENT % 0}", f"agent_id={AGENT % 5}", f"agent_id={NONE}"),
        *("model=gpt-4", "model=none", "status=succeeded", "status=failed", "status=queued"),
        *("since=2020-01-01", "until=2020-01-01", "since=2020-01-01&model=gpt-4"),
        *("key_id=0", "key_id=1", "key_id=2", f"status=failed&agent_id={AGENT % 0}"),
        f"model=gpt-4&agent_id={AGENT % 5}&status=succeeded",
    ],
)
def test_a_page_of_a_filter(million: tuple[Tenant, str, list[str]], query: str) -> None:
    """Of frequent and of rare values, of the oldest and of none: the first page, and one in the middle."""
    check(million, query, MAX_BLOCKS_OF_PAGE)


@pytest.mark.slow
@pytest.mark.parametrize(
    "query", ["status=queued", "model=none", f"agent_id={NONE}", "q=nothing&status=queued"]
)
def test_the_plan_of_a_filter_has_its_value(
    million: tuple[Tenant, str, list[str]], query: str
) -> None:
    """Also after many pages: a plan for any value would read all executions to find those of a rare one."""
    api = Api(million[1])
    for _ in range(8):
        assert api.get(f"history?{query}").json["items"] == []
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT statement FROM pg_prepared_statements WHERE generic_plans > 0"
            " AND statement LIKE 'SELECT \"executions_execution\"%LIMIT%'"
        )
        assert cursor.fetchall() == []


def execution_count_after_blocks(tenant: Tenant) -> int:
    newest = SearchBlock.objects.filter(tenant=tenant).aggregate(at=Max("last_created_at"))["at"]
    executions = Execution.objects.filter(tenant=tenant)
    return (executions.filter(created_at__gt=newest) if newest else executions).count()


@pytest.mark.slow
@pytest.mark.parametrize(
    "query",
    [
        *("q=document", "q=nothing", "q=500000", "q=document+777777", "q=seldom", "q=early"),
        *("q=early+seldom", "q=seldom&model=gpt-4", "q=document&status=failed"),
        *("metadata.env=prod", "metadata.ticket=4711", "metadata.ticket=0"),
    ],
)
def test_a_page_of_a_search(million: tuple[Tenant, str, list[str]], query: str) -> None:
    """For words of all executions, of the oldest, of a few, of one and of none."""
    check(million, query, MAX_BLOCKS_OF_SEARCH, MAX_SORTED_BLOCKS)


@pytest.mark.slow
@pytest.mark.parametrize(
    "query",
    [
        f"agent_id={AGENT % 5}&model=gpt-4o",
        f"agent_id={AGENT % 5}&key_id=0",
        "key_id=0&model=gpt-4o",
    ],
)
def test_a_combination_that_matches_nothing(
    million: tuple[Tenant, str, list[str]], query: str
) -> None:
    check(million, query, MAX_BLOCKS_OF_COMBINATION)


def plans_as_executed(statements: list[tuple[str, Any]]) -> list[Any]:
    """Return the plans of the statements that read the history, with the settings that they have."""
    plans = []
    with transaction.atomic():
        for sql, parameters in statements:
            if sql.startswith("SET LOCAL"):
                with connection.cursor() as cursor:
                    cursor.execute(sql)
            elif "executions_" in sql:
                plans.append(explained(sql, parameters))
                with connection.cursor() as cursor:
                    cursor.execute("RESET enable_seqscan; RESET enable_indexscan")
    return plans


def check(
    million: tuple[Tenant, str, list[str]],
    query: str,
    max_blocks: int,
    max_sorted_rows: int = MAX_SORTED_ROWS,
) -> None:
    _, key, key_ids = million
    for number, key_id in enumerate([*key_ids, NONE]):
        query = query.replace(f"key_id={number}", f"key_id={key_id}")
    api = Api(key)
    page = api.get(f"history?limit=100&offset=300&{query}").json
    paths = [f"history?{query}"]
    if "next_cursor" in page:
        paths.append(f"history?{query}&cursor={page['next_cursor']}")
    for path in paths:
        statements = statements_of(lambda path=path: api.get(path))  # type: ignore[misc]
        plans = plans_as_executed(statements)
        assert plans or NONE in query
        # The total of the list without filters has a test of its own.
        plans = plans[:1] if not query else plans
        check_plans(plans, max_blocks, max_sorted_rows)
        for node in (node for plan in plans for node in nodes(plan["Plan"])):
            assert node.get("Relation Name") != "executions_execution" or (
                node["Node Type"] != "Bitmap Heap Scan"
            ), node
        assert max(map(blocks, plans), default=0) <= max_blocks
