"""The totals of ended runs: they equal a recount of the executions, at any time."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter as Counts
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from http.client import HTTPException
from importlib import import_module
from itertools import product
from typing import Any

import pytest
from django.conf import settings
from django.db import connection, transaction
from django.db.models import Sum

from agents.models import LanguageModel
from executions.endings import cancel
from executions.models import Execution, Step
from executions.steps import NOT_MADE_ERRORS
from executions.stop_reasons import StopReason
from map_project.tenants.models import Tenant
from map_project.usage.folding import LOCK_ID, fold_usage
from map_project.usage.models import Counter, EndedRun, HourlyUsage, Increment, Usage
from tests.api import Api, LiveApi
from tests.conftest import api_of
from tests.factories import AgentFactory, ExecutionFactory, TenantFactory
from tests.live import arbiter, database_url, serving, working
from tests.own_postgres import children
from tests.stub_model import StubModel, StubResponse, completion

_KEY = "tenant_id, hour, model, provider, agent_id, key_prefix, status"
_SUMS = "runs, input_tokens, output_tokens, cost_usd, tool_calls, failed_tool_calls, latency_ms"
# Both in one statement, and so of one snapshot.
_DIFFERENCE = f"""
WITH recount AS (
    SELECT tenant_id, date_trunc('hour', COALESCE(finished_at, created_at), 'UTC') AS hour, model,
        provider, agent_id, key_prefix, status, count(*) AS runs,
        COALESCE(sum(input_tokens), 0) AS input_tokens,
        COALESCE(sum(output_tokens), 0) AS output_tokens, COALESCE(sum(cost_usd), 0) AS cost_usd,
        sum((SELECT count(*) FROM executions_step
            WHERE execution_id = execution.id AND kind = 'tool'
            AND error <> ALL(%(not_made)s))) AS tool_calls,
        sum((SELECT count(*) FROM executions_step
            WHERE execution_id = execution.id AND kind = 'tool'
            AND error <> ALL(%(not_made)s) AND error <> '')) AS failed_tool_calls,
        sum(latency_ms) AS latency_ms
    FROM executions_execution execution
    WHERE tenant_id = ANY(%(tenants)s) AND status NOT IN ('queued', 'running', 'requires_action')
    GROUP BY {_KEY.replace("hour", "2")}
), usage AS (
    SELECT {_KEY}, {", ".join(f"sum({name}) AS {name}" for name in _SUMS.split(", "))}
    FROM usage_current WHERE tenant_id = ANY(%(tenants)s) GROUP BY {_KEY}
)
(SELECT 'recount', {_KEY}, {_SUMS} FROM recount EXCEPT SELECT 'recount', {_KEY}, {_SUMS} FROM usage)
UNION ALL
(SELECT 'usage', {_KEY}, {_SUMS} FROM usage EXCEPT SELECT 'usage', {_KEY}, {_SUMS} FROM recount)
"""


def difference(*tenants: Tenant) -> list[Any]:
    """Return the rows in which the usage and a recount differ."""
    parameters: dict[str, Any] = {
        "tenants": [tenant.pk for tenant in tenants],
        "not_made": [*NOT_MADE_ERRORS],
    }
    with connection.cursor() as cursor:
        cursor.execute(_DIFFERENCE, parameters)
        return [*cursor.fetchall()]


def totals(tenant: Tenant) -> dict[str, Any]:
    names = _SUMS.split(", ")
    return Usage.objects.filter(tenant=tenant).aggregate(**{name: Sum(name) for name in names})


def fold_all(tenant: Tenant) -> None:
    """Fold until no row of the tenant is left. Servers of other tests fold as well."""
    while EndedRun.objects.filter(tenant=tenant).exists():
        fold_usage()


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
    begun, folded = threading.Event(), threading.Event()

    def end_late() -> None:
        with transaction.atomic():
            ExecutionFactory.create(agent=agent)
            begun.set()
            assert folded.wait(30)
        connection.close()

    thread = threading.Thread(target=end_late)
    thread.start()
    assert begun.wait(30)
    ExecutionFactory.create(agent=agent)
    fold_all(tenant)
    assert totals(tenant)["runs"] == 1
    folded.set()
    thread.join(30)
    assert totals(tenant)["runs"] == 2
    fold_all(tenant)
    assert not difference(tenant)


def test_a_rolled_back_run_is_not_counted(tenant: Tenant) -> None:
    with transaction.atomic():
        ExecutionFactory.create(agent__tenant=tenant)
        transaction.set_rollback(True)
    assert totals(tenant)["runs"] is None


def test_a_second_process_does_not_fold(tenant: Tenant) -> None:
    with_lock, released = threading.Event(), threading.Event()

    def hold_lock() -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK_ID])
            with_lock.set()
            assert released.wait(30)
        connection.close()

    thread = threading.Thread(target=hold_lock)
    thread.start()
    assert with_lock.wait(30)
    ExecutionFactory.create(agent__tenant=tenant)
    fold_usage()
    assert EndedRun.objects.filter(tenant=tenant).count() == 1
    released.set()
    thread.join(30)
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


# --- With processes

_FOLD_REPEATEDLY = """
import django; django.setup()
from map_project.usage.folding import fold_usage
while True: fold_usage()
"""


# Ends runs in transactions of several, of which some are rolled back.
_END_REPEATEDLY = """
import random, sys, uuid
import django; django.setup()
from django.db import transaction
from django.db.models.functions import Now
from executions.models import Execution
tenant_id, agents = sys.argv[1], [uuid.uuid4() for _ in range(3)]
while True:
    with transaction.atomic():
        runs = Execution.objects.bulk_create([
            Execution(
                tenant_id=tenant_id, agent_id=random.choice(agents), agent_name="a", prompt="p",
                model=random.choice("xyz"), response="r", latency_ms=random.randint(0, 9_999),
                status=random.choice(["succeeded", "running"]), input_tokens=random.randint(0, 999),
                output_tokens=random.randint(0, 999), cost_usd=f"0.00000{random.randint(0, 9999)}",
                request_id="r",
            )
            for _ in range(random.randint(1, 20))
        ])
        if random.random() < 0.1:
            transaction.set_rollback(True)
    for run in runs:
        rows = Execution.objects.filter(pk=run.pk, status="running")
        rows.update(status=random.choice(["failed", "cancelled"]), finished_at=Now())
"""


def start(code: str, *arguments: str) -> subprocess.Popen[bytes]:
    """Start a process that runs this code on the test database."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        cwd=settings.BASE_DIR,
        env={
            **os.environ,
            "DATABASE_URL": database_url(),
            "REDIS_URL": settings.REDIS_URL,
            "DJANGO_SETTINGS_MODULE": "map_project.settings",
        },
    )


@pytest.fixture
def model(model_server: StubModel) -> Iterator[LanguageModel]:
    chance = random.Random(1)

    def respond(body: dict[str, Any]) -> StubResponse:
        tokens = {
            "prompt_tokens": chance.randint(1, 999),
            "completion_tokens": chance.randint(1, 99),
        }
        usage = tokens | {"total_tokens": sum(tokens.values())}
        pause_seconds = chance.choice((0, 0, 0.1, 1.0))
        if chance.random() < 0.1:
            return StubResponse(status=400, body={"error": {"message": "no"}})
        return StubResponse(body=completion(usage=usage), pause_seconds=pause_seconds)

    model_server.says(respond)
    row = LanguageModel.objects.create(
        name="counted",
        provider="openai",
        base_url=model_server.url,
        max_retries=0,
        input_price_per_million="0.123456",
        output_price_per_million="7.7",
    )
    yield row
    row.delete()


def run_repeatedly(
    port: int, tenant: Tenant, model: str, number: int, stop: threading.Event
) -> None:
    """Make runs of all kinds, and cancel some of them."""
    api, agent = LiveApi(port, api_of(tenant).key), AgentFactory.create(tenant=tenant)
    connection.close()
    while not stop.is_set():
        number += 1
        body = {
            "prompt": "x",
            "model": model if number % 4 == 0 else "gpt-4o",
            "background": number % 3 == 0,
        }
        # Of a server process that was killed.
        with suppress(OSError, HTTPException):
            run = api.post(f"agents/{agent.pk}/run", body)
            if number % 6 == 0 and run.status == 202:
                api.post(f"history/{run.json['execution_id']}/cancel")


@pytest.mark.slow
def test_the_usage_is_exact_at_any_time_under_load_and_kills(model: LanguageModel) -> None:
    """Server processes, and processes that fold, are killed all the time."""
    tenants = TenantFactory.create_batch(
        3, rate_limit_requests=1_000_000, max_queued_runs=1_000_000
    )
    stop, chance = threading.Event(), random.Random(2)
    with serving() as first, serving() as second, working():
        clients = [*product((first, second), tenants)]
        threads = [
            threading.Thread(target=run_repeatedly, args=(*client, model.name, number, stop))
            for number, client in enumerate(clients)
        ]
        for thread in threads:
            thread.start()
        for number in range(8):
            folding = start(_FOLD_REPEATEDLY)
            time.sleep(chance.uniform(1.5, 2.5))
            assert not difference(*tenants)
            folding.kill()
            folding.wait(30)
            if number % 3 == 2:
                port = chance.choice((first, second))
                os.kill(chance.choice(children(arbiter(port))), signal.SIGKILL)
        stop.set()
        for thread in threads:
            thread.join(60)
        assert not difference(*tenants)
    for tenant in tenants:
        fold_all(tenant)
        assert not difference(tenant)
    executions = Execution.objects.filter(tenant__in=tenants)
    found = Counts(executions.values_list("status", flat=True))
    assert found["succeeded"] > 10, found


@pytest.mark.slow
def test_the_usage_equals_a_recount_after_ten_thousand_runs_and_kills(tenant: Tenant) -> None:
    """Processes that end runs, and processes that fold, are killed at random moments."""
    chance, checks = random.Random(3), 0
    codes = [(_END_REPEATEDLY, str(tenant.pk))] * 2 + [(_FOLD_REPEATEDLY,)]
    processes = [start(*code) for code in codes]
    deadline = time.monotonic() + 900
    while Execution.objects.filter(tenant=tenant).count() < 10_000:
        assert time.monotonic() < deadline
        time.sleep(chance.uniform(3, 6))
        assert not difference(tenant)
        checks += 1
        number = chance.randrange(len(codes))
        processes[number].kill()
        processes[number].wait(30)
        processes[number] = start(*codes[number])
    for process in processes:
        process.kill()
        process.wait(30)
    fold_all(tenant)
    assert not difference(tenant)
    assert checks > 1
    assert HourlyUsage.objects.filter(tenant=tenant).exists()
