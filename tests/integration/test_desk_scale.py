"""The admin's pages with a million executions, in a separate table."""

import uuid
from collections.abc import Callable, Iterator
from urllib.parse import urlencode

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from map_project.desk import metrics
from map_project.desk.dashboard import latest_runs, near_their_limit
from map_project.desk.days import forget_days
from map_project.desk.metrics import RANGES
from tests.cpu_time import clock_with_session, million_digests_seconds, shortest
from tests.factories import TenantFactory
from tests.integration.desk_scale_rows import many_executions
from tests.query_plans import explained, nodes, statements_of
from tests.unit.desk.conftest import signed_in

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def million() -> Iterator[uuid.UUID]:
    """Create the rows, and yield the tenant with most of them. This thread sees no other rows meanwhile."""
    with many_executions() as cursor:
        # The session does all the work itself, so that its CPU time is that of the query.
        cursor.execute("SET max_parallel_workers_per_gather = 0")
        cursor.execute(
            "SELECT tenant_id FROM executions_execution GROUP BY 1 ORDER BY count(*) DESC"
        )
        busiest = cursor.fetchone()[0]
        forget_days()
        yield busiest
    forget_days()


def check_time(work: Callable[[], object]) -> None:
    """It takes at most as long as a million digests, a limit for every machine."""
    duration, limit = shortest(work, clock_with_session), million_digests_seconds()
    print(f"{duration * 1000:.0f} ms, limit {limit * 1000:.0f} ms")
    assert duration < limit


@pytest.mark.parametrize("name", RANGES)
def test_dashboard_queries(million: uuid.UUID, name: str) -> None:
    now, time_range = timezone.now(), RANGES[name]
    while not metrics.counts(time_range, now).complete:
        pass

    def queries() -> None:
        assert metrics.counts(time_range, now).total
        metrics.latencies(now)
        metrics.latency_series(time_range if name == "1h" else RANGES["24h"], now)
        near_their_limit(now)
        latest_runs(now)

    check_time(queries)


@pytest.fixture(scope="module")
def operator() -> Client:
    return signed_in("operator")


@pytest.mark.parametrize(
    "path",
    [
        "/admin/executions/execution/",
        "/admin/executions/execution/?period=all",
        "/admin/executions/execution/?status__exact=failed",
        "/admin/executions/execution/?tenant__id__exact={tenant}&status__exact=incomplete&period=30d",
        "/admin/executions/execution/?tenant__id__exact={tenant}&q=ticket+99",
        "/admin/tenants/tenant/",
        "/admin/tenants/tenant/{tenant}/change/",
        "/admin/failures/?period=24h",
        "/admin/failures/?period=7d",
        "/admin/failures/?period=7d&tenant={tenant}",
        "/admin/queue/",
        "/admin/queue/?tenant={tenant}",
        "/admin/admin/logentry/",
        "/admin/admin/logentry/?tenant={tenant}",
        "/admin/admin/logentry/?tenant={unknown}&period=7d",
        "/admin/admin/logentry/?q=no+such+text&period=7d",
        "/admin/tool-calls/?period=24h",
        "/admin/tool-calls/?period=24h&tenant={tenant}&sort=p95",
        "/admin/executions/execution/?period=7d&failed_tool=tool+0",
        "/admin/usage/?tenant={tenant}",
    ],
)
def test_pages(operator: Client, million: uuid.UUID, path: str) -> None:
    path = path.format(tenant=million, unknown=TenantFactory.create().pk)
    assert operator.get(path).status_code == 200
    check_time(lambda: operator.get(path))


@pytest.mark.parametrize(
    ("path", "indexes"),
    [
        ("/admin/queue/", {"execution_unfinished"}),
        ("/admin/failures/?period=7d", {"execution_failed", "step_tool_error_by_time"}),
        ("/admin/tool-calls/?period=24h", {"step_tool_by_time", "step_tool_error_by_time"}),
        (
            "/admin/executions/execution/?period=7d&failed_tool=tool+0",
            {"step_tool_error_by_time"},
        ),
    ],
)
def test_plans_of_reports(
    operator: Client, million: uuid.UUID, path: str, indexes: set[str]
) -> None:
    """The queries read the partial indexes."""
    used: set[str] = set()
    statements = statements_of(lambda: operator.get(path))
    plans = [explained(*each) for each in statements if "executions_" in each[0]]
    for node in (node for plan in plans for node in nodes(plan["Plan"])):
        if node.get("Relation Name") in {"executions_execution", "executions_step"}:
            assert node["Node Type"] != "Seq Scan", node
        used.add(node.get("Index Name", ""))
    assert indexes <= used


def test_a_page_deep_in_the_history(operator: Client, million: uuid.UUID) -> None:
    path = f"/admin/executions/execution/?tenant__id__exact={million}&period=all"
    older = operator.get(path).context["cl"].older_url
    assert older
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT created_at, id FROM executions_execution ORDER BY 1 OFFSET 5000 LIMIT 1"
        )
        created_at, pk = cursor.fetchone()
    deep = f"{path}&{urlencode({'before': f'{created_at.isoformat()}_{pk}'})}"
    assert operator.get(deep).context["cl"].result_list
    check_time(lambda: operator.get(deep))
