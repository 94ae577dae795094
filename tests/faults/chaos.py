"""Random faults under load, and what must hold afterwards."""

import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from ratelimit.limiter import LEASE_MS
from tests.api import LiveApi
from tests.faults.load import CALLS_PER_RUN, Client, Ledger, surroundings
from tests.faults.processes import Platform, Process, eventually, platform

CLIENTS = 12
LIMITED_RUNS = 5
# Longer than a lease.
SUSPENDED_SECONDS = 20.0
# Recovery after the last fault: three leases, and the runs themselves.
SETTLE_SECONDS = 180.0


@dataclass
class Report:
    """The numbers of one run of the program."""

    seed: int
    faults: Counter[str] = field(default_factory=Counter)
    responses: Counter[int] = field(default_factory=Counter)
    executions: Counter[str] = field(default_factory=Counter)
    effects: int = 0
    recovered: int = 0
    events: int = 0
    violations: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [
            f"seed                  {self.seed}",
            f"faults                {dict(self.faults)}",
            f"responses             {dict(self.responses)}",
            f"executions            {dict(self.executions)}",
            f"in several attempts   {self.recovered}",
            f"side effects          {self.effects}",
            f"webhook requests      {self.events}",
            f"violations            {len(self.violations)}",
        ]
        return "\n".join([*lines, *self.violations[:20]])


def run(moments: int, seed: int) -> Report:
    """Cause this number of faults at random moments under load, and examine the results."""
    report, ledger, stop = Report(seed), Ledger(), threading.Event()
    chance = random.Random(seed)
    with surroundings(ledger) as port, platform() as found:
        clients = prepare(found, port, ledger, stop)
        threads = [threading.Thread(target=client.run, daemon=True) for client in clients]
        for thread in threads:
            thread.start()
        faults = Faults(found, chance)
        for _ in range(moments):
            time.sleep(chance.uniform(0.1, 1.5))
            report.faults[faults.cause_one()] += 1
        faults.end()
        stop.set()
        found.wait_until_live()
        for thread in threads:
            thread.join(120)
        examine(found, ledger, report)
    return report


def prepare(found: Platform, port: int, ledger: Ledger, stop: threading.Event) -> list[Client]:
    """Create a model and two tenants, of which one has a limit of concurrent runs."""
    found.manage("create_model", "real", "--base-url", f"http://127.0.0.1:{port}/v1")
    ports = [server.port for server in found.servers]
    clients = []
    for name, options in (("free", []), ("limited", ["--max-concurrent-runs", str(LIMITED_RUNS)])):
        tenant_id = found.manage("create_tenant", name, "--rate-limit", "1000000", *options)
        api = LiveApi(ports[0], found.manage("create_api_key", tenant_id))
        http = {"method": "POST", "url": f"http://127.0.0.1:{port}/act", "timeout_seconds": 30}
        tool = api.post("tools", {"name": "act", "description": "d", "kind": "http", "http": http})
        agent = {"name": "a", "role": "r", "description": "d", "tool_ids": [tool.json["id"]]}
        agent_id = api.post("agents", agent).json["id"]
        hook = {"url": f"http://127.0.0.1:{port}/hook", "event_types": ["*"]}
        assert api.post("webhooks", hook).status == 201
        count = CLIENTS if name == "free" else LIMITED_RUNS
        clients += [Client(api.key or "", agent_id, ports, ledger, stop) for _ in range(count)]
    return clients


class Faults:
    """Causes faults. Each process is started again at once."""

    def __init__(self, found: Platform, chance: random.Random) -> None:
        self.found, self.chance = found, chance
        self.suspended: list[tuple[Process, threading.Timer]] = []

    def cause_one(self) -> str:
        """Cause a random fault, and return its name."""
        kinds: list[tuple[int, Callable[[], str]]] = [
            (30, lambda: self.restart(self.found.workers, signal.SIGKILL)),
            (20, lambda: self.restart(self.found.workers, signal.SIGTERM)),
            (20, lambda: self.restart(self.found.servers, signal.SIGKILL)),
            (15, lambda: self.restart(self.found.servers, signal.SIGTERM)),
            (5, self.suspend),
            (5, self.restart_postgres),
            (5, self.restart_redis),
        ]
        weights, causes = zip(*kinds, strict=True)
        return str(self.chance.choices(causes, weights)[0]())

    def restart(self, processes: list[Process], number: signal.Signals) -> str:
        kind = "server" if processes is self.found.servers else "worker"
        free = [
            each for each in processes if each not in [process for process, _ in self.suspended]
        ]
        if not free:
            return "none"
        process = self.chance.choice(free)
        process.stop(number)
        process.start()
        return f"{number.name} {kind}"

    def suspend(self) -> str:
        """Suspend a process for longer than a lease."""
        free = [
            each
            for each in (*self.found.workers, *self.found.servers)
            if each not in [process for process, _ in self.suspended]
        ]
        process = self.chance.choice(free)
        process.send(signal.SIGSTOP)
        timer = threading.Timer(SUSPENDED_SECONDS, process.send, [signal.SIGCONT])
        timer.start()
        self.suspended = [each for each in self.suspended if each[1].is_alive()]
        self.suspended.append((process, timer))
        return "SIGSTOP"

    def restart_postgres(self) -> str:
        number = self.chance.choice([signal.SIGINT, signal.SIGQUIT])
        self.found.postgres.stop(number)
        time.sleep(self.chance.uniform(0, 3))
        self.found.postgres.start()
        return "PostgreSQL"

    def restart_redis(self) -> str:
        self.found.redis.kill()
        time.sleep(self.chance.uniform(0, 3))
        self.found.redis.start()
        return "Redis"

    def end(self) -> None:
        """Wait until no process is suspended."""
        for _, timer in self.suspended:
            timer.join()


def rows(found: Platform, query: str) -> list[Any]:
    with found.postgres.session() as session:
        return session.execute(query.encode()).fetchall()


def examine(found: Platform, ledger: Ledger, report: Report) -> None:
    """Wait until all is settled, and add the numbers and the violations to the report."""
    report.violations += settle(found)
    executions = {
        str(pk): (prompt, status, stop_reason, attempt, response)
        for pk, prompt, status, stop_reason, attempt, response in rows(
            found,
            "SELECT id, prompt, status, stop_reason, attempt, response FROM executions_execution",
        )
    }
    for prompt, status, stop_reason, attempt, response in executions.values():
        report.executions[f"{status} {stop_reason}"] += 1
        report.recovered += attempt > 1
        report.violations += wrong_effects(ledger, prompt, status, response)
    report.violations += [
        f"{prompt}: {count} executions"
        for prompt, count in Counter(prompt for prompt, *_ in executions.values()).items()
        if count > 1
    ]
    report.violations += wrong_answers(ledger, executions)
    report.violations += [
        f"{execution_id}: no webhook for {status}"
        for execution_id, (_, status, *_rest) in executions.items()
        if not ledger.events[execution_id, f"execution.{status}"]
    ]
    report.violations += used_slots(found)
    report.responses = ledger.statuses
    report.effects = ledger.effects.total()
    report.events = ledger.events.total()


def settle(found: Platform) -> list[str]:
    """Wait until all runs have ended and all webhooks are delivered. Return what is not."""
    unfinished = (
        "SELECT id, status, attempt, background, awaits_slot, lease_owner, lease_expires_at, now() "
        "FROM executions_execution WHERE status IN ('queued', 'running')"
    )
    eventually(lambda: not rows(found, unfinished), SETTLE_SECONDS)
    violations = [f"not finished: {row}" for row in rows(found, unfinished)]
    # Without the minutes between the attempts.
    with found.postgres.session() as session:
        session.execute(
            b"UPDATE webhooks_webhookdelivery SET next_attempt_at = now() WHERE status = 'pending'"
        )
    pending = "SELECT id FROM webhooks_webhookdelivery WHERE status = 'pending'"
    eventually(lambda: not rows(found, pending), SETTLE_SECONDS)
    return violations + [f"not delivered: {row}" for row in rows(found, pending)]


def wrong_effects(ledger: Ledger, prompt: str, status: str, response: str) -> list[str]:
    """Return a violation if a side effect of a run happened twice, or a successful run has none."""
    effects = [ledger.effects[f"{prompt} {number}"] for number in range(CALLS_PER_RUN)]
    is_complete = sum(effects) == CALLS_PER_RUN and response == "Done."
    is_wrong = max(effects) > 1 or (status == "succeeded" and not is_complete)
    return [f"{prompt}: {status} with the effects {effects}"] if is_wrong else []


def wrong_answers(ledger: Ledger, executions: dict[str, Any]) -> Iterator[str]:
    """Find answers that are not on record, or with another status."""
    for key, answers in ledger.answers.items():
        for execution_id, status in answers:
            recorded = executions.get(execution_id)
            if recorded is None or status not in {recorded[1], "queued", "running"}:
                yield f"{key}: answered {status}, recorded {recorded}"


def used_slots(found: Platform) -> list[str]:
    """Return a violation if a slot is still in use after a lease."""
    client = found.redis.client
    time.sleep(LEASE_MS / 1000 + 1)
    now_ms = time.time() * 1000
    live = sum(client.zcount(key, now_ms, "+inf") for key in client.keys("slots:*"))
    return [f"{live} slots are in use"] if live else []
