"""The numbers of the dashboard, compared with the executions."""

from datetime import UTC, datetime, timedelta

import pytest
from django.test import Client

from executions.models import Execution
from map_project.desk import metrics
from map_project.desk.days import count_days, first_open_day, forget_days
from map_project.desk.metrics import DAY, RANGES
from map_project.tenants.models import Tenant
from tests.factories import AgentFactory, ExecutionFactory

# A time at which other tests have no runs.
NOW = datetime(2031, 5, 17, 13, 44, 5, tzinfo=UTC)


@pytest.fixture
def month(tenant: Tenant) -> list[Execution]:
    """Runs of the month up to NOW, one every 5 hours. Every seventh failed."""
    Execution.objects.filter(created_at__gt=NOW - timedelta(days=60)).delete()
    forget_days()
    agent = AgentFactory.create(tenant=tenant)
    return [
        ExecutionFactory.create(
            agent=agent,
            created_at=NOW - timedelta(hours=5 * n),
            status="failed" if n % 7 == 3 else "succeeded",
            error_code="MODEL_TIMEOUT" if n % 7 == 3 else "",
            latency_ms=100 * n,
        )
        for n in range(140)
    ]


@pytest.mark.parametrize("name", RANGES)
@pytest.mark.parametrize("repetitions", [1, 2])
def test_counts(month: list[Execution], tenant: Tenant, name: str, repetitions: int) -> None:
    time_range = RANGES[name]
    runs = [run for run in month if run.created_at >= time_range.begin(NOW)]
    failed = [run for run in runs if run.status == "failed"]
    for _ in range(repetitions):
        counts = metrics.counts(time_range, NOW)
        assert counts.complete
        assert counts.total == len(runs)
        assert counts.by_status.get("failed", 0) == len(failed)
        assert dict(counts.failures()) == ({"MODEL_TIMEOUT": len(failed)} if failed else {})
        assert {pk: sum(statuses.values()) for pk, statuses in counts.busiest(9)} == {
            tenant.pk: len(runs)
        }
        times = set(time_range.times(NOW))
        assert {time for time, _ in counts.by_bucket} <= times


def test_a_range_ends_in_the_bucket_of_now() -> None:
    for time_range in RANGES.values():
        times = time_range.times(NOW)
        assert len(times) == time_range.buckets
        assert times[-1] <= NOW < times[-1] + time_range.width
        assert times[0] == time_range.begin(NOW)


def test_counts_of_one_tenant(month: list[Execution], other_tenant: Tenant) -> None:
    assert metrics.counts(DAY, NOW, tenant_id=month[0].tenant_id).total == 5
    assert metrics.counts(DAY, NOW, tenant_id=other_tenant.pk).total == 0


def test_a_past_day_is_counted_once(month: list[Execution]) -> None:
    time_range = RANGES["30d"]
    before = metrics.counts(time_range, NOW).total
    deleted = month[-20]
    deleted.delete()
    assert metrics.counts(time_range, NOW).total == before
    month[1].delete()
    assert metrics.counts(time_range, NOW).total == before - 1
    forget_days()
    assert metrics.counts(time_range, NOW).total == before - 2


def test_counting_stops_at_its_budget(month: list[Execution]) -> None:
    first, until = (NOW - timedelta(days=20)).date(), first_open_day(NOW)
    assert not count_days(first, until, budget_seconds=-1)
    assert count_days(first, until)
    assert count_days(first, until, budget_seconds=-1)


def test_latencies(month: list[Execution]) -> None:
    hour, day = metrics.latencies(NOW)
    assert (hour.p50, hour.p95) == (0, 0)
    assert day.p50 == 200
    assert day.p95 == pytest.approx(380)
    ExecutionFactory.create(
        agent=AgentFactory.create(), created_at=NOW, status="running", latency_ms=10**6
    )
    assert metrics.latencies(NOW)[1] == day
    assert metrics.latencies(NOW + timedelta(days=365))[0].p50 is None
    series = metrics.latency_series(DAY, NOW)
    assert series.keys() <= set(DAY.times(NOW))
    assert len(series) == 5


def test_unknown_statuses_are_shown(operator: Client, tenant: Tenant) -> None:
    run = ExecutionFactory.create(
        agent=AgentFactory.create(tenant=tenant), status="surprised", error_code="NEW_CODE"
    )
    for name in RANGES:
        charts = operator.get("/admin/", {"range": name}).context["charts"]
        assert "surprised" in [series["label"] for series in charts["runs"]["series"]]
    run.delete()


@pytest.mark.parametrize("name", ["", "1y", "<script>"])
def test_an_unknown_range_is_a_day(operator: Client, name: str) -> None:
    assert operator.get("/admin/", {"range": name}).context["range"] is DAY
