"""Known bugs of other systems, on a whole platform whose processes are killed."""

import json
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.api import LiveApi
from tests.faults.chaos import rows
from tests.faults.load import Ledger, surroundings
from tests.faults.processes import Platform, eventually, platform

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def ledger() -> Ledger:
    return Ledger()


@pytest.fixture(scope="module")
def found(ledger: Ledger) -> Iterator[tuple[Platform, LiveApi, str]]:
    """A platform with one tenant, its client, and an agent that calls a tool three times."""
    with surroundings(ledger) as port, platform() as running:
        running.manage("create_model", "real", "--base-url", f"http://127.0.0.1:{port}/v1")
        tenant_id = running.manage("create_tenant", "t", "--max-concurrent-runs", "200")
        key = running.manage("create_api_key", tenant_id)
        running.manage("update_tenant", tenant_id, "--rate-limit", "1000000")
        api = LiveApi(running.servers[0].port, key)
        http = {"method": "POST", "url": f"http://127.0.0.1:{port}/act", "timeout_seconds": 30}
        tool = api.post("tools", {"name": "act", "description": "d", "kind": "http", "http": http})
        agent = {"name": "a", "role": "r", "description": "d", "tool_ids": [tool.json["id"]]}
        agent_id = api.post("agents", agent).json["id"]
        hook = {"url": f"http://127.0.0.1:{port}/hook", "event_types": ["*"]}
        assert api.post("webhooks", hook).status == 201
        yield running, api, agent_id


def start(api: LiveApi, agent_id: str, prompt: str) -> str:
    body = {"prompt": prompt, "model": "real", "background": True}
    execution_id: str = api.post(f"agents/{agent_id}/run", body).json["execution_id"]
    return execution_id


def read(api: LiveApi, execution_id: str) -> Any:
    return json.loads(api.get(f"history/{execution_id}").content)


def test_a_run_of_a_killed_worker_is_cancelled_at_once(
    found: tuple[Platform, LiveApi, str], ledger: Ledger
) -> None:
    """aegra/aegra#475."""
    running, api, agent_id = found
    execution_id = start(api, agent_id, "cancelled")
    assert eventually(lambda: read(api, execution_id)["status"] == "running", 20)
    for worker in running.workers:
        worker.stop(signal.SIGKILL)
    # With Redis down as well: a cancellation needs only the database (aegra/aegra#528).
    running.redis.kill()
    started = time.monotonic()
    answer = api.post(f"history/{execution_id}/cancel")
    assert time.monotonic() - started < 2
    assert (answer.status, answer.json["status"]) == (200, "cancelled")
    assert read(api, execution_id)["finished_at"]
    running.redis.start()
    for worker in running.workers:
        worker.start()
    running.wait_until_live()
    assert eventually(lambda: ledger.events[execution_id, "execution.cancelled"] >= 1, 90)
    assert read(api, execution_id)["status"] == "cancelled"
    client = running.redis.client
    assert eventually(
        lambda: (
            not any(
                client.zcount(key, time.time() * 1000, "+inf") for key in client.keys("slots:*")
            )
        ),
        30,
    )


def test_postgresql_restarts_while_a_hundred_runs_are_recovered(
    found: tuple[Platform, LiveApi, str], ledger: Ledger
) -> None:
    """dbos-inc/dbos-transact-py#716: none stays behind."""
    running, api, agent_id = found
    ids = [start(api, agent_id, f"recovered {number}") for number in range(100)]
    query = "SELECT count(*) FROM executions_execution WHERE status = 'running'"
    assert eventually(lambda: rows(running, query)[0][0] >= 20, 30)
    for worker in running.workers:
        worker.stop(signal.SIGKILL)
        worker.start()

    def restart() -> None:
        # When the leases of the killed workers expire.
        for _ in range(3):
            time.sleep(6)
            running.postgres.stop(signal.SIGQUIT)
            running.postgres.start()

    thread = threading.Thread(target=restart)
    thread.start()
    thread.join()
    unfinished = "SELECT count(*) FROM executions_execution WHERE status IN ('queued', 'running')"
    assert eventually(lambda: rows(running, unfinished)[0][0] == 0, 120)
    for number, execution_id in enumerate(ids):
        execution = read(api, execution_id)
        assert execution["status"] in {"succeeded", "failed"}
        effects = [ledger.effects[f"recovered {number} {call}"] for call in range(3)]
        assert max(effects) <= 1
        assert execution["status"] == "failed" or effects == [1, 1, 1]
