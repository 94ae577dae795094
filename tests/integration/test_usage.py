"""The totals of ended runs: they equal a recount of the executions, at any time."""

import time
from datetime import UTC, datetime, timedelta
from importlib import import_module

from django.db import connection, transaction

from executions.endings import cancel
from executions.models import Execution, Step
from executions.steps import NOT_MADE_ERRORS
from executions.stop_reasons import StopReason
from map_project.postgresql.queries import AdvisoryLock
from map_project.tenants.models import Tenant
from map_project.usage.folding import fold_usage
from map_project.usage.models import Counter, EndedRun, HourlyUsage, Increment
from tests.api import Api
from tests.at_once import beside
from tests.factories import AgentFactory, ExecutionFactory
from tests.usage import difference, fold_all, totals


def test_a_run_is_in_the_usage_at_once_and_once_after_folding(api: Api, tenant: Tenant) -> None:
    agent = AgentFactory.create(tenant=tenant)
    assert api.run(agent.pk).status == 200
    before = totals(tenant)
    assert before["runs"] == 1
    fold_all(tenant)
    fold_usage()
    assert totals(tenant) == before
    (row,) = HourlyUsage.objects.filter(tenant=tenant)
    execution = Execution.objects.get(tenant=tenant)
    assert (row.agent_id, row.agent_name, row.status) == (agent.pk, agent.name, "succeeded")
    assert (row.model, row.key_prefix) == (execution.model, execution.key_prefix)
    assert execution.finished_at is not None
    assert row.hour == execution.finished_at.replace(minute=0, second=0, microsecond=0)
    assert not difference(tenant)


def test_an_unfinished_run_is_not_in_the_usage(tenant: Tenant) -> None:
    agent = AgentFactory.create(tenant=tenant)
    for status in Execution.UNFINISHED:
        ExecutionFactory.create(agent=agent, status=status)
    assert totals(tenant)["runs"] is None


def test_a_cancelled_run_has_the_tokens_and_calls_of_its_steps(tenant: Tenant) -> None:
    execution = ExecutionFactory.create(agent__tenant=tenant, status="running", model="priced")
    steps = [
        Step(kind="model", name="m", input_tokens=7, output_tokens=5, latency_ms=1),
        Step(kind="tool", name="t", latency_ms=1),
        Step(kind="tool", name="t", latency_ms=1, error="http_500"),
        Step(kind="tool", name="t", latency_ms=0, is_running=True),
        *(Step(kind="tool", name="t", latency_ms=0, error=error) for error in NOT_MADE_ERRORS),
    ]
    for position, step in enumerate(steps):
        step.execution, step.position = execution, position
    Step.objects.bulk_create(steps)
    assert cancel(execution.pk, StopReason.CANCELLED_BY_CALLER)
    found = totals(tenant)
    assert (found["input_tokens"], found["output_tokens"]) == (7, 5)
    assert (found["tool_calls"], found["failed_tool_calls"]) == (3, 2)
    assert not difference(tenant)
    fold_all(tenant)
    assert not difference(tenant)


def test_later_changes_to_an_ended_run_are_not_counted(tenant: Tenant) -> None:
    execution = ExecutionFactory.create(agent__tenant=tenant, status="failed")
    Execution.objects.filter(pk=execution.pk).update(is_hidden=True, status="failed")
    assert totals(tenant)["runs"] == 1


def test_a_run_that_is_set_back_by_hand_can_end_again(tenant: Tenant) -> None:
    execution = ExecutionFactory.create(agent__tenant=tenant)
    rows = Execution.objects.filter(pk=execution.pk)
    # In one transaction, so that no process folds in between.
    with transaction.atomic():
        EndedRun.objects.filter(pk=execution.pk).delete()
        for status in ("running", "failed", "running", "failed"):
            rows.update(status=status)
        assert EndedRun.objects.filter(pk=execution.pk).count() == 1
    assert rows.get().status == "failed"


def test_the_totals_stay_when_executions_are_deleted(tenant: Tenant) -> None:
    execution = ExecutionFactory.create(agent__tenant=tenant, input_tokens=3, output_tokens=4)
    before = totals(tenant)
    execution.delete()
    assert totals(tenant) == before
    fold_all(tenant)
    assert totals(tenant) == before


def test_hours_are_those_of_utc(tenant: Tenant) -> None:
    agent = AgentFactory.create(tenant=tenant)
    noon = datetime(2026, 3, 1, 12, tzinfo=UTC)
    for minutes in (-1, 0, 59, 60):
        finished_at = noon + timedelta(minutes=minutes)
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SET LOCAL timezone = 'Asia/Kolkata'")
            ExecutionFactory.create(agent=agent, finished_at=finished_at)
    fold_all(tenant)
    hours = HourlyUsage.objects.filter(tenant=tenant).order_by("hour").values_list("hour", "runs")
    assert [*hours] == [
        (noon - timedelta(hours=1), 1),
        (noon, 2),
        (noon + timedelta(hours=1), 1),
    ]


def test_a_transaction_that_commits_late_is_counted_once(tenant: Tenant) -> None:
    """Its run ended before runs that are in the totals already."""
    agent = AgentFactory.create(tenant=tenant)
    with beside(lambda: ExecutionFactory.create(agent=agent)):
        ExecutionFactory.create(agent=agent)
        fold_all(tenant)
        assert totals(tenant)["runs"] == 1
    assert totals(tenant)["runs"] == 2
    fold_all(tenant)
    assert not difference(tenant)


def test_a_rolled_back_run_is_not_counted(tenant: Tenant) -> None:
    with transaction.atomic():
        ExecutionFactory.create(agent__tenant=tenant)
        transaction.set_rollback(True)
    assert totals(tenant)["runs"] is None


def test_a_second_process_does_not_fold(tenant: Tenant) -> None:
    def hold_lock() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [AdvisoryLock.FOLD_USAGE.value])

    with beside(hold_lock):
        ExecutionFactory.create(agent__tenant=tenant)
        fold_usage()
        assert EndedRun.objects.filter(tenant=tenant).count() == 1
    fold_all(tenant)
    assert totals(tenant)["runs"] == 1


def test_increments_are_added_to_their_counter_once() -> None:
    name = f"test_{time.time_ns()}"
    for amount in (1, 2, 4):
        Increment.objects.create(name=name, labels={"a": "b"}, amount=amount)
    while Increment.objects.filter(name=name).exists():
        fold_usage()
    fold_usage()
    counter = Counter.objects.get(name=name)
    assert (counter.labels, float(counter.value)) == ({"a": "b"}, 7)


def test_the_migration_records_the_runs_of_earlier_releases(tenant: Tenant) -> None:
    execution = ExecutionFactory.create(agent__tenant=tenant, status="running", input_tokens=5)
    for position, error in enumerate(("", "timeout", "not_called")):
        Step.objects.create(
            execution=execution, position=position, kind="tool", name="t", latency_ms=1, error=error
        )
    cancel(execution.pk, StopReason.CANCELLED_BY_CALLER)
    ExecutionFactory.create(agent__tenant=tenant, status="running")
    earlier_runs = import_module("map_project.usage.migrations.0002_totals").RECORD_EARLIER_RUNS
    fold_all(tenant)
    ExecutionFactory.create(agent__tenant=tenant, output_tokens=7)
    # It records the folded runs of other tests again.
    with transaction.atomic(), connection.cursor() as cursor:
        HourlyUsage.objects.filter(tenant=tenant).delete()
        assert difference(tenant)
        cursor.execute(earlier_runs)
        assert not difference(tenant)
        assert totals(tenant)["runs"] == 2
        transaction.set_rollback(True)
