"""Budgets of tenants, with a stub model whose every response costs the same."""

import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from importlib import import_module
from typing import Any

import orjson
import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from procrastinate.contrib.django.models import ProcrastinateJob

from agents.models import LanguageModel
from executions.budgets.warnings import warn_after_step
from executions.endings import cancel
from executions.jobs.recovery import recover_lost_runs
from executions.jobs.runs import run_queued
from executions.jobs.slots import enqueue_waiting_runs
from executions.models import Execution, Step
from executions.stop_reasons import StopReason
from map_project.tenants.models import Tenant
from map_project.usage.budgets import Spending, lock, read_spending
from map_project.usage.folding import fold_usage
from map_project.usage.models import BudgetWarning, DailyCost, EndedRun, HourlyUsage
from map_project.webhooks.delivery import body
from map_project.webhooks.models import WebhookDelivery
from tests.api import Answer, Api
from tests.at_once import at_once, beside
from tests.factories import AgentFactory, ExecutionFactory, WebhookFactory
from tests.mcp import McpClient, failure_of
from tests.stub_model import StubModel, completion, error, streamed

USAGE = {"prompt_tokens": 1_000, "completion_tokens": 500, "total_tokens": 1_500}
COST = Decimal("0.02")
MODEL = "with a budget"
STATE = ("status", "attempt", "awaits_slot", "lease_owner", "reserved_usd", "started_at")


@pytest.fixture(autouse=True)
def _model(model_server: StubModel) -> Iterator[None]:
    model_server.says(completion("Done.", usage=USAGE))
    row = LanguageModel.objects.create(
        name=MODEL,
        provider="openai",
        base_url=model_server.url,
        input_price_per_million=10,
        output_price_per_million=20,
        max_output_tokens=1_000,
        max_retries=0,
    )
    yield
    row.delete()


@pytest.fixture
def agent(tenant: Tenant) -> Any:
    return AgentFactory.create(tenant=tenant, name="Budgeted", model=MODEL)


def give(tenant: Tenant, **fields: object) -> None:
    """Change the tenant, before the API resolves its key."""
    Tenant.objects.filter(pk=tenant.pk).update(**fields)


def spending(tenant: Tenant) -> Spending:
    return read_spending(tenant.pk)


def spent(tenant: Tenant) -> Decimal:
    (period,) = spending(tenant).periods
    return period.spent_usd


def executions(tenant: Tenant) -> Any:
    return Execution.objects.filter(tenant=tenant)


def background(api: Api, agent: Any) -> Answer:
    return api.post(f"agents/{agent.pk}/run", {"prompt": "Hello", "background": True})


def reserving(agent: Any, reserved_usd: object = 1) -> Execution:
    """A run of another process whose call is in progress."""
    execution: Execution = ExecutionFactory.create(
        agent=agent, status="running", stop_reason="", reserved_usd=reserved_usd, cost_usd=COST
    )
    return execution


def fold_all(tenant: Tenant) -> None:
    """Fold until no row of the tenant is left. Servers of other tests fold as well."""
    while EndedRun.objects.filter(tenant=tenant).exists():
        fold_usage()


def warn(tenant: Tenant) -> None:
    """Check the budget in a thread of its own."""
    warn_after_step(tenant.pk)
    connection.close()


class TestDoors:
    """The budget pays for two runs."""

    @pytest.fixture(autouse=True)
    def _budget(self, tenant: Tenant) -> None:
        give(tenant, budget_usd_day=2 * COST)

    @pytest.fixture
    def _exhausted(self, api: Api, agent: Any, model_server: StubModel) -> None:
        for _ in range(2):
            assert api.run(agent.pk, model=MODEL).status == 200
        model_server.says(completion("Done.", usage=USAGE))

    @pytest.mark.usefixtures("_exhausted")
    def test_a_run_over_the_budget_is_refused(
        self, tenant: Tenant, api: Api, agent: Any, model_server: StubModel
    ) -> None:
        answer = api.run(agent.pk, model=MODEL)
        assert (answer.status, answer.error_code) == (429, "BUDGET_EXCEEDED")
        tomorrow = datetime.now(UTC).date() + timedelta(days=1)
        assert answer.details == {
            "limit_usd": "0.04",
            "spent_usd": "0.04",
            "resets_at": f"{tomorrow}T00:00:00Z",
        }
        assert answer.headers["x-should-retry"] == "false"
        assert "retry-after" not in answer.headers
        assert (executions(tenant).count(), len(model_server.requests)) == (2, 0)
        assert int(answer.headers["x-ratelimit-remaining"]) == 97, "it counts as a run"

    @pytest.mark.usefixtures("_exhausted")
    @pytest.mark.parametrize("fields", [{"stream": True}, {"background": True}])
    def test_a_stream_and_a_background_run_are_refused(
        self, tenant: Tenant, api: Api, agent: Any, fields: Mapping[str, bool]
    ) -> None:
        answer = api.post(f"agents/{agent.pk}/run", {"prompt": "Hello", **fields})
        assert (answer.status, answer.error_code) == (429, "BUDGET_EXCEEDED")
        assert executions(tenant).count() == 2

    @pytest.mark.usefixtures("_exhausted")
    @pytest.mark.parametrize("stream", [False, True])
    @pytest.mark.parametrize(
        ("path", "field"), [("/v1/responses", "input"), ("/v1/chat/completions", "messages")]
    )
    def test_at_v1_the_error_has_the_form_of_openai(
        self, api: Api, agent: Any, path: str, field: str, stream: bool
    ) -> None:
        prompt = "Hello" if field == "input" else [{"role": "user", "content": "Hello"}]
        answer = api.post(path, {"model": agent.name, field: prompt, "stream": stream})
        found = answer.json["error"]
        assert (answer.status, found["code"], found["type"]) == (
            429,
            "budget_exceeded",
            "too_many_requests",
        )
        assert answer.headers["x-should-retry"] == "false"

    @pytest.mark.usefixtures("_exhausted")
    def test_at_mcp_it_is_the_result_of_the_call(self, api: Api, agent: Any) -> None:
        answer = McpClient(api).tool(agent.name, "Hello")
        assert failure_of(answer)["error_code"] == "BUDGET_EXCEEDED"

    @pytest.mark.usefixtures("_exhausted")
    def test_a_refused_run_frees_its_idempotency_key(
        self, tenant: Tenant, api: Api, agent: Any
    ) -> None:
        headers, sent = {"Idempotency-Key": uuid.uuid4().hex}, {"prompt": "Hello"}
        path = f"agents/{agent.pk}/run"
        assert api.post(path, sent, headers=headers).status == 429
        give(tenant, budget_usd_day=1)
        first, second = (api.post(path, sent, headers=headers) for _ in range(2))
        assert (first.status, second.status) == (200, 200)
        assert first.json["execution_id"] == second.json["execution_id"]
        assert spent(tenant) == 3 * COST

    def test_a_stream_spends_as_any_other_run(
        self, tenant: Tenant, api: Api, agent: Any, model_server: StubModel
    ) -> None:
        model_server.says(streamed(completion("Done.", usage=USAGE)))
        answer = api.post(f"agents/{agent.pk}/run", {"prompt": "Hello", "stream": True})
        assert b"response.completed" in answer.content
        assert spent(tenant) == COST
        assert spending(tenant).reserved_usd == 0

    @pytest.mark.usefixtures("_exhausted")
    def test_runs_without_prices_are_not_limited(self, api: Api, agent: Any) -> None:
        assert api.run(agent.pk, model="gpt-4o").status == 200
        LanguageModel.objects.filter(name=MODEL).update(output_price_per_million=None)
        time.sleep(1)  # until the models are read again
        assert api.run(agent.pk, model=MODEL).status == 200


def test_the_budget_that_is_reset_later_is_reported(tenant: Tenant, api: Api, agent: Any) -> None:
    give(tenant, budget_usd_day=0, budget_usd_month=0)
    resets_at = datetime.fromisoformat(api.run(agent.pk, model=MODEL).details["resets_at"])
    assert resets_at.day == 1
    give(tenant, budget_usd_month=1)
    answer = api.run(agent.pk, model=MODEL)
    assert (answer.details["limit_usd"], answer.details["spent_usd"]) == ("0", "0")
    assert "per day" in answer.json["message"]


def test_a_tenant_without_a_budget_has_no_additional_query(api: Api, agent: Any) -> None:
    with CaptureQueriesContext(connection) as queries:
        assert api.run(agent.pk, model=MODEL).status == 200
    assert queries.captured_queries
    texts = [query["sql"] for query in queries.captured_queries]
    assert not [text for text in texts if "usage_dailycost" in text or "advisory" in text]
    assert not [text for text in texts if "UPDATE" in text and '"reserved_usd"' in text]


class TestMidRun:
    def test_an_exhausted_budget_stops_a_run_between_its_calls(
        self, tenant: Tenant, api: Api, agent: Any, model_server: StubModel
    ) -> None:
        give(tenant, budget_usd_day=COST / 2)
        model_server.says(completion("First.", calls=[("none", "{}")], usage=USAGE))
        run = api.run(agent.pk, model=MODEL).json
        assert (run["status"], run["stop_reason"]) == ("incomplete", "budget_exceeded")
        assert (run["response"], run["warning"]) == (
            "First.",
            "The run stopped because the budget was exhausted.",
        )
        assert (len(model_server.requests), spent(tenant)) == (1, COST)

    def test_at_v1(self, tenant: Tenant, api: Api, agent: Any, model_server: StubModel) -> None:
        give(tenant, budget_usd_day=COST / 2)
        model_server.says(completion("First.", calls=[("none", "{}")], usage=USAGE))
        response = api.post("/v1/responses", {"model": agent.name, "input": "Hello"}).json
        assert response["status"] == "incomplete"
        assert response["incomplete_details"] == {"reason": "budget_exceeded"}

    def test_a_failed_call_ends_its_reservation(
        self, tenant: Tenant, api: Api, agent: Any, model_server: StubModel
    ) -> None:
        give(tenant, budget_usd_day=1)
        model_server.says(error(400))
        assert api.run(agent.pk, model=MODEL).status == 502
        assert spending(tenant).reserved_usd == spent(tenant) == 0

    def test_the_cost_so_far_counts_while_a_run_is_in_progress(
        self, tenant: Tenant, api: Api, agent: Any, model_server: StubModel
    ) -> None:
        give(tenant, budget_usd_day=1)
        seen: list[tuple[Decimal, bool]] = []

        def second(_: object) -> dict[str, Any]:
            found = spending(tenant)
            connection.close()  # of the thread of the stub
            seen.append((found.periods[0].spent_usd, found.reserved_usd > COST))
            return completion("Done.", usage=USAGE)

        model_server.says(completion("", calls=[("none", "{}")], usage=USAGE), second)
        assert api.run(agent.pk, model=MODEL).status == 200
        assert seen == [(COST, True)]
        assert spent(tenant) == 2 * COST


class TestBackground:
    def test_a_run_whose_budget_is_exhausted_at_its_start_fails(
        self, tenant: Tenant, api: Api, agent: Any, model_server: StubModel
    ) -> None:
        give(tenant, budget_usd_day=COST)
        first, second = (background(api, agent).json["execution_id"] for _ in range(2))
        run_queued(uuid.UUID(first))
        run_queued(uuid.UUID(second))
        assert api.get(f"history/{first}").json["status"] == "succeeded"
        found = api.get(f"history/{second}").json
        assert (found["status"], found["stop_reason"], found["error_code"]) == (
            "failed",
            "budget_exceeded",
            "BUDGET_EXCEEDED",
        )
        assert found["steps"] == []
        failed = api.get(f"/v1/responses/resp_{uuid.UUID(second).hex}").json
        assert failed["error"]["code"] == "budget_exceeded"
        assert (len(model_server.requests), spent(tenant)) == (1, COST)

    @pytest.mark.parametrize("slots", [None, 1])
    def test_a_run_that_has_to_wait_stays_in_the_queue(
        self, tenant: Tenant, api: Api, agent: Any, model_server: StubModel, slots: int | None
    ) -> None:
        """It occupies no thread of the worker, and is not attempted again and again."""
        give(tenant, budget_usd_day=COST * 2, max_concurrent_runs=slots)
        other = reserving(agent)
        ids = [uuid.UUID(background(api, agent).json["execution_id"]) for _ in range(2)]
        jobs = ProcrastinateJob.objects.filter(queueing_lock__in=map(str, ids))
        jobs.delete()
        for execution_id in ids:
            run_queued(execution_id)
        assert [*executions(tenant).filter(pk__in=ids).values_list(*STATE)] == [
            ("queued", 0, True, "", None, None)
        ] * 2
        assert not model_server.requests
        assert not jobs.exists()
        Execution.objects.filter(pk=other.pk).update(status="succeeded")
        enqueue_waiting_runs()
        # The other waits for a slot.
        assert jobs.count() == (slots or 2)
        run_queued(ids[0])
        assert api.get(f"history/{ids[0]}").json["status"] == "succeeded"
        assert jobs.count() == 2
        assert spent(tenant) == 2 * COST

    def test_a_run_that_is_cancelled_while_it_waits_leaves_no_reservation(
        self, tenant: Tenant, api: Api, agent: Any, model_server: StubModel
    ) -> None:
        give(tenant, budget_usd_day=COST * 3)
        execution_id = uuid.UUID(background(api, agent).json["execution_id"])

        def first(_: object) -> dict[str, Any]:
            reserving(agent)
            connection.close()
            return completion("First.", calls=[("none", "{}")], usage=USAGE)

        model_server.says(first, completion("Second.", usage=USAGE))
        thread = threading.Thread(target=run_queued, args=(execution_id,))
        thread.start()
        wait_for(lambda: Step.objects.filter(execution_id=execution_id).count() == 2)
        assert cancel(execution_id, StopReason.CANCELLED_BY_CALLER)
        executions(tenant).filter(reserved_usd=1).update(reserved_usd=None)
        thread.join(30)
        assert not thread.is_alive()
        assert Execution.objects.get(pk=execution_id).status == "cancelled"
        assert spending(tenant).reserved_usd == 0
        assert len(model_server.requests) == 1


def wait_for(condition: Any, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


class TestWaiting:
    """Another run has reserved the rest of the budget."""

    def test_a_run_waits_until_the_rest_is_free(
        self, tenant: Tenant, api: Api, agent: Any, model_server: StubModel
    ) -> None:
        give(tenant, budget_usd_day=2 * COST)
        other = reserving(agent)
        answers: list[Answer] = []

        def run() -> None:
            answers.append(api.run(agent.pk, model=MODEL))
            connection.close()

        thread = threading.Thread(target=run)
        thread.start()
        time.sleep(1)
        assert thread.is_alive()
        assert (executions(tenant).count(), model_server.requests) == (1, [])
        Execution.objects.filter(pk=other.pk).update(reserved_usd=None)
        thread.join(30)
        assert [answer.status for answer in answers] == [200]
        assert spent(tenant) == 2 * COST

    def test_it_is_refused_at_its_time_limit(
        self, tenant: Tenant, api: Api, agent: Any, settings: Any
    ) -> None:
        settings.RUN_TIMEOUT_SECONDS = 1
        give(tenant, budget_usd_day=2 * COST)
        reserving(agent)
        answer = api.run(agent.pk, model=MODEL)
        assert (answer.status, answer.error_code) == (429, "BUDGET_EXCEEDED")
        assert (answer.headers["retry-after"], "x-should-retry" in answer.headers) == ("1", False)
        assert answer.details["spent_usd"] == "0.02"

    def test_a_reservation_ends_when_its_run_is_recovered(
        self, tenant: Tenant, api: Api, agent: Any
    ) -> None:
        give(tenant, budget_usd_day=2 * COST)
        lost = reserving(agent)
        Execution.objects.filter(pk=lost.pk).update(
            lease_owner="gone", lease_expires_at=datetime.now(UTC) - timedelta(seconds=1)
        )
        assert spending(tenant).reserved_usd == 1
        recover_lost_runs()
        assert spending(tenant).reserved_usd == 0
        assert api.run(agent.pk, model=MODEL).status == 200

    @pytest.mark.parametrize("status", ["queued", "requires_action", "succeeded", "cancelled"])
    def test_only_a_running_execution_has_a_reservation(
        self, tenant: Tenant, agent: Any, status: str
    ) -> None:
        give(tenant, budget_usd_day=1)
        Execution.objects.filter(pk=reserving(agent).pk).update(status=status)
        assert spending(tenant).reserved_usd == 0

    def test_many_calls_that_wait_for_the_lock_are_no_error(
        self, tenant: Tenant, api: Api, agent: Any
    ) -> None:
        give(tenant, budget_usd_day=1)
        is_locked = threading.Event()

        def hold() -> None:
            with transaction.atomic():
                lock(tenant.pk)
                is_locked.set()
                time.sleep(2)
            connection.close()

        thread = threading.Thread(target=hold)
        thread.start()
        assert is_locked.wait(10)
        assert api.run(agent.pk, model=MODEL).status == 200
        assert not thread.is_alive()

    def test_a_run_whose_budget_is_deleted_meanwhile_continues(
        self, tenant: Tenant, api: Api, agent: Any, settings: Any
    ) -> None:
        """It does not need the lock, for which others still wait."""
        settings.RUN_TIMEOUT_SECONDS = 5
        give(tenant, budget_usd_day=2 * COST)
        reserving(agent)

        def change() -> None:
            time.sleep(1)
            give(tenant, budget_usd_day=None)
            connection.close()

        with beside(lambda: lock(tenant.pk)), ThreadPoolExecutor(1) as pool:
            changing = pool.submit(change)
            answer = api.run(agent.pk, model=MODEL)
            changing.result()
        assert answer.status == 200

    def test_a_run_in_progress_waits_before_its_next_call(
        self, tenant: Tenant, api: Api, agent: Any, model_server: StubModel
    ) -> None:
        """Until the others have spent the rest of the budget."""
        give(tenant, budget_usd_day=3 * COST)

        def first(_: object) -> dict[str, Any]:
            other = reserving(agent)
            ends = threading.Timer(1, lambda: end(other))
            ends.start()
            connection.close()
            return completion("First.", calls=[("none", "{}")], usage=USAGE)

        def end(other: Execution) -> None:
            values = {"reserved_usd": None, "cost_usd": 2 * COST, "status": "succeeded"}
            Execution.objects.filter(pk=other.pk).update(**values)
            connection.close()

        model_server.says(first, completion("Second.", usage=USAGE))
        run = api.run(agent.pk, model=MODEL).json
        assert (run["status"], run["stop_reason"]) == ("incomplete", "budget_exceeded")
        assert len(model_server.requests) == 1
        assert spent(tenant) == 3 * COST


class TestSpending:
    def test_it_is_the_same_before_and_after_a_run_is_added_to_the_totals(
        self, tenant: Tenant, api: Api, agent: Any
    ) -> None:
        give(tenant, budget_usd_day=1)
        for count in (1, 2, 3):
            assert api.run(agent.pk, model=MODEL).status == 200
            assert spent(tenant) == count * COST
            fold_all(tenant)
            assert spent(tenant) == count * COST
        (total,) = DailyCost.objects.filter(tenant=tenant)
        assert total.cost_usd == 3 * COST

    def test_a_run_that_waits_for_approvals_counts(self, tenant: Tenant, agent: Any) -> None:
        give(tenant, budget_usd_day=1)
        Execution.objects.filter(pk=reserving(agent).pk).update(status="requires_action")
        assert (spent(tenant), spending(tenant).reserved_usd) == (COST, Decimal(0))

    def test_the_cost_so_far_stays_if_the_model_is_inactive_at_the_end(
        self, tenant: Tenant, agent: Any
    ) -> None:
        give(tenant, budget_usd_day=1)
        execution = reserving(agent)
        Execution.objects.filter(pk=execution.pk).update(model="gone")
        assert cancel(execution.pk, StopReason.CANCELLED_BY_OPERATOR)
        assert spent(tenant) == COST

    def test_the_migration_adds_the_costs_of_earlier_runs(self, tenant: Tenant) -> None:
        migration = import_module("map_project.usage.migrations.0004_budgets")
        hour = datetime(2026, 2, 28, 23, tzinfo=UTC)
        columns = {"model": "m", "provider": "p", "agent_id": tenant.pk, "agent_name": "a"}
        numbers = ("runs", "input_tokens", "output_tokens", "tool_calls", "failed_tool_calls")
        columns |= dict.fromkeys((*numbers, "latency_ms"), 1)
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(migration.REMOVE_TRIGGER)
            cursor.execute("DELETE FROM usage_dailycost")
            for hours, status in ((0, "succeeded"), (0, "failed"), (1, "succeeded")):
                HourlyUsage.objects.create(
                    tenant=tenant,
                    hour=hour + timedelta(hours=hours),
                    status=status,
                    cost_usd=COST,
                    **columns,
                )
            cursor.execute(migration.ADD_TO_DAYS)
            HourlyUsage.objects.filter(tenant=tenant, status="failed").update(cost_usd=3 * COST)
            found = DailyCost.objects.filter(tenant=tenant).order_by("day")
            assert [*found.values_list("day", "cost_usd")] == [
                (date(2026, 2, 28), 4 * COST),
                (date(2026, 3, 1), COST),
            ]
            transaction.set_rollback(True)

    def test_periods_are_days_and_months_in_utc(self, tenant: Tenant) -> None:
        give(tenant, budget_usd_day=1, budget_usd_month=1)
        today = datetime.now(UTC).date()
        first = today.replace(day=1)
        days = {today, first, first - timedelta(days=1)}
        for day in days:
            DailyCost.objects.create(tenant=tenant, day=day, cost_usd=COST)
        found = {each.name: each for each in spending(tenant).periods}
        assert found["day"].spent_usd == COST
        assert found["month"].spent_usd == COST * len({today, first})
        assert found["day"].resets_at.date() == today + timedelta(days=1)
        assert found["month"].resets_at.date() == (first + timedelta(days=31)).replace(day=1)

    def test_the_runs_of_other_tenants_do_not_count(
        self, tenant: Tenant, other_tenant: Tenant, agent: Any
    ) -> None:
        give(tenant, budget_usd_day=1)
        give(other_tenant, budget_usd_day=1)
        reserving(agent)
        assert spent(other_tenant) == spending(other_tenant).reserved_usd == 0


class TestWarning:
    def test_it_is_sent_once_whoever_notices(self, tenant: Tenant, agent: Any) -> None:
        give(tenant, budget_usd_day=COST, budget_usd_month=10 * COST, budget_warning_percent=80)
        WebhookFactory.create(tenant=tenant, event_types=["budget.warning"])
        WebhookFactory.create(tenant=tenant, event_types=["execution.failed"])
        reserving(agent)
        at_once([lambda: warn(tenant)] * 8)
        (delivery,) = WebhookDelivery.objects.filter(tenant=tenant)
        assert (delivery.event_type, delivery.execution_id) == ("budget.warning", None)
        event = orjson.loads(body(delivery))
        (day,) = (each for each in spending(tenant).periods if each.name == "day")
        assert (event["type"], event["data"]) == (
            "budget.warning",
            {
                "period": "day",
                "limit_usd": "0.02",
                "spent_usd": "0.02",
                "percent": 100,
                "resets_at": day.resets_at.isoformat().replace("+00:00", "Z"),
            },
        )

    def test_it_is_sent_after_the_call_that_reaches_the_percentage(
        self, tenant: Tenant, api: Api, agent: Any
    ) -> None:
        give(tenant, budget_usd_day=2 * COST, budget_warning_percent=60)
        webhook = api.post(
            "webhooks", {"url": "https://example.com/x", "event_types": ["budget.warning"]}
        )
        assert webhook.status == 201
        counts = []
        for _ in range(3):
            api.run(agent.pk, model=MODEL)
            counts.append(BudgetWarning.objects.filter(tenant=tenant).count())
        assert counts == [0, 1, 1]
        deliveries = api.get(f"webhooks/{webhook.json['id']}/deliveries").json["items"]
        assert [each["event_type"] for each in deliveries] == ["budget.warning"]
