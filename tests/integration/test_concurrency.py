"""The limit on concurrent runs of a tenant: slots are taken with the quota, and none is lost."""

import http.client
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.db.models.functions import Now
from django_redis import get_redis_connection
from procrastinate.contrib.django.models import ProcrastinateJob

from agents.models import Agent, LanguageModel
from executions.jobs.recovery import enqueue_lost_jobs
from executions.jobs.runs import run_queued
from executions.jobs.slots import enqueue_waiting_runs
from executions.models import Execution
from map_project.tenants.models import Tenant
from ratelimit.limiter import LEASE_MS, Lease, Quota, default_limiter, slots_key
from tests.api import Answer, Api, LiveApi
from tests.factories import AgentFactory
from tests.live import serving, working
from tests.stub_model import HANG, StubModel, completion


@pytest.fixture
def tenant(tenant: Tenant) -> Tenant:
    tenant.max_concurrent_runs = 1
    tenant.save()
    return tenant


@pytest.fixture
def agent(tenant: Tenant) -> Agent:
    return AgentFactory.create(tenant=tenant)


@pytest.fixture
def stub(model_server: StubModel) -> Iterator[StubModel]:
    model_server.says(completion("Done."))
    model_server.requests.clear()
    row = LanguageModel.objects.create(
        name="limited", provider="openai", base_url=model_server.url, max_retries=0
    )
    yield model_server
    row.delete()


def used_slots(tenant: Tenant) -> int:
    count: int = get_redis_connection("default").zcard(slots_key(tenant.pk))
    return count


def occupy(tenant: Tenant, token: str = "other") -> Lease:
    assert default_limiter().take_slot(tenant.pk, slots=1, token=token)
    return Lease(tenant.pk, token, has_slot=True)


def used_units(tenant: Tenant) -> int:
    (usage,) = default_limiter().peek([Quota(tenant.pk, 100, 60)])
    return usage.used


def start(api: Api, agent: Agent) -> Answer:
    body = {"prompt": "What is new?", "model": "limited", "background": True}
    return api.post(f"agents/{agent.pk}/run", body)


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_refusal_takes_nothing(api: Api, tenant: Tenant, agent: Agent) -> None:
    lease = occupy(tenant)
    for _ in range(3):
        answer = api.run(agent.pk)
        assert (answer.status, answer.error_code) == (429, "CONCURRENCY_LIMIT_EXCEEDED")
        assert (answer.details, answer.headers["retry-after"]) == ({"limit": 1}, "1")
        assert answer.headers["x-ratelimit-remaining"] == "100"
    assert used_units(tenant) == 0
    default_limiter().release(lease)
    assert api.run(agent.pk).status == 200
    assert (used_units(tenant), used_slots(tenant)) == (1, 0)


def test_the_quota_has_precedence(api: Api, tenant: Tenant, agent: Agent) -> None:
    tenant.rate_limit_requests = 2
    tenant.save()
    assert [api.run(agent.pk).status for _ in range(2)] == [200, 200]
    lease = occupy(tenant)
    answer = api.run(agent.pk)
    assert answer.error_code == "RATE_LIMIT_EXCEEDED"
    assert 0 < int(answer.headers["retry-after"]) <= 60
    default_limiter().release(lease)


@pytest.mark.parametrize("body", [{}, {"prompt": ""}, {"prompt": "x", "model": "none"}])
def test_a_refused_body_frees_its_slot(
    api: Api, tenant: Tenant, agent: Agent, body: dict[str, str]
) -> None:
    assert api.post(f"agents/{agent.pk}/run", body).status == 400
    assert used_slots(tenant) == 0


@pytest.mark.slow
def test_exactly_the_limit_is_admitted(
    api: Api, tenant: Tenant, agent: Agent, stub: StubModel
) -> None:
    tenant.max_concurrent_runs = 5
    tenant.save()

    def late(_: object) -> dict[str, Any]:
        time.sleep(3)
        return completion("Done.")

    stub.says(late)
    with serving() as port, ThreadPoolExecutor(20) as pool:
        client = LiveApi(port, api.key)
        runs = pool.map(lambda _: client.run(agent.pk, model="limited").status, range(20))
        assert sorted(runs) == [200] * 5 + [429] * 15
        assert used_units(tenant) == 5
        assert used_slots(tenant) == 0
        assert client.run(agent.pk).status == 200


def test_a_background_run_waits_in_the_queue(
    api: Api, tenant: Tenant, agent: Agent, stub: StubModel
) -> None:
    lease = occupy(tenant)
    answer = start(api, agent)
    assert answer.status == 202
    execution = Execution.objects.get(pk=answer.json["execution_id"])
    run_queued(execution.pk)
    execution.refresh_from_db()
    assert (execution.status, execution.awaits_slot, execution.attempt) == ("queued", True, 0)
    # It has no job, and is not lost.
    Execution.objects.filter(pk=execution.pk).update(created_at=Now() - timedelta(minutes=5))
    ProcrastinateJob.objects.filter(queueing_lock=str(execution.pk)).delete()
    enqueue_lost_jobs()
    assert not ProcrastinateJob.objects.filter(queueing_lock=str(execution.pk)).exists()
    default_limiter().release(lease)
    enqueue_waiting_runs()
    execution.refresh_from_db()
    assert not execution.awaits_slot
    run_queued(execution.pk)
    execution.refresh_from_db()
    assert (execution.status, execution.attempt, used_slots(tenant)) == ("succeeded", 1, 0)


@pytest.mark.slow
def test_background_runs_of_one_tenant_run_one_after_the_other(
    api: Api, tenant: Tenant, agent: Agent, stub: StubModel
) -> None:
    running: list[int] = []
    most: list[int] = []

    def one(_: object) -> dict[str, Any]:
        running.append(1)
        most.append(len(running))
        time.sleep(0.3)
        running.pop()
        return completion("Done.")

    stub.says(one)
    ids = [start(api, agent).json["execution_id"] for _ in range(8)]
    done = Execution.objects.filter(pk__in=ids, status="succeeded")
    with working():
        wait_for(lambda: done.count() == 8)
    assert max(most) == 1
    # They do not wait for the periodic search.
    times = [execution.finished_at for execution in done if execution.finished_at]
    assert max(times) - min(times) < timedelta(seconds=10)


@pytest.mark.slow
def test_the_slot_of_a_killed_worker_is_free_after_its_lease(
    api: Api, tenant: Tenant, agent: Agent, stub: StubModel
) -> None:
    stub.says(HANG)
    start(api, agent)
    with working() as worker:
        wait_for(lambda: bool(stub.requests))
        assert used_slots(tenant) == 1
        # Longer than a lease: it is extended.
        time.sleep(LEASE_MS / 1000 + 3)
        assert api.run(agent.pk).status == 429
        worker.kill()
        worker.wait(10)
    wait_for(lambda: api.run(agent.pk).status == 200, LEASE_MS / 1000 + 5)


@pytest.mark.slow
def test_a_client_that_disconnects_leaves_no_slot(
    api: Api, tenant: Tenant, agent: Agent, stub: StubModel
) -> None:
    def late(_: object) -> dict[str, Any]:
        time.sleep(1)
        return completion("Done.")

    stub.says(late)
    with serving() as port:
        for _ in range(3):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=0.3)
            headers = {"X-API-KEY": api.key or "", "Content-Type": "application/json"}
            body = '{"prompt": "x", "model": "limited"}'
            connection.request("POST", f"/api/v1/agents/{agent.pk}/run", body, headers)
            with pytest.raises(TimeoutError):
                connection.getresponse()
            connection.close()
            wait_for(lambda: used_slots(tenant) == 0, 5)
    assert Execution.objects.filter(tenant=tenant, status="succeeded").count() == 3
