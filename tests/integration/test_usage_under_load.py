"""The totals of ended runs while processes are killed: they equal a recount of the executions."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter as Counts
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from http.client import HTTPException
from typing import Any

import pytest
from django.conf import settings
from django.db import connection
from django.db.models.functions import Now
from procrastinate.contrib.django.models import ProcrastinateJob

from agents.models import Agent, LanguageModel
from executions.approvals.services import end_expired
from executions.models import Approval, Execution
from map_project.tenants.models import Tenant
from map_project.usage.models import HourlyUsage
from tests.api import LiveApi
from tests.conftest import api_of
from tests.effects_server import effects_server
from tests.factories import AgentFactory, TenantFactory, ToolFactory
from tests.live import arbiter, database_url, serving, working
from tests.own_postgres import children
from tests.stub_model import Answer, StubModel, completion, error, streamed
from tests.usage import difference, fold_all

pytestmark = pytest.mark.slow

MODEL = "counted"
TOOLS = {"TOOL_ALLOWED_NETWORKS": "127.0.0.1/32"}
# Route and body of each kind of run.
KINDS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("run", {}),
    ("run", {"stream": True}),
    ("run", {"background": True}),
    ("run", {"background": True, "stream": True}),
    ("responses", {}),
    ("responses", {"stream": True}),
    ("responses", {"background": True}),
    ("chat/completions", {}),
    ("chat/completions", {"stream": True}),
)


_FOLD_REPEATEDLY = """
import django; django.setup()
from map_project.usage.folding import fold_usage
while True: fold_usage()
"""

# Ends runs in transactions of several, of which some are rolled back.
_END_REPEATEDLY = """
import random, sys, uuid
import django; django.setup()
from django.db import transaction
from django.db.models.functions import Now
from executions.models import Execution
tenant_id, agents = sys.argv[1], [uuid.uuid4() for _ in range(3)]
while True:
    with transaction.atomic():
        runs = Execution.objects.bulk_create([
            Execution(
                tenant_id=tenant_id, agent_id=random.choice(agents), agent_name="a", prompt="p",
                model=random.choice("xyz"), response="r", latency_ms=random.randint(0, 9_999),
                status=random.choice(["succeeded", "running"]), input_tokens=random.randint(0, 999),
                output_tokens=random.randint(0, 999), cost_usd=f"0.00000{random.randint(0, 9999)}",
                request_id="r",
            )
            for _ in range(random.randint(1, 20))
        ])
        if random.random() < 0.1:
            transaction.set_rollback(True)
    for run in runs:
        rows = Execution.objects.filter(pk=run.pk, status="running")
        rows.update(status=random.choice(["failed", "cancelled"]), finished_at=Now())
"""


def start(code: str, *arguments: str) -> subprocess.Popen[bytes]:
    """Start a process that runs this code on the test database."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        cwd=settings.BASE_DIR,
        env={
            **os.environ,
            "DATABASE_URL": database_url(),
            "REDIS_URL": settings.REDIS_URL,
            "DJANGO_SETTINGS_MODULE": "map_project.settings",
        },
    )


@pytest.fixture
def model(model_server: StubModel) -> Iterator[LanguageModel]:
    """A model that fails at times, and requests a call first if the agent has a tool."""
    chance = random.Random(1)

    def respond(body: dict[str, Any]) -> Answer:
        tokens = {
            "prompt_tokens": chance.randint(1, 999),
            "completion_tokens": chance.randint(1, 99),
        }
        usage = tokens | {"total_tokens": sum(tokens.values())}
        time.sleep(chance.choice((0, 0, 0.1, 1.0)))
        if chance.random() < 0.1:
            return error(400)
        is_first = all(message["role"] != "tool" for message in body["messages"])
        calls = [
            (chance.choice((tool["function"]["name"], "nothing")), "{}")
            for tool in body.get("tools", ())
            if is_first
        ]
        answer = completion("" if calls else "Done.", calls=calls, usage=usage)
        return streamed(answer) if body.get("stream") else answer

    model_server.says(respond)
    row = LanguageModel.objects.create(
        name=MODEL,
        provider="openai",
        base_url=model_server.url,
        max_retries=0,
        input_price_per_million="0.123456",
        output_price_per_million="7.7",
    )
    yield row
    row.delete()


def agents_of(tenant: Tenant, config: dict[str, Any]) -> list[Agent]:
    """Create an agent without a tool, one with a tool, and one with a tool whose calls need approval."""
    agents: list[Agent] = AgentFactory.create_batch(3, tenant=tenant, model=MODEL)
    for agent, approval in zip(agents[1:], ("never", "always"), strict=True):
        agent.tools.add(
            ToolFactory.create(
                tenant=tenant, name=f"act {approval}", kind="http", config=config, approval=approval
            )
        )
    return agents


def run_once(api: LiveApi, agent: Agent, route: str, body: dict[str, Any]) -> int:
    """Make a run, and cancel some of those in the background. Return the status of the response."""
    if route == "run":
        response = api.post(f"agents/{agent.pk}/run", {"prompt": "x", **body})
    else:
        texts = {"input": "x", "messages": [{"role": "user", "content": "x"}]}
        text = "messages" if route.startswith("chat") else "input"
        named = {"model": f"agent:{agent.pk}", text: texts[text], **body}
        response = api.post(f"/v1/{route}", named)
    if response.status == 202 and random.random() < 0.5:
        api.post(f"history/{response.json['execution_id']}/cancel")
    return response.status


def run_repeatedly(
    api: LiveApi, agents: list[Agent], made: "Counts[Any]", stop: threading.Event
) -> None:
    """Make runs of all kinds. Some requests fail, because their server process is killed."""
    chance = random.Random(api.port)
    connection.close()
    while not stop.is_set():
        for number, (route, body) in enumerate(KINDS):
            with suppress(OSError, HTTPException):
                if run_once(api, chance.choice(agents), route, body) in (200, 202):
                    made[number] += 1


def decide_repeatedly(tenant: Tenant, api: LiveApi, stop: threading.Event) -> None:
    """Approve, decline and let expire some of the calls that wait. Others go on waiting."""
    while not stop.is_set():
        for approval in Approval.objects.filter(tenant=tenant, status="pending")[:20]:
            choice = random.choice(("approve", "decline", "expire", "wait"))
            if choice == "expire":
                past = Now() - timedelta(seconds=1)
                Approval.objects.filter(pk=approval.pk).update(expires_at=past)
                end_expired()
            elif choice != "wait":
                with suppress(OSError, HTTPException):
                    api.post(f"approvals/{approval.pk}", {"approve": choice == "approve"})
        time.sleep(0.1)
    connection.close()


def test_the_usage_is_exact_at_any_time_under_load_and_kills(model: LanguageModel) -> None:
    """Server processes, and processes that fold, are killed all the time."""
    quotas = {"rate_limit_requests": 1_000_000, "max_queued_runs": 1_000_000}
    tenants: list[Tenant] = TenantFactory.create_batch(2, **quotas)
    stop, chance, made = threading.Event(), random.Random(2), Counts[Any]()
    with (
        effects_server() as effects,
        serving(**TOOLS) as first,
        serving(**TOOLS) as second,
        working(**TOOLS),
    ):
        threads = []
        for tenant in tenants:
            agents = agents_of(tenant, effects.config())
            clients = [LiveApi(port, api_of(tenant).key) for port in (first, second)]
            threads += [
                threading.Thread(target=run_repeatedly, args=(client, agents, made, stop))
                for client in clients
            ]
            threads.append(
                threading.Thread(target=decide_repeatedly, args=(tenant, clients[0], stop))
            )
        for thread in threads:
            thread.start()
        for number in range(10):
            folding = start(_FOLD_REPEATEDLY)
            time.sleep(chance.uniform(1.5, 2.5))
            assert not difference(*tenants)
            folding.kill()
            folding.wait(30)
            if number % 3 == 2:
                port = chance.choice((first, second))
                os.kill(chance.choice(children(arbiter(port))), signal.SIGKILL)
        stop.set()
        for thread in threads:
            thread.join(60)
        assert not difference(*tenants)
    for tenant in tenants:
        fold_all(tenant)
        assert not difference(tenant)
    check_coverage(tenants, made)
    cancel_rest(tenants)


def cancel_rest(tenants: list[Tenant]) -> None:
    """End the runs that have not ended: the workers of later tests would make some hundred of them first."""
    rest = Execution.objects.filter(tenant__in=tenants, status__in=Execution.UNFINISHED)
    jobs = ProcrastinateJob.objects.filter(status="todo")
    jobs.filter(queueing_lock__in=[str(pk) for pk in rest.values_list("pk", flat=True)]).delete()
    rest.update(status="cancelled", finished_at=Now())


def check_coverage(tenants: list[Tenant], made: "Counts[Any]") -> None:
    """Check that there were runs of all kinds, with all ends, and calls with all decisions."""
    assert set(made) == set(range(len(KINDS))), made
    runs = Execution.objects.filter(tenant__in=tenants)
    statuses = Counts(runs.values_list("status", flat=True))
    assert {"succeeded", "failed", "cancelled", "incomplete"} <= set(statuses), statuses
    approvals = Approval.objects.filter(tenant__in=tenants)
    decisions = Counts(approvals.values_list("status", flat=True))
    assert {"approved", "declined", "expired"} <= set(decisions), decisions
    usage = HourlyUsage.objects.filter(tenant__in=tenants)
    assert sum(usage.values_list("tool_calls", flat=True)) > 0


def test_the_usage_equals_a_recount_after_ten_thousand_runs_and_kills(tenant: Tenant) -> None:
    """Processes that end runs, and processes that fold, are killed at random moments."""
    chance, checks = random.Random(3), 0
    codes = [(_END_REPEATEDLY, str(tenant.pk))] * 2 + [(_FOLD_REPEATEDLY,)]
    processes = [start(*code) for code in codes]
    deadline = time.monotonic() + 900
    while Execution.objects.filter(tenant=tenant).count() < 10_000:
        assert time.monotonic() < deadline
        time.sleep(chance.uniform(3, 6))
        assert not difference(tenant)
        checks += 1
        number = chance.randrange(len(codes))
        processes[number].kill()
        processes[number].wait(30)
        processes[number] = start(*codes[number])
    for process in processes:
        process.kill()
        process.wait(30)
    fold_all(tenant)
    assert not difference(tenant)
    assert checks > 1
    assert HourlyUsage.objects.filter(tenant=tenant).exists()
