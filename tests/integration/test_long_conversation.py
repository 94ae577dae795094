"""A conversation of 200 turns, of which some are cancelled or lose their process at a random moment."""

import http.client
import os
import random
import signal
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import Any

import pytest

from agents.models import LanguageModel
from executions.models import Conversation, Execution
from map_project.tenants.models import Tenant
from tests.api import Answer, LiveApi
from tests.conftest import api_of
from tests.conversations import assert_well_formed
from tests.effects_server import EffectsServer, effects_server
from tests.factories import AgentFactory, TenantFactory, ToolFactory
from tests.live import arbiter, serving, start_worker
from tests.own_postgres import children
from tests.stub_model import StubModel, StubResponse, completion, error

TURNS = 200
MAX_CHARACTERS = 2_000
# How many of the turns are of each kind. All others are foreground runs.
KINDS = {"cancel": 25, "kill": 6, "background": 12, "background cancel": 5, "background kill": 2}
ENVIRONMENT = {"TOOL_ALLOWED_NETWORKS": "127.0.0.0/8", "WEB_CONCURRENCY": "1"}
TOOLS = {"look": "GET", "act": "POST"}


class Talk:
    """The conversation, and the processes that run it."""

    def __init__(self, tenant: Tenant, chance: random.Random, stack: ExitStack) -> None:
        self.tenant, self.chance = tenant, chance
        self.key = api_of(tenant).key
        self.ports = [stack.enter_context(serving(**ENVIRONMENT)) for _ in range(2)]
        self.worker = start_worker(**ENVIRONMENT)
        stack.callback(self.stop_worker)
        self.conversation = Conversation.objects.create(tenant=tenant)
        self.statuses: Counter[str] = Counter()

    def stop_worker(self, number: signal.Signals = signal.SIGTERM) -> None:
        self.worker.send_signal(number)
        self.worker.wait(60)

    def take_turn(self, agent_id: object, kind: str, prompt: str) -> None:
        """Run the agent, and disturb the run at a random moment. It has ended afterwards."""
        port, before = self.chance.choice(self.ports), self.latest()
        body = {
            "prompt": prompt,
            "model": "long",
            "conversation_id": str(self.conversation.pk),
            "background": kind.startswith("background"),
        }
        answers: list[Answer] = []

        def send() -> None:
            # The server may be killed.
            with suppress(OSError, http.client.HTTPException):
                answers.append(LiveApi(port, self.key).post(f"agents/{agent_id}/run", body))

        thread = threading.Thread(target=send)
        thread.start()
        if kind.endswith(("cancel", "kill")):
            self.disturb(kind, port, before)
        thread.join()
        self.finish(before, kind)
        assert answers or kind == "kill"
        # A failed run is 502: the model has failed. None is refused.
        assert {answer.status for answer in answers} <= {200, 202, 502}, answers

    def disturb(self, kind: str, port: int, before: Any) -> None:
        until(lambda: self.latest() != before)
        time.sleep(self.chance.uniform(0, 0.3))
        if kind == "kill":
            (server,) = children(arbiter(port))
            os.kill(server, signal.SIGKILL)
        if kind == "background kill":
            self.stop_worker(signal.SIGKILL)
            self.worker = start_worker(**ENVIRONMENT)

    def finish(self, before: Any, kind: str) -> None:
        """Wait for the end of the run. A disturbed one is cancelled, except some that are recovered."""
        execution = Execution.objects.get(pk=self.latest())
        assert execution.pk != before
        if kind.endswith("cancel") or (kind.endswith("kill") and self.statuses["recovered"]):
            api = LiveApi(self.chance.choice(self.ports), self.key)
            found = api.post(f"history/{execution.pk}/cancel").json
            assert found["status"] not in Execution.UNFINISHED
        elif kind.endswith("kill"):
            self.statuses["recovered"] += execution.status in Execution.UNFINISHED
        until(lambda: not unfinished(execution.pk), 90)
        execution.refresh_from_db()
        self.statuses[execution.status] += 1

    def latest(self) -> Any:
        self.conversation.refresh_from_db()
        return self.conversation.latest_execution_id


def unfinished(pk: uuid.UUID) -> bool:
    return Execution.objects.filter(pk=pk, status__in=Execution.UNFINISHED).exists()


def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture(scope="module")
def effects() -> Iterator[EffectsServer]:
    with effects_server() as server:
        yield server


@pytest.fixture
def model(model_server: StubModel) -> Iterator[StubModel]:
    row = LanguageModel.objects.create(
        name="long", provider="openai", base_url=model_server.url, max_retries=0
    )
    yield model_server
    row.delete()


class Model:
    """A model that answers, calls one to three tools, or fails, at random. A slow one calls a tool first."""

    def __init__(self) -> None:
        self.chance = random.Random(1)
        self.pause_seconds = 0.0

    def __call__(self, body: dict[str, Any]) -> StubResponse:
        chance, called = self.chance, sum(1 for _ in results(body["messages"]))
        weights = [6, 0 if called > 3 else 6, 1]
        kind = chance.choices(["answer", "call", "error"], weights)[0]
        if self.pause_seconds and not called:
            kind = "call"
        if kind == "error":
            return error(500)
        calls = [(chance.choice([*TOOLS, "none"]), '{"q": 1}') for _ in range(chance.randint(1, 3))]
        text = chance.choice(["", "I look."])
        response = completion(text, calls=calls) if kind == "call" else completion("Answer.")
        return StubResponse(body=response, pause_seconds=self.pause_seconds)


def results(messages: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the results of the calls since the last prompt."""
    for message in reversed(messages):
        if message["role"] == "user":
            return
        if message["role"] == "tool":
            yield message


@pytest.mark.slow
def test_a_conversation_goes_on_after_every_kill_and_cancel(
    model: StubModel, effects: EffectsServer
) -> None:
    chance = random.Random(20261127)
    tenant = TenantFactory.create(rate_limit_requests=1_000_000)
    agent = AgentFactory.create(tenant=tenant, max_context_characters=MAX_CHARACTERS)
    for name, method in TOOLS.items():
        config = effects.config(method)
        agent.tools.add(ToolFactory.create(tenant=tenant, name=name, kind="http", config=config))
    answers = Model()
    model.says(answers)
    kinds = [kind for kind, count in KINDS.items() for _ in range(count)]
    kinds += ["foreground"] * (TURNS - len(kinds))
    chance.shuffle(kinds)
    with ExitStack() as stack:
        talk = Talk(tenant, chance, stack)
        for number, kind in enumerate(kinds):
            # A disturbed run takes longer.
            is_disturbed = kind.endswith(("cancel", "kill"))
            answers.pause_seconds = effects.delay_seconds = 0.1 if is_disturbed else 0.0
            talk.take_turn(agent.pk, kind, f"prompt {number}")
    assert {*talk.statuses} >= {"succeeded", "failed", "cancelled", "recovered"}, talk.statuses
    assert talk.statuses["cancelled"] > 10
    rows = [*Execution.objects.filter(conversation_id=talk.conversation.pk).order_by("created_at")]
    assert [row.prompt for row in rows] == [f"prompt {number}" for number in range(TURNS)]
    assert [row.previous_execution_id for row in rows] == [None, *(row.pk for row in rows[:-1])]
    assert [row.earlier_exchanges for row in rows] == [*range(TURNS)]
    assert rows[-1].dropped_exchanges > 100
    seen = Counter(check_request(request.body["messages"], rows) for request in model.requests)
    # A run that was killed or cancelled early has made no request.
    assert len(seen) > TURNS - sum(KINDS.values())


def check_request(messages: list[dict[str, Any]], rows: list[Execution]) -> int:
    """Check the messages of a request, and return the number of its turn."""
    assert_well_formed(messages)
    prompts = [message["content"] for message in messages if message["role"] == "user"]
    number = int(prompts[-1].split()[1])
    first = rows[number].dropped_exchanges
    assert prompts == [row.prompt for row in rows[first : number + 1]]
    return number
