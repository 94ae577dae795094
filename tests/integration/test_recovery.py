"""Runs whose process is killed or stands still: they continue elsewhere, or end as `failed`."""

import ipaddress
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import timedelta
from http.client import HTTPException
from io import StringIO
from typing import Any

import pytest
from django.conf import settings as project
from django.core.management import call_command
from django.db import connection
from django.db.models.functions import Now
from procrastinate.contrib.django.models import ProcrastinateJob

from agents.models import Agent, LanguageModel
from executions.jobs.recovery import GRACE_PERIOD, MAX_ATTEMPTS, enqueue_lost_jobs
from executions.jobs.runs import run_queued
from executions.models import Execution, Step
from map_project.tenants.models import Tenant
from tests.api import Api, LiveApi
from tests.effects_server import EffectsServer, effects_server
from tests.factories import AgentFactory, ExecutionFactory, ToolFactory
from tests.live import database_url, free_port, serving, start_worker, wait_until_live, working
from tests.stub_model import HANG, StubModel, completion

CALL = completion("", calls=[("act", "{}")])
LONG_AGO = timedelta(minutes=5)
TOOLS = {"TOOL_ALLOWED_NETWORKS": "127.0.0.1/32"}


@pytest.fixture
def stub(model_server: StubModel) -> Iterator[StubModel]:
    """The server of the model `real`, which responds "Done."."""
    model_server.says(completion("Done."))
    model_server.requests.clear()
    row = LanguageModel.objects.create(
        name="real", provider="openai", base_url=model_server.url, max_retries=0
    )
    yield model_server
    row.delete()


@pytest.fixture
def effects(settings: Any) -> Iterator[EffectsServer]:
    settings.TOOL_ALLOWED_NETWORKS = (ipaddress.ip_network("127.0.0.1/32"),)
    with effects_server() as server:
        yield server


@pytest.fixture
def agent(tenant: Tenant) -> Agent:
    return AgentFactory.create(tenant=tenant)


def add_tool(agent: Agent, effects: EffectsServer, *, idempotent: bool = False) -> None:
    tool = ToolFactory.create(
        tenant=agent.tenant,
        name="act",
        kind="http",
        config=effects.config(),
        idempotent=idempotent,
    )
    agent.tools.add(tool)


def start(api: Api, agent: Agent) -> str:
    body = {"prompt": "What is new?", "model": "real", "background": True}
    execution_id: str = api.post(f"agents/{agent.pk}/run", body).json["execution_id"]
    return execution_id


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def expired(**columns: object) -> Execution:
    """Return a running execution of a process that ended long ago."""
    execution: Execution = ExecutionFactory.create(
        status="running", stop_reason="", response="", lease_owner="gone", **columns
    )
    Execution.objects.filter(pk=execution.pk).update(
        started_at=Now() - LONG_AGO, lease_expires_at=Now() - LONG_AGO
    )
    return execution


def recover() -> str:
    out = StringIO()
    call_command("recover_lost_runs", stdout=out)
    return out.getvalue()


def step_of(execution: Execution, position: int, **columns: Any) -> Step:
    step: Step = Step.objects.create(
        execution=execution, position=position, latency_ms=1, **columns
    )
    return step


def test_a_foreground_run_without_its_process_fails(api: Api, agent: Agent) -> None:
    execution = expired(agent=agent)
    step_of(execution, 0, kind="model", name="gpt-4o", input_tokens=7, output_tokens=5)
    step_of(execution, 1, kind="tool", name="act", is_running=True)
    assert recover() in {"1 lost run recovered.\n", "0 lost runs recovered.\n"}
    found = api.get(f"history/{execution.pk}").json
    assert (found["status"], found["stop_reason"], found["error_code"]) == (
        "failed",
        "worker_lost",
        "WORKER_LOST",
    )
    assert (found["input_tokens"], found["output_tokens"]) == (7, 5)
    assert found["finished_at"]
    step = found["steps"][1]
    assert (step["name"], step["error"], step["is_running"]) == ("act", "worker_lost", False)
    assert "unknown" in step["output"]
    assert recover() == "0 lost runs recovered.\n"


def test_a_run_of_an_earlier_release_fails_after_its_time_limit(agent: Agent) -> None:
    execution = ExecutionFactory.create(agent=agent, status="running", stop_reason="")
    rows = Execution.objects.filter(pk=execution.pk)
    rows.update(finish_by=Now() - GRACE_PERIOD + timedelta(seconds=5))
    recover()
    assert rows.get().status == "running"
    rows.update(finish_by=Now() - GRACE_PERIOD)
    recover()
    assert rows.get().error_code == "WORKER_LOST"


def test_a_run_with_a_valid_lease_is_not_changed(agent: Agent) -> None:
    execution = expired(agent=agent, background=True)
    rows = Execution.objects.filter(pk=execution.pk)
    rows.update(lease_expires_at=Now() + LONG_AGO)
    recover()
    assert rows.get().status == "running"
    rows.update(status="failed")


def test_a_background_run_continues_after_its_recorded_steps(
    api: Api, agent: Agent, stub: StubModel, effects: EffectsServer
) -> None:
    add_tool(agent, effects)
    execution = expired(agent=agent, background=True, model="real")
    call = {"id": "c1", "name": "act", "arguments": "{}"}
    extra = '[{"reasoning_content": "hmm"}, {"extra_content": "x"}]'
    model = {"kind": "model", "name": "real", "input_tokens": 7, "output_tokens": 5}
    step_of(execution, 0, **model, tool_calls=[call], extra=extra, input="[]")
    step_of(execution, 1, kind="tool", name="act", input="{}", output="the result")
    recover()
    assert Execution.objects.get(pk=execution.pk).status == "queued"
    run_queued(execution.pk)
    found = api.get(f"history/{execution.pk}").json
    assert (found["status"], found["response"], found["attempt"]) == ("succeeded", "Done.", 2)
    assert found["input_tokens"] == 7 + completion()["usage"]["prompt_tokens"]
    assert [step["kind"] for step in found["steps"]] == ["model", "tool", "model"]
    assert not effects.effects
    (request,) = stub.requests
    _, prompt, assistant, result = request.body["messages"]
    assert prompt["content"] == "What is new?"
    assert assistant["reasoning_content"] == "hmm"
    assert assistant["tool_calls"][0]["extra_content"] == "x"
    assert (result["tool_call_id"], result["content"]) == ("c1", "the result")


@pytest.mark.parametrize("idempotent", [True, False])
def test_a_call_without_a_result_is_repeated_only_if_the_tool_says_so(
    api: Api, agent: Agent, stub: StubModel, effects: EffectsServer, idempotent: bool
) -> None:
    add_tool(agent, effects, idempotent=idempotent)
    execution = expired(agent=agent, background=True, model="real")
    calls = [{"id": "c1", "name": "act", "arguments": "{}"}]
    step_of(execution, 0, kind="model", name="real", tool_calls=calls)
    step_of(execution, 1, kind="tool", name="act", is_running=True, idempotent=idempotent)
    recover()
    run_queued(execution.pk)
    found = api.get(f"history/{execution.pk}").json
    if idempotent:
        assert (found["status"], len(found["steps"])) == ("succeeded", 3)
        # A tool can recognise the repeated call.
        assert effects.effects == [("/", f"{execution.pk}-1")]
        assert found["steps"][1]["output"] == "done"
    else:
        assert (found["status"], found["stop_reason"]) == ("failed", "worker_lost")
        assert found["steps"][1]["error"] == "worker_lost"
        assert not effects.effects
        assert not stub.requests


def test_a_run_fails_in_its_last_attempt(agent: Agent) -> None:
    execution = expired(agent=agent, background=True, attempt=MAX_ATTEMPTS)
    recover()
    assert Execution.objects.get(pk=execution.pk).stop_reason == "worker_lost"


def test_a_process_that_lost_its_lease_writes_nothing(
    api: Api, agent: Agent, stub: StubModel, effects: EffectsServer
) -> None:
    """The lease is lost while the model is asked: another process starts the second attempt."""
    add_tool(agent, effects)

    def lose(_: object) -> dict[str, Any]:
        Execution.objects.filter(pk=execution_id).update(attempt=2, lease_owner="other")
        connection.close()
        return dict(CALL)

    stub.says(lose)
    execution_id = start(api, agent)
    run_queued(uuid.UUID(execution_id))
    execution = Execution.objects.get(pk=execution_id)
    assert (execution.status, execution.attempt, execution.steps.count()) == ("running", 2, 0)
    assert not effects.effects
    Execution.objects.filter(pk=execution_id).update(status="failed")


def test_a_run_without_its_job_gets_another_one(api: Api, agent: Agent, stub: StubModel) -> None:
    execution_id = start(api, agent)
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM procrastinate_jobs WHERE queueing_lock = %s", [execution_id])
    assert enqueue_lost_jobs() == 0
    Execution.objects.filter(pk=execution_id).update(created_at=Now() - LONG_AGO)
    assert enqueue_lost_jobs() >= 1
    assert enqueue_lost_jobs() == 0
    with working():
        wait_for(lambda: Execution.objects.get(pk=execution_id).status == "succeeded")


def test_a_job_of_a_dead_worker_is_replaced(api: Api, agent: Agent, stub: StubModel) -> None:
    """It was killed after it had fetched the job, and before it started the execution."""
    execution_id = start(api, agent)
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO procrastinate_workers DEFAULT VALUES RETURNING id")
        (worker_id,) = cursor.fetchone()
        query = "UPDATE procrastinate_jobs SET status = 'doing', worker_id = %s WHERE queueing_lock = %s"
        cursor.execute(query, [worker_id, execution_id])
    Execution.objects.filter(pk=execution_id).update(created_at=Now() - LONG_AGO)
    enqueue_lost_jobs()
    jobs = ProcrastinateJob.objects.filter(queueing_lock=execution_id)
    assert jobs.get().status == "doing"
    with connection.cursor() as cursor:
        query = "UPDATE procrastinate_workers SET last_heartbeat = now() - interval '1 min' WHERE id = %s"
        cursor.execute(query, [worker_id])
    enqueue_lost_jobs()
    assert jobs.get().status == "todo"
    Execution.objects.filter(pk=execution_id).update(status="failed")


@pytest.mark.slow
def test_a_run_goes_on_after_its_worker_was_killed(
    api: Api, agent: Agent, stub: StubModel, effects: EffectsServer
) -> None:
    add_tool(agent, effects)
    stub.says(CALL, HANG)
    execution_id = start(api, agent)
    worker = start_worker(**TOOLS)
    wait_for(lambda: len(stub.requests) == 2)
    worker.kill()
    worker.wait(10)
    stub.says(completion("Done."))
    with working(**TOOLS):
        wait_for(lambda: Execution.objects.get(pk=execution_id).status != "running", 40)
        wait_for(lambda: Execution.objects.get(pk=execution_id).status == "succeeded")
    execution = Execution.objects.get(pk=execution_id)
    assert (execution.attempt, execution.steps.count()) == (2, 3)
    assert len(effects.effects) == 1


@pytest.mark.slow
def test_a_worker_that_stood_still_writes_nothing(
    api: Api, agent: Agent, stub: StubModel, effects: EffectsServer
) -> None:
    add_tool(agent, effects)
    release: list[bool] = []

    def late(_: object) -> dict[str, Any]:
        wait_for(lambda: bool(release))
        return dict(CALL)

    stub.says(late)
    execution_id = start(api, agent)
    with working(**TOOLS) as sleeper:
        wait_for(lambda: len(stub.requests) == 1)
        sleeper.send_signal(signal.SIGSTOP)
        try:
            with working():
                stub.says(completion("Done."))
                wait_for(lambda: Execution.objects.get(pk=execution_id).status == "succeeded")
        finally:
            release.append(True)
            sleeper.send_signal(signal.SIGCONT)
        time.sleep(2)
    found = api.get(f"history/{execution_id}").json
    assert (found["attempt"], found["response"], len(found["steps"])) == (2, "Done.", 1)
    assert not effects.effects


@pytest.mark.slow
def test_a_worker_that_stops_hands_back_its_runs(
    api: Api, agent: Agent, stub: StubModel, effects: EffectsServer
) -> None:
    add_tool(agent, effects)
    stub.says(CALL, HANG)
    execution_id = start(api, agent)
    with working(GRACEFUL_TIMEOUT_SECONDS="1", **TOOLS) as first:
        wait_for(lambda: len(stub.requests) == 2)
        first.send_signal(signal.SIGTERM)
        assert first.wait(20) == 0
    execution = Execution.objects.get(pk=execution_id)
    assert (execution.status, execution.attempt) == ("queued", 0)
    stub.says(completion("Done."))
    with working(**TOOLS):
        wait_for(lambda: Execution.objects.get(pk=execution_id).status == "succeeded")
    execution.refresh_from_db()
    assert (execution.attempt, execution.steps.count()) == (1, 3)
    assert len(effects.effects) == 1


@pytest.mark.slow
def test_a_worker_that_stops_finishes_its_runs(api: Api, agent: Agent, stub: StubModel) -> None:
    def late(_: object) -> dict[str, Any]:
        time.sleep(2)
        return completion("Done.")

    stub.says(late)
    execution_id = start(api, agent)
    with working() as worker:
        wait_for(lambda: len(stub.requests) == 1)
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(20) == 0
    assert Execution.objects.get(pk=execution_id).status == "succeeded"


@pytest.mark.slow
def test_the_run_of_a_killed_server_fails_within_a_lease(
    api: Api, agent: Agent, stub: StubModel
) -> None:
    stub.says(HANG)
    with serving(), killable() as (port, process), ThreadPoolExecutor(1) as pool:
        pool.submit(run_to_the_end, port, api.key, agent.pk)
        wait_for(lambda: bool(stub.requests))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)
        execution = Execution.objects.get(tenant=agent.tenant)
        assert execution.status == "running"
        wait_for(lambda: Execution.objects.get(pk=execution.pk).status != "running", 30)
    found = api.get(f"history/{execution.pk}").json
    assert (found["status"], found["error_code"]) == ("failed", "WORKER_LOST")


@pytest.mark.slow
def test_the_run_of_another_server_is_not_changed(api: Api, agent: Agent, stub: StubModel) -> None:
    def late(_: object) -> dict[str, object]:
        time.sleep(20)
        return completion("Done.")

    stub.says(late)
    with serving() as port, ThreadPoolExecutor(1) as pool:
        run = pool.submit(run_to_the_end, port, api.key, agent.pk)
        wait_for(lambda: bool(stub.requests))
        with serving():
            assert run.result(40) == 200
    assert Execution.objects.get(tenant=agent.tenant).status == "succeeded"


def run_to_the_end(port: int, key: str | None, agent_id: object) -> int:
    with suppress(OSError, HTTPException):
        return LiveApi(port, key).run(agent_id, model="real").status
    return 0


@contextmanager
def killable(**environment: str) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """Run a server in its own process group, and kill it at the end."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "map_project.server"],
        cwd=project.BASE_DIR,
        env=os.environ
        | {"DATABASE_URL": database_url(), "REDIS_URL": project.REDIS_URL}
        | {"HOST": "127.0.0.1", "PORT": str(port)}
        | environment,
        start_new_session=True,
    )
    try:
        wait_until_live(port, process)
        yield port, process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)
