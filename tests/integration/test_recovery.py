"""Runs of a server that is killed during the run end as `failed`."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import timedelta
from http.client import HTTPException
from io import StringIO

import pytest
from django.conf import settings
from django.core.management import call_command
from django.db.models.functions import Now
from django.utils import timezone
from executions.lost import GRACE_PERIOD

from agents.models import LanguageModel
from executions.models import Execution
from map_project.tenants.models import Tenant
from tests.api import Api, LiveApi
from tests.factories import AgentFactory, ExecutionFactory
from tests.live import database_url, free_port, serving, wait_until_live
from tests.stub_model import HANG, StubModel, completion, stub_model


@pytest.fixture
def stub() -> Iterator[StubModel]:
    """Run the server of the model `hanging`, which never responds."""
    with stub_model() as stub:
        stub.says(HANG)
        LanguageModel.objects.create(name="hanging", provider="openai", base_url=stub.url)
        yield stub
        LanguageModel.objects.filter(name="hanging").delete()


def wait_for(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def lost(ago: timedelta, **more: object) -> Execution:
    """Return a run whose time limit passed this long ago."""
    execution: Execution = ExecutionFactory.create(status="running", stop_reason="", **more)
    Execution.objects.filter(pk=execution.pk).update(finish_by=Now() - ago)
    return execution


def fail_lost_runs() -> str:
    out = StringIO()
    call_command("fail_lost_runs", stdout=out)
    return out.getvalue()


def test_a_run_after_its_time_limit_is_marked_as_lost(api: Api, tenant: Tenant) -> None:
    agent = AgentFactory.create(tenant=tenant)
    created_at = timezone.now() - timedelta(seconds=130)
    execution = lost(GRACE_PERIOD + timedelta(seconds=1), agent=agent, created_at=created_at)
    # A live server of another test may have marked it before.
    assert fail_lost_runs() in {"1 lost run failed.\n", "0 lost runs failed.\n"}
    found = api.get(f"history/{execution.pk}").json
    assert (found["status"], found["stop_reason"], found["error_code"]) == (
        "failed",
        "lost",
        "LOST",
    )
    assert 130_000 <= found["latency_ms"] < 140_000
    assert fail_lost_runs() == "0 lost runs failed.\n"


def test_a_run_within_the_grace_period_is_not_changed() -> None:
    within = lost(GRACE_PERIOD - timedelta(seconds=5))
    ended = ExecutionFactory.create(status="succeeded", finish_by=timezone.now() - GRACE_PERIOD * 9)
    fail_lost_runs()
    assert Execution.objects.get(pk=within.pk).status == "running"
    assert Execution.objects.get(pk=ended.pk).status == "succeeded"
    Execution.objects.filter(pk=within.pk).update(status="failed")


@pytest.mark.slow
def test_the_run_of_a_killed_server_is_marked_as_lost(
    api: Api, tenant: Tenant, stub: StubModel
) -> None:
    agent = AgentFactory.create(tenant=tenant)
    with killable(RUN_TIMEOUT_SECONDS="3") as (port, process), ThreadPoolExecutor(1) as pool:
        pool.submit(run_to_the_end, port, api.key, agent.pk)
        wait_for(lambda: bool(stub.requests))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)
    execution = Execution.objects.get(tenant=tenant)
    assert execution.status == "running"
    # A server that starts later and receives no request.
    with serving():
        wait_for(lambda: Execution.objects.get(pk=execution.pk).status != "running", 60)
    found = api.get(f"history/{execution.pk}").json
    assert (found["status"], found["error_code"]) == ("failed", "LOST")


@pytest.mark.slow
def test_the_run_of_another_server_is_not_changed(
    api: Api, tenant: Tenant, stub: StubModel
) -> None:
    def late(_: object) -> dict[str, object]:
        time.sleep(4)
        return completion("Done.")

    stub.says(late)
    agent = AgentFactory.create(tenant=tenant)
    with serving() as port, ThreadPoolExecutor(1) as pool:
        run = pool.submit(run_to_the_end, port, api.key, agent.pk)
        wait_for(lambda: bool(stub.requests))
        with serving():
            assert fail_lost_runs().startswith("0 ")
            assert run.result(30) == 200
    assert Execution.objects.get(tenant=tenant).status == "succeeded"


def run_to_the_end(port: int, key: str | None, agent_id: object) -> int:
    with suppress(OSError, HTTPException):
        return LiveApi(port, key).run(agent_id, model="hanging").status
    return 0


@contextmanager
def killable(**environment: str) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """Run a server in its own process group, and kill it at the end."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "map_project.server"],
        cwd=settings.BASE_DIR,
        env=os.environ
        | {"DATABASE_URL": database_url(), "REDIS_URL": settings.REDIS_URL}
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
