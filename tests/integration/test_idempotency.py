"""Idempotency keys: a repeated run call does not run again, in any process."""

import time
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models.functions import Now
from django_redis import get_redis_connection

from agents.models import Agent, LanguageModel
from executions.jobs.runs import run_queued
from executions.models import Execution
from map_project.tenants.models import Tenant
from ratelimit.idempotency import KEPT, delete_expired
from ratelimit.limiter import Quota, default_limiter, idempotency_redis_key
from ratelimit.models import IdempotentRequest
from tests.api import Answer, Api, LiveApi
from tests.factories import AgentFactory, ToolFactory
from tests.live import serving
from tests.stub_model import StubModel, StubResponse, completion


@pytest.fixture
def agent(tenant: Tenant) -> Agent:
    return AgentFactory.create(tenant=tenant, with_tools=2)


@pytest.fixture
def stub(model_server: StubModel) -> Iterator[StubModel]:
    model_server.says(completion("Done."))
    model_server.requests.clear()
    row = LanguageModel.objects.create(
        name="keyed", provider="openai", base_url=model_server.url, max_retries=0
    )
    yield model_server
    row.delete()


def run(api: Api, agent: Agent, key: str, **more: Any) -> Answer:
    body = {"prompt": "What is new?", "model": "gpt-4o", **more}
    return api.post(f"agents/{agent.pk}/run", body, headers={"Idempotency-Key": key})


def run_in_thread(api: Api, agent: Agent) -> Answer:
    """Django's test client leaves the connection of the thread open."""
    try:
        return run(api, agent, "k", model="keyed")
    finally:
        connection.close()


def used_units(tenant: Tenant) -> int:
    (usage,) = default_limiter().peek([Quota(tenant.pk, 100, 60)])
    return usage.used


@pytest.mark.parametrize("model", ["gpt-4o", "keyed"])
def test_a_repeated_run_has_the_same_response(
    api: Api, tenant: Tenant, agent: Agent, stub: StubModel, model: str
) -> None:
    first = run(api, agent, "k", model=model)
    again = run(api, agent, '"k"', model=model)
    assert (again.status, again.content) == (200, first.content)
    assert again.headers["idempotent-replayed"] == "true"
    assert "idempotent-replayed" not in first.headers
    assert Execution.objects.filter(tenant=tenant).count() == 1
    assert used_units(tenant) == 1
    assert len(stub.requests) == (model == "keyed")
    found = api.get(f"history/{first.json['execution_id']}").json
    assert found["idempotency_key"] == "k"


def test_a_failed_run_is_repeated_as_it_was(api: Api, agent: Agent, stub: StubModel) -> None:
    stub.says(StubResponse(500))
    first, again = (run(api, agent, "k", model="keyed") for _ in range(2))
    assert (first.status, first.content) == (again.status, again.content)
    assert first.status == 502
    assert len(stub.requests) == 1


def test_equal_json_is_the_same_body(api: Api, tenant: Tenant, agent: Agent) -> None:
    path, headers = f"agents/{agent.pk}/run", {"Idempotency-Key": "k"}
    for raw in (
        b'{"prompt": "x", "model": "gpt-4o", "background": false}',
        b'{"background":false,"model":"gpt-4o","prompt":"\\u0078"}',
    ):
        assert api.post(path, raw=raw, headers=headers).status == 200
    assert Execution.objects.filter(tenant=tenant).count() == 1


def test_another_body_or_route_is_refused(api: Api, tenant: Tenant, agent: Agent) -> None:
    run(api, agent, "k")
    other = AgentFactory.create(tenant=tenant)
    for answer in (run(api, agent, "k", prompt="Another"), run(api, other, "k")):
        assert (answer.status, answer.error_code) == (422, "IDEMPOTENCY_KEY_REUSED")
    assert used_units(tenant) == 1


def test_a_key_of_another_tenant_is_another_key(
    api: Api, other_api: Api, other_tenant: Tenant, agent: Agent
) -> None:
    run(api, agent, "k")
    assert run(other_api, AgentFactory.create(tenant=other_tenant), "k").status == 200


@pytest.mark.parametrize("key", ["", "x" * 256, "a b", "é", '"a', '"\\x"', "\t"])
def test_an_invalid_key_is_refused(api: Api, tenant: Tenant, agent: Agent, key: str) -> None:
    answer = run(api, agent, key.encode().decode("latin-1"))
    assert (answer.status, answer.error_code) == (400, "BAD_REQUEST")
    assert "Idempotency-Key" in answer.json["message"]
    assert used_units(tenant) == 0


def test_refusals_are_not_stored(
    api: Api, tenant: Tenant, other_tenant: Tenant, agent: Agent, unknown_id: str
) -> None:
    assert run(api, agent, "k", prompt="").status == 400
    assert run(api, AgentFactory.create(tenant=other_tenant), "k").status == 403
    assert run(api, agent, "k", model="no such model").status == 400
    Tenant.objects.filter(pk=tenant.pk).update(rate_limit_requests=3)
    time.sleep(1)
    assert run(api, agent, "k").status == 429
    Tenant.objects.filter(pk=tenant.pk).update(rate_limit_requests=4)
    time.sleep(1)
    assert run(api, agent, "k").status == 200
    assert run(api, agent, "k").headers["idempotent-replayed"] == "true"


def test_a_background_run_is_repeated_with_its_present_state(
    api: Api, tenant: Tenant, agent: Agent
) -> None:
    first = run(api, agent, "k", background=True)
    run_queued(uuid.UUID(first.json["execution_id"]))
    again = run(api, agent, "k", background=True)
    assert (again.status, again.json) == (202, {**first.json, "status": "succeeded"})
    assert again.headers["location"] == first.headers["location"]
    assert again.headers["idempotent-replayed"] == "true"
    assert used_units(tenant) == 1


@pytest.mark.parametrize("more", [{"stream": True}, {"background": True}])
@pytest.mark.parametrize("is_openai", [True, False])
def test_a_run_whose_execution_was_deleted_is_not_found(
    api: Api, tenant: Tenant, more: dict[str, bool], *, is_openai: bool
) -> None:
    agent = AgentFactory.create(tenant=tenant, model="gpt-4o")
    openai = ("/v1/responses", {"model": agent.name, "input": "Hi", **more})
    native = (f"agents/{agent.pk}/run", {"prompt": "Hi", **more})
    path, body = openai if is_openai else native
    headers = {"Idempotency-Key": "k"}
    assert api.post(path, body, headers=headers).status in {200, 202}
    Execution.objects.filter(agent_id=agent.pk).delete()
    repeated = api.post(path, body, headers=headers)
    assert repeated.status == 404
    assert b"execution_not_found" in repeated.content.lower()


def test_a_lost_response_is_made_from_the_execution(
    api: Api, agent: Agent, stub: StubModel
) -> None:
    """The process ended after the run, and before it stored the response."""
    first = run(api, agent, "k", model="keyed")
    IdempotentRequest.objects.filter(key="k", tenant=agent.tenant).update(
        response_status=None, response_body=""
    )
    execution = Execution.objects.filter(tenant=agent.tenant)
    execution.update(finished_at=Now() - timedelta(seconds=5))
    again = run(api, agent, "k", model="keyed")
    assert (again.status, again.json) == (200, first.json)
    execution.update(status="failed", stop_reason="worker_lost", error_code="WORKER_LOST")
    lost = run(api, agent, "k", model="keyed")
    assert (lost.status, lost.error_code) == (502, "RUN_INTERRUPTED")
    assert lost.details["execution_id"] == first.json["execution_id"]


def test_a_run_in_progress_is_a_409_after_a_while(
    api: Api, agent: Agent, stub: StubModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("executions.replays.WAIT_SECONDS", 0.3)

    def late(_: object) -> dict[str, Any]:
        time.sleep(2)
        return completion("Done.")

    stub.says(late)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(run_in_thread, api, agent)
        while not stub.requests:
            time.sleep(0.01)
        second = run(api, agent, "k", model="keyed")
        assert (second.status, second.error_code) == (409, "IDEMPOTENCY_IN_PROGRESS")
        assert second.headers["retry-after"] == "1"
        assert second.details["execution_id"] == first.result().json["execution_id"]
    assert run(api, agent, "k", model="keyed").content == first.result().content


def test_without_the_key_in_redis_the_database_decides(
    api: Api, tenant: Tenant, agent: Agent, stub: StubModel
) -> None:
    """Redis has lost the key: a second request is admitted, and finds the key when it stores its run."""
    second: list[Answer] = []

    def repeat(_: object) -> dict[str, Any]:
        rows = IdempotentRequest.objects.filter(tenant=tenant)
        (pk,) = rows.values_list("pk", flat=True)
        # As if it had been stored after the look-up of the second request.
        rows.update(key="other")
        get_redis_connection("default").delete(idempotency_redis_key(tenant.pk, "k"))

        def restore(execute: Any, sql: str, *arguments: Any) -> Any:
            if "INSERT INTO executions_execution" in sql:
                IdempotentRequest.objects.filter(pk=pk).update(key="k")
            return execute(sql, *arguments)

        with connection.execute_wrapper(restore):
            second.append(run(api, agent, "k", model="keyed"))
        # The change was part of the transaction that was rolled back.
        rows.update(key="k")
        connection.close()
        return completion("Done.")

    stub.says(repeat)
    first = run(api, agent, "k", model="keyed")
    assert (second[0].status, second[0].error_code) == (409, "IDEMPOTENCY_IN_PROGRESS")
    assert first.status == 200
    assert run(api, agent, "k", model="keyed").content == first.content
    assert len(stub.requests) == 1
    assert Execution.objects.filter(tenant=tenant).count() == 1


def test_a_key_is_kept_for_24_hours(api: Api, tenant: Tenant, agent: Agent) -> None:
    run(api, agent, "k")
    stored = IdempotentRequest.objects.filter(tenant=tenant)
    stored.update(created_at=Now() - KEPT + timedelta(minutes=1))
    assert run(api, agent, "k").headers["idempotent-replayed"] == "true"
    stored.update(created_at=Now() - KEPT)
    assert "idempotent-replayed" not in run(api, agent, "k", prompt="Another").headers
    stored.update(created_at=Now() - KEPT)
    delete_expired()
    assert not stored.exists()


@pytest.mark.slow
def test_twenty_threads_two_servers_one_key(
    api: Api, tenant: Tenant, agent: Agent, stub: StubModel
) -> None:
    def late(_: object) -> dict[str, Any]:
        time.sleep(1)
        return completion("Done.")

    stub.says(late)
    agent.tools.add(ToolFactory.create(tenant=tenant))
    with serving() as one, serving() as two, ThreadPoolExecutor(20) as pool:
        clients = [LiveApi(port, api.key) for port in (one, two)] * 10
        answers = [*pool.map(lambda client: run(client, agent, "k", model="keyed"), clients)]
    counts = Counter(answer.status for answer in answers)
    assert counts[200] + counts[409] == 20
    assert counts[200] >= 1
    assert len({answer.content for answer in answers if answer.status == 200}) == 1
    replayed = ["idempotent-replayed" in answer.headers for answer in answers]
    assert replayed.count(False) - counts[409] == 1
    assert len(stub.requests) == 1
    assert used_units(tenant) == 1
    assert Execution.objects.filter(tenant=tenant).count() == 1
