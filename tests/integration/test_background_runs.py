"""Background runs: their response, the queue, workers and cancellation."""

import ipaddress
import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from django.conf import settings as project
from django.db import connection
from procrastinate.contrib.django.models import ProcrastinateJob

from agents.models import LanguageModel
from executions.jobs.runs import run_queued
from executions.models import Execution
from map_project.postgresql.base import BoundedConnection, breaker
from map_project.tenants.models import Tenant
from tests.api import Answer, Api
from tests.checkouts import eventually
from tests.effects_server import effects_server
from tests.factories import AgentFactory, ToolFactory
from tests.live import database_url, working
from tests.stub_model import StubModel, completion


def start(api: Api, agent_id: object, model: str = "gpt-4o", **more: Any) -> Answer:
    body = {"prompt": "What is new?", "model": model, "background": True, **more}
    return api.post(f"agents/{agent_id}/run", body)


def wait_for(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def model(model_server: StubModel) -> Iterator[LanguageModel]:
    model_server.says(completion("Done."))
    row = LanguageModel.objects.create(
        name="background", provider="openai", base_url=model_server.url, max_retries=0
    )
    yield row
    row.delete()


def test_a_background_run_is_queued(api: Api, tenant: Tenant) -> None:
    agent = AgentFactory.create(tenant=tenant)
    answer = start(api, agent.pk, metadata={"ticket": "4711"})
    assert answer.status == 202
    body = answer.json
    assert answer.headers["location"] == f"/api/v1/history/{body['execution_id']}"
    assert body.keys() == {
        *("execution_id", "agent_id", "agent_name", "model", "prompt", "status", "created_at"),
        "request_id",
    }
    assert (body["status"], body["agent_id"]) == ("queued", str(agent.pk))
    found = api.get(answer.headers["location"]).json
    assert {name: found[name] for name in ("status", "background", "attempt", "metadata")} == {
        "status": "queued",
        "background": True,
        "attempt": 0,
        "metadata": {"ticket": "4711"},
    }
    assert (found["started_at"], found["finished_at"], found["stop_reason"]) == (None, None, None)
    assert found["created_at"] == body["created_at"]


def test_a_worker_runs_a_queued_execution(api: Api, tenant: Tenant) -> None:
    agent = AgentFactory.create(tenant=tenant)
    execution_id = start(api, agent.pk).json["execution_id"]
    with working():
        wait_for(lambda: api.get(f"history/{execution_id}").json["status"] == "succeeded")
    found = api.get(f"history/{execution_id}").json
    assert found["response"] == api.run(agent.pk).json["response"]
    assert (found["attempt"], found["stop_reason"]) == (1, "completed")
    assert found["created_at"] <= found["started_at"] <= found["finished_at"]
    assert not ProcrastinateJob.objects.filter(queueing_lock=execution_id).exists()


def test_a_claim_whose_response_was_lost_counts(
    api: Api, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker gives up the wait for the claim, and PostgreSQL commits it afterwards."""
    agent = AgentFactory.create(tenant=tenant)
    execution_id = start(api, agent.pk).json["execution_id"]
    query = "SELECT 1 FROM executions_execution WHERE id = %s FOR UPDATE"
    # A command in another test may have left a session without time limits in the pool.
    connection.close()
    connection.close_pool()  # type: ignore[attr-defined]
    with ThreadPoolExecutor(1) as pool, psycopg.connect(database_url()) as other:
        other.execute(query, [execution_id])
        with monkeypatch.context() as patch:
            patch.setattr(BoundedConnection, "answer_timeout_seconds", 0.3)
            run = pool.submit(run_queued, uuid.UUID(execution_id))
            assert eventually(breaker.is_open)
        other.rollback()
        run.result(30)
    found = api.get(f"history/{execution_id}").json
    assert (found["status"], found["attempt"]) == ("succeeded", 1)


def test_a_job_that_is_fetched_twice_runs_once(
    api: Api, tenant: Tenant, model: LanguageModel, model_server: StubModel
) -> None:
    """The worker stood still for so long that its job was replaced, and fetches that one too."""
    agent = AgentFactory.create(tenant=tenant)
    model_server.requests.clear()
    execution_id = start(api, agent.pk, model.name).json["execution_id"]
    query = "SELECT 1 FROM executions_execution WHERE id = %s FOR UPDATE"
    with ThreadPoolExecutor(4) as pool, psycopg.connect(database_url()) as other:
        other.execute(query, [execution_id])
        runs = [pool.submit(run_queued, uuid.UUID(execution_id)) for _ in range(4)]
        time.sleep(0.2)
        other.rollback()
        for run in runs:
            run.result(30)
    found = api.get(f"history/{execution_id}").json
    assert (found["status"], found["attempt"]) == ("succeeded", 1)
    assert len(model_server.requests) == 1


def test_a_port_in_use_is_one_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        environment = {"DATABASE_URL": database_url(), "REDIS_URL": project.REDIS_URL}
        worker = subprocess.run(
            [sys.executable, "manage.py", "worker"],
            cwd=project.BASE_DIR,
            env={**os.environ, **environment, "HOST": "127.0.0.1", "WORKER_PORT": port},
            capture_output=True,
            text=True,
            timeout=30,
        )
    assert worker.returncode == 1
    # Lines of the log begin with a brace: a task beside the worker may have failed at the exit.
    lines = [line for line in worker.stderr.splitlines() if not line.startswith("{")]
    assert len(lines) == 1, worker.stderr
    assert f"127.0.0.1:{port} (HOST, WORKER_PORT)" in lines[0]


def test_a_foreground_run_has_its_times_and_metadata(api: Api, tenant: Tenant) -> None:
    agent = AgentFactory.create(tenant=tenant)
    body = {"prompt": "Hi", "model": "gpt-4o", "metadata": {"a": "b"}, "background": False}
    answer = api.post(f"agents/{agent.pk}/run", body)
    assert answer.status == 200
    found = api.get(f"history/{answer.json['execution_id']}").json
    assert (found["background"], found["attempt"], found["metadata"]) == (False, 1, {"a": "b"})
    assert found["created_at"] == found["started_at"] <= found["finished_at"]


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({str(number): "" for number in range(17)}, "at most 16 pairs"),
        ({"": "x"}, "1 to 64 characters"),
        ({"x" * 65: "x"}, "1 to 64 characters"),
        ({"x": 1}, "must be a string"),
        ({"x": "y" * 513}, "at most 512"),
        ({"x": "\0"}, "NUL"),
        (["x"], "Expected an object"),
    ],
)
def test_metadata_is_checked(api: Api, tenant: Tenant, metadata: object, message: str) -> None:
    agent = AgentFactory.create(tenant=tenant)
    (text,) = start(api, agent.pk, metadata=metadata).fields["metadata"]
    assert message in text


@pytest.mark.parametrize("value", ["true", 1, None])
def test_background_is_a_boolean(api: Api, tenant: Tenant, value: object) -> None:
    answer = start(api, AgentFactory.create(tenant=tenant).pk, background=value)
    assert set(answer.fields) == {"background"}


def test_the_queue_of_a_tenant_is_bounded(api: Api, tenant: Tenant) -> None:
    Tenant.objects.filter(pk=tenant.pk).update(max_queued_runs=2)
    agent = AgentFactory.create(tenant=tenant)
    assert [start(api, agent.pk).status for _ in range(2)] == [202, 202]
    full = start(api, agent.pk)
    assert (full.status, full.error_code, full.details) == (429, "QUEUE_FULL", {"limit": 2})
    assert int(full.headers["retry-after"]) >= 1
    assert Execution.objects.filter(tenant=tenant).count() == 2


def test_a_job_that_arrives_twice_runs_once(
    api: Api, tenant: Tenant, model: LanguageModel, model_server: StubModel
) -> None:
    agent = AgentFactory.create(tenant=tenant)
    before = len(model_server.requests)
    execution_id = start(api, agent.pk, model.name).json["execution_id"]
    for _ in range(2):
        run_queued(execution_id)
    assert len(model_server.requests) == before + 1
    assert Execution.objects.get(pk=execution_id).attempt == 1


def test_a_run_uses_the_agent_as_it_is_when_it_starts(api: Api, tenant: Tenant) -> None:
    agent = AgentFactory.create(tenant=tenant)
    execution_id = start(api, agent.pk).json["execution_id"]
    api.patch(f"agents/{agent.pk}", {"name": "Renamed"})
    run_queued(execution_id)
    found = api.get(f"history/{execution_id}").json
    assert found["agent_name"] == "Renamed"
    assert "Renamed" in found["response"]
    assert "Renamed" in found["system_prompt"]


def test_a_run_whose_agent_was_deleted_fails(api: Api, tenant: Tenant) -> None:
    agent = AgentFactory.create(tenant=tenant)
    execution_id = start(api, agent.pk).json["execution_id"]
    assert api.delete(f"agents/{agent.pk}").status == 204
    run_queued(execution_id)
    found = api.get(f"history/{execution_id}").json
    assert (found["status"], found["stop_reason"], found["error_code"]) == (
        "failed",
        "not_runnable",
        "AGENT_NOT_FOUND",
    )


def test_a_run_of_an_inactive_tenant_is_cancelled(api: Api, tenant: Tenant) -> None:
    execution_id = start(api, AgentFactory.create(tenant=tenant).pk).json["execution_id"]
    Tenant.objects.filter(pk=tenant.pk).update(is_active=False)
    run_queued(execution_id)
    execution = Execution.objects.get(pk=execution_id)
    assert (execution.status, execution.stop_reason) == ("cancelled", "cancelled_by_operator")


def test_a_queued_run_is_cancelled_at_once(api: Api, other_api: Api, tenant: Tenant) -> None:
    execution_id = start(api, AgentFactory.create(tenant=tenant).pk).json["execution_id"]
    assert other_api.post(f"history/{execution_id}/cancel").status == 403
    first, second = (api.post(f"history/{execution_id}/cancel") for _ in range(2))
    assert (first.status, second.status) == (200, 200)
    assert first.json == second.json == api.get(f"history/{execution_id}").json
    assert (first.json["status"], first.json["stop_reason"]) == ("cancelled", "cancelled_by_caller")
    assert first.json["finished_at"]
    run_queued(execution_id)
    assert api.get(f"history/{execution_id}").json == first.json


def test_a_finished_run_is_not_cancelled(api: Api, tenant: Tenant) -> None:
    execution_id = api.run(AgentFactory.create(tenant=tenant).pk).json["execution_id"]
    before = api.get(f"history/{execution_id}").json
    assert api.post(f"history/{execution_id}/cancel").json == before


def test_an_unknown_execution_is_not_cancelled(api: Api, unknown_id: str) -> None:
    for execution_id in (unknown_id, "x"):
        answer = api.post(f"history/{execution_id}/cancel")
        assert (answer.status, answer.error_code) == (404, "EXECUTION_NOT_FOUND")


def test_a_cancelled_run_calls_nothing_more(
    api: Api, tenant: Tenant, model: LanguageModel, model_server: StubModel, settings: Any
) -> None:
    """It is cancelled during the first call of the model, which requests a tool."""
    settings.TOOL_ALLOWED_NETWORKS = (ipaddress.ip_network("127.0.0.1/32"),)
    agent = AgentFactory.create(tenant=tenant)
    execution_id = start(api, agent.pk, model.name).json["execution_id"]

    def cancel(_: object) -> dict[str, Any]:
        assert api.post(f"history/{execution_id}/cancel").json["status"] == "cancelled"
        connection.close()
        return completion("", calls=[("lookup", "{}")])

    with effects_server() as server:
        config = server.config()
        agent.tools.add(
            ToolFactory.create(tenant=tenant, name="lookup", kind="http", config=config)
        )
        model_server.says(cancel, completion("Done."))
        before = len(model_server.requests)
        run_queued(execution_id)
    assert not server.effects
    assert len(model_server.requests) == before + 1
    found = api.get(f"history/{execution_id}").json
    assert (found["status"], found["steps"]) == ("cancelled", [])


def test_a_foreground_run_that_is_cancelled(
    api: Api, tenant: Tenant, model: LanguageModel, model_server: StubModel
) -> None:
    agent = AgentFactory.create(tenant=tenant)

    def cancel(_: object) -> dict[str, Any]:
        execution = Execution.objects.get(tenant=tenant)
        assert api.post(f"history/{execution.pk}/cancel").status == 200
        connection.close()
        return completion("Done.")

    model_server.says(cancel)
    answer = api.run(agent.pk, model=model.name)
    assert answer.status == 200
    assert (answer.json["status"], answer.json["stop_reason"]) == (
        "cancelled",
        "cancelled_by_caller",
    )
    assert answer.json["warning"] == "The run was cancelled."
