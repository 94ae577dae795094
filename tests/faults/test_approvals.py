"""Runs that wait for approvals, on a whole platform whose processes are killed."""

import random
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPException
from json import JSONDecodeError
from typing import Any

import pytest

from tests.api import LiveApi
from tests.faults.chaos import rows
from tests.faults.load import CALLS_PER_RUN, Ledger, surroundings
from tests.faults.processes import Platform, eventually, platform

pytestmark = pytest.mark.slow

WAITING = "SELECT count(*) FROM executions_execution WHERE status = 'requires_action'"
UNFINISHED = (
    "SELECT count(*) FROM executions_execution "
    "WHERE status IN ('queued', 'running', 'requires_action')"
)


@pytest.fixture(scope="module")
def ledger() -> Ledger:
    return Ledger()


@pytest.fixture(scope="module")
def found(ledger: Ledger) -> Iterator[tuple[Platform, LiveApi, str]]:
    """A platform, a client, and an agent that calls a tool three times, each time after an approval."""
    with surroundings(ledger) as port, platform() as running:
        running.manage("create_model", "real", "--base-url", f"http://127.0.0.1:{port}/v1")
        tenant_id = running.manage("create_tenant", "t", "--rate-limit", "1000000")
        api = LiveApi(running.servers[0].port, running.manage("create_api_key", tenant_id))
        http = {"method": "POST", "url": f"http://127.0.0.1:{port}/act", "timeout_seconds": 30}
        tool = {"name": "act", "description": "d", "kind": "http", "http": http}
        tool_id = api.post("tools", {**tool, "approval": "always"}).json["id"]
        agent = {"name": "a", "role": "r", "description": "d", "tool_ids": [tool_id]}
        yield running, api, api.post("agents", agent).json["id"]


def start(api: LiveApi, agent_id: str, prompt: str, *, background: bool) -> str:
    body = {"prompt": prompt, "model": "real", "background": background}
    execution_id: str = api.post(f"agents/{agent_id}/run", body).json["execution_id"]
    return execution_id


def approve_all(api: LiveApi) -> None:
    """Approve what waits. A request that fails is sent again later."""
    with suppress(OSError, HTTPException, JSONDecodeError, KeyError):
        for approval in api.get("approvals?status=pending&limit=100").json["items"]:
            api.post(f"approvals/{approval['id']}", {"approve": True})


def ended(running: Platform, api: LiveApi) -> bool:
    approve_all(api)
    return bool(rows(running, UNFINISHED)[0][0] == 0)


def check(api: LiveApi, ledger: Ledger, prompt: str, execution_id: str) -> Any:
    """Check that no call was made twice, and that a run that succeeded made all. Return the execution."""
    execution = api.get(f"history/{execution_id}").json
    effects = [ledger.effects[f"{prompt} {number}"] for number in range(CALLS_PER_RUN)]
    assert max(effects) <= 1, execution
    assert execution["status"] == "failed" or effects == [1] * CALLS_PER_RUN
    return execution


def test_everything_restarts_between_the_request_and_the_decision(
    found: tuple[Platform, LiveApi, str], ledger: Ledger
) -> None:
    running, api, agent_id = found
    ids = {
        f"restart {number}": start(api, agent_id, f"restart {number}", background=number > 1)
        for number in range(4)
    }
    assert eventually(lambda: rows(running, WAITING)[0][0] == len(ids), 60)
    for process in (*running.servers, *running.workers):
        process.stop(signal.SIGKILL)
    running.redis.kill()
    running.postgres.stop(signal.SIGQUIT)
    running.postgres.start()
    running.redis.start()
    for process in (*running.servers, *running.workers):
        process.start()
    running.wait_until_live()
    assert rows(running, WAITING)[0][0] == len(ids)
    assert eventually(lambda: ended(running, api), 120)
    for prompt, execution_id in ids.items():
        execution = check(api, ledger, prompt, execution_id)
        assert (execution["status"], execution["response"]) == ("succeeded", "Done.")


def test_workers_are_killed_around_approved_calls(
    found: tuple[Platform, LiveApi, str], ledger: Ledger
) -> None:
    """A call that may have been made is not repeated: its run fails."""
    running, api, agent_id = found
    ids = {
        f"killed {number}": start(api, agent_id, f"killed {number}", background=True)
        for number in range(20)
    }
    for _ in range(8):
        for _ in range(10):
            approve_all(api)
            time.sleep(0.2)
        worker = random.choice(running.workers)
        worker.stop(signal.SIGKILL)
        worker.start()
    assert eventually(lambda: ended(running, api), 180)
    statuses = {check(api, ledger, *pair)["status"] for pair in ids.items()}
    assert statuses <= {"succeeded", "failed"}
    # No call is requested twice.
    query = "SELECT count(*), count(DISTINCT (execution_id, arguments)) FROM executions_approval"
    ((count, distinct),) = rows(running, query)
    assert count == distinct
