"""`python -m benchmarks.jobs`: background runs on one worker.

- Runs of the mock per second, from the start of the first to the end of the last one, beside empty tasks of
  procrastinate with the same concurrency on the same PostgreSQL, in turn.
- The time in the queue while runs arrive at half of that rate.
- A thousand runs that wait 10 s for their model: memory and database connections of the worker.

Exits with 0 if every bar holds, 1 if one fails, 2 if it cannot run.
"""

import os
import signal
import subprocess
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import psycopg

from benchmarks import databases
from benchmarks.alone import alone
from benchmarks.errors import BenchError
from benchmarks.inflight import provider
from benchmarks.processes import memory
from benchmarks.report import table, verdict
from map_project.embedded import location
from map_project.embedded.errors import EmbeddedServersError
from map_project.embedded.servers import running
from map_project.environment import ignore_libpq_variables

_CHECKOUT = Path(__file__).parent.parent
_DATABASE = "bench_jobs"
_WAITING_RUNS, _WAIT_SECONDS = 1_000, 10.0
_ARRIVAL_SECONDS = 15.0
RATIO_AT_LEAST = 0.5


def main() -> int:
    """Run the benchmark and print the table."""
    parser = ArgumentParser("python -m benchmarks.jobs", description="Background runs.")
    parser.add_argument("--runs", type=int, default=2_000, help="per round (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="(%(default)s)")
    options = parser.parse_args()
    try:
        if sys.platform != "linux":
            raise BenchError("The benchmark reads memory from /proc: it requires Linux.")
        where = location(_CHECKOUT, "bench")
        ignore_libpq_variables(keep_credentials=False)
        with alone(where), running(where):
            url = databases.prepare(where, _DATABASE)
            rows = _bench(options, url)
    except (BenchError, EmbeddedServersError) as error:
        print(error, file=sys.stderr)
        return 2
    print(table(["", "measured", "bar", ""], [[*row[:3], row[3]] for row in rows]))
    is_good = all(row[3] != "FAILS" for row in rows)
    print("\nHOLDS" if is_good else "\nFAILS")
    return 0 if is_good else 1


def _bench(options: Namespace, url: str) -> list[tuple[str, str, str, str]]:
    with provider(_WAIT_SECONDS) as provider_url, psycopg.connect(url, autocommit=True) as session:
        bench = Bench(session, provider_url)
        empty, runs = [], []
        for _ in range(options.rounds):
            empty.append(bench.empty_rate(options.runs))
            runs.append(bench.run_rate(options.runs))
        rate, ratio = median(runs), median(runs) / median(empty)
        p50_ms, p99_ms, arrived = bench.queue_latency(rate / 2)
        waiting = bench.waiting_runs()
    return [
        ("empty tasks of procrastinate", f"{median(empty):.0f} per second", "", ""),
        ("background runs of the mock", f"{rate:.0f} per second", "", ""),
        ("ratio", f"{ratio:.2f}", f"≥ {RATIO_AT_LEAST}", verdict(ratio >= RATIO_AT_LEAST)),
        (
            f"time in the queue, {arrived} runs at half the rate",
            f"p50 {p50_ms:.0f} ms, p99 {p99_ms:.0f} ms",
            "",
            "",
        ),
        *waiting,
    ]


class Bench:
    """The measurements, on an empty database."""

    def __init__(self, session: psycopg.Connection[Any], provider_url: str) -> None:
        from django.core.management import call_command

        from agents.models import Agent, LanguageModel
        from map_project.tenants.keys import issue_key
        from map_project.tenants.models import Tenant

        call_command("migrate", interactive=False, verbosity=0)
        tenant = Tenant.objects.create(name="jobs", max_queued_runs=1_000_000)
        issue_key(tenant=tenant)
        LanguageModel.objects.create(name="slow", provider="openai", base_url=provider_url)
        self.session = session
        self.tenant = tenant
        self.agent = Agent.objects.create(
            tenant=tenant, name="a", role="analyst", description="Waits."
        )

    def empty_rate(self, count: int) -> float:
        """Empty tasks per second."""
        command = [sys.executable, "-m", "benchmarks.jobs_empty", str(count)]
        process = subprocess.run(command, cwd=_CHECKOUT, stdout=subprocess.PIPE, text=True)
        if process.returncode:
            raise BenchError("The empty tasks failed.")
        return count / float(process.stdout)

    def run_rate(self, count: int) -> float:
        """Runs of the mock per second."""
        self._forget()
        for _ in range(count):
            self._queue("gpt-4o")
        with _worker():
            self._await(count)
        return count / float(
            self._value("SELECT extract(epoch FROM max(finished_at) - min(started_at))")
        )

    def queue_latency(self, rate: float) -> tuple[float, float, int]:
        """The 50th and the 99th percentile of the time in the queue in ms, and the number of runs."""
        self._forget()
        count, started = int(rate * _ARRIVAL_SECONDS), 0.0
        with _worker():
            # The first job, until the worker is ready.
            self._queue("gpt-4o")
            self._await(1)
            self._forget()
            started = time.monotonic()
            for number in range(count):
                time.sleep(max(started + number / rate - time.monotonic(), 0))
                self._queue("gpt-4o")
            self._await(count)
        query = (
            "SELECT extract(epoch FROM started_at - created_at) * 1000 FROM executions_execution"
        )
        latencies = quantiles([float(row[0]) for row in self.session.execute(query)], n=100)
        return latencies[49], latencies[98], count

    def waiting_runs(self) -> list[tuple[str, str, str, str]]:
        """Memory and connections of a worker whose runs wait."""
        self._forget()
        for _ in range(_WAITING_RUNS):
            self._queue("slow")
        most_mb, most_connections, most_threads = 0.0, 0, 0
        with _worker(WORKER_CONCURRENCY=str(_WAITING_RUNS)) as pid:
            while self._finished() < _WAITING_RUNS:
                most_mb = max(most_mb, memory(pid).rss_mb)
                most_threads = max(most_threads, len([*Path(f"/proc/{pid}/task").iterdir()]))
                connections = self._value(
                    f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{_DATABASE}'",
                    table="",
                )
                most_connections = max(most_connections, int(connections))
                time.sleep(0.25)
        seconds = float(
            self._value("SELECT extract(epoch FROM max(finished_at) - min(started_at))")
        )
        succeeded = int(self._value("SELECT count(*) FILTER (WHERE status = 'succeeded')"))
        return [
            (
                f"{_WAITING_RUNS} runs whose model takes {_WAIT_SECONDS:.0f} s",
                f"all done in {seconds:.1f} s, {succeeded} succeeded",
                "all",
                verdict(succeeded == _WAITING_RUNS),
            ),
            ("memory of the worker, maximum", f"{most_mb:.0f} MB, {most_threads} threads", "", ""),
            # Two are of the benchmark.
            ("its database connections, maximum", f"{most_connections - 2}", "", ""),
        ]

    def _queue(self, model: str) -> None:
        from executions.services import run_agent
        from map_project.tenants.authentication import Caller

        caller = Caller(
            tenant_id=self.tenant.pk,
            key_id=self.tenant.pk,
            key_prefix="bench",
            rate_limit_requests=1,
            rate_limit_window_seconds=1,
            allowed_models=None,
            max_queued_runs=1_000_000,
        )
        run_agent(
            caller=caller,
            agent_id=self.agent.pk,
            prompt="What is new?",
            model=model,
            request_id="bench",
            background=True,
        )

    def _forget(self) -> None:
        self.session.execute("TRUNCATE executions_execution CASCADE")

    def _finished(self) -> int:
        return int(self._value("SELECT count(*) FILTER (WHERE finished_at IS NOT NULL)"))

    def _await(self, count: int) -> None:
        while self._finished() < count:
            time.sleep(0.1)

    def _value(self, select: str, table: str = " FROM executions_execution") -> Any:
        row = self.session.execute((select + table).encode()).fetchone()
        return row[0] if row else None


@contextmanager
def _worker(**environment: str) -> Iterator[int]:
    """Run a worker and yield the ID of its process."""
    process = subprocess.Popen(
        [sys.executable, "manage.py", "worker"],
        cwd=_CHECKOUT,
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
    )
    try:
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


if __name__ == "__main__":
    sys.exit(main())
