"""A budget for ten runs, and 100 at once on two servers and two workers, which are killed in between."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from http.client import HTTPException

import pytest

from tests.api import Answer, LiveApi
from tests.at_once import at_once
from tests.faults.chaos import rows
from tests.faults.processes import Platform, eventually, platform
from tests.stub_model import StubModel, StubResponse, completion, stub_model

pytestmark = pytest.mark.slow

USAGE = {"prompt_tokens": 1_000, "completion_tokens": 500, "total_tokens": 1_500}
COST = Decimal("0.02")
BUDGET = 10 * COST
UNFINISHED = (
    "SELECT count(*) FROM executions_execution "
    "WHERE status IN ('queued', 'running', 'requires_action')"
)


@dataclass
class Surroundings:
    """A platform, a model whose calls all cost the same, and a new tenant with a budget."""

    platform: Platform
    model: StubModel
    key: str
    agent_id: str

    def run(self, number: int, *, background: bool = False) -> Answer | None:
        """Run the agent at one of the servers. Return None if it was killed."""
        api = LiveApi(self.platform.servers[number % 2].port, self.key)
        body = {"prompt": "Hello", "model": "real", "background": background}
        with suppress(OSError, HTTPException):
            return api.post(f"agents/{self.agent_id}/run", body)
        return None

    def run_at_once(self, count: int) -> list[Answer]:
        """Run the agent many times at once. Return the responses."""
        calls = [lambda number=number: self.run(number) for number in range(count)]
        return [answer for answer in at_once(calls) if answer is not None]

    def has_ended(self) -> bool:
        return bool(rows(self.platform, UNFINISHED)[0][0] == 0)

    def spent(self) -> Decimal:
        """Recount what the executions cost."""
        return Decimal(self._value("COALESCE(sum(cost_usd), 0)", "true"))

    def count(self, condition: str) -> int:
        """Count executions."""
        return int(self._value("count(*)", condition))

    def _value(self, expression: str, condition: str) -> str:
        query = (
            f"SELECT {expression} FROM executions_execution "
            f"WHERE agent_id = '{self.agent_id}' AND ({condition})"
        )
        return str(rows(self.platform, query)[0][0])


def answer(pause_seconds: float = 0.5) -> StubResponse:
    """A response of the model."""
    return StubResponse(body=completion("Done.", usage=USAGE), pause_seconds=pause_seconds)


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[Platform, StubModel]]:
    with stub_model() as model, platform() as found:
        found.manage(
            *("create_model", "real", "--base-url", model.url, "--max-output-tokens", "500"),
            *("--input-price", "10", "--output-price", "20", "--max-retries", "0"),
        )
        yield found, model


@pytest.fixture
def found(running: tuple[Platform, StubModel], request: pytest.FixtureRequest) -> Surroundings:
    started, model = running
    model.says(answer())
    options = ("--rate-limit", "1000000", "--budget-usd-day", str(BUDGET))
    tenant_id = started.manage("create_tenant", request.node.name, *options)
    key = started.manage("create_api_key", tenant_id)
    agent = {"name": "a", "role": "r", "description": "d"}
    api = LiveApi(started.servers[0].port, key)
    return Surroundings(started, model, key, api.post("agents", agent).json["id"])


def refusals(answers: list[Answer]) -> list[Answer]:
    """Check that the others are runs, and that none was refused while money was left."""
    refused = [answer for answer in answers if answer.status != 200]
    for answer in refused:
        assert (answer.status, answer.error_code) == (429, "BUDGET_EXCEEDED"), answer.content
        assert Decimal(answer.details["spent_usd"]) >= BUDGET
        assert answer.headers["x-should-retry"] == "false"
    return refused


def test_exactly_the_runs_that_the_budget_pays_for_are_made(found: Surroundings) -> None:
    answers = found.run_at_once(100)
    assert (len(answers), len(refusals(answers))) == (100, 90)
    assert len(found.model.requests) == 10
    assert found.spent() == BUDGET


def test_processes_are_killed_in_between(found: Surroundings) -> None:
    found.model.says(answer(pause_seconds=2))

    def kill() -> Answer | None:
        # Seven calls are in progress, of all processes.
        for process in (found.platform.servers[1], found.platform.workers[0]):
            time.sleep(1)
            process.stop(signal.SIGKILL)
            process.start()
        return None

    def run(number: int) -> Answer | None:
        if number % 2 == 0:
            # So that calls are in progress in the server that is killed.
            time.sleep(0.5)
        return found.run(number, background=number % 10 < 4)

    calls: list[Callable[[], Answer | None]] = [partial(run, number) for number in range(100)]
    at_once([kill, *calls])
    found.platform.wait_until_live()
    assert eventually(found.has_ended, 120)
    spent, killed = found.spent(), found.count("stop_reason = 'worker_lost' OR attempt > 1")
    assert killed > 0
    assert spent < BUDGET + COST
    # What the killed runs had reserved can be spent.
    found.model.says(answer())
    left = found.run_at_once(20)
    assert len(left) == 20
    assert len(left) - len(refusals(left)) == max(-(-(BUDGET - spent) // COST), 0)
    assert BUDGET <= found.spent() < BUDGET + COST
    assert found.count("status = 'running'") == 0
