"""`python -m benchmarks.inflight`: a thousand concurrent runs that wait for a slow model.

A stub model server in a process of its own responds after 10 s. The runs arrive evenly over 10 s, so
nearly all of them are in progress at once. Meanwhile, tools are created, read, changed and deleted. The
server is started as by `make run`. Exits with 0 if every bar holds, 1 if one fails, 2 if it cannot run.
"""

import asyncio
import os
import resource
import subprocess
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import quantiles

import psycopg

from benchmarks import databases, servers
from benchmarks.alone import alone
from benchmarks.errors import BenchError
from benchmarks.inflight_load import KEY, MODEL, Load, Measured
from benchmarks.peaks import sampling
from benchmarks.processes import Family
from benchmarks.report import table
from map_project.embedded import Location, location
from map_project.embedded.errors import EmbeddedServersError
from map_project.embedded.servers import running
from map_project.environment import ignore_libpq_variables

_CHECKOUT = Path(__file__).parent.parent
_DATABASE = "bench_inflight"

P99_AT_MOST_SECONDS = 13.0
MEGABYTES_AT_MOST = 600.0
CONNECTIONS_AT_MOST = 40
CRUD_P95_AT_MOST_MS = 150.0


def main() -> int:
    """Run the benchmark and print the table."""
    options = _options()
    try:
        if sys.platform != "linux":
            raise BenchError("The benchmark reads memory from /proc: it requires Linux.")
        # For the clients and the stub. The server raises its own limit.
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        where = location(_CHECKOUT, "bench")
        ignore_libpq_variables(keep_credentials=False)
        with alone(where), running(where):
            measured = _bench(options, where)
    except (BenchError, EmbeddedServersError) as error:
        print(error, file=sys.stderr)
        return 2
    rows = _rows(options, measured)
    _print(options, measured, rows)
    return 0 if all(holds for *_, holds in rows) else 1


def _options() -> Namespace:
    parser = ArgumentParser("python -m benchmarks.inflight", description="Runs in flight.")
    parser.add_argument("--runs", type=int, default=1000, help="(%(default)s)")
    parser.add_argument("--over", type=float, default=10, help="seconds (%(default)s)")
    parser.add_argument("--answer-after", type=float, default=10, help="seconds (%(default)s)")
    return parser.parse_args()


def _bench(options: Namespace, where: Location) -> Measured:
    database_url = databases.prepare(where, _DATABASE)
    measured = Measured()
    with provider(options.answer_after) as provider_url:
        agent_id = rows_of_the_platform(provider_url)
        log = where.data_dir / "inflight.log"
        with servers.platform(database_url, where.redis_url, log) as server:
            family = Family((server.pid,))
            before = family.cpu_seconds()
            with sampling(measured, where, _DATABASE, server.pid):
                port = int(server.url.rpartition(":")[2])
                asyncio.run(Load(port, agent_id, options, measured).generate())
            measured.cpu_seconds = family.cpu_seconds() - before
    with psycopg.connect(database_url) as connection:
        query = "SELECT count(*) FROM executions_execution WHERE status = 'succeeded'"
        row = connection.execute(query).fetchone()
        measured.stored_executions = row[0] if row else 0
    return measured


def rows_of_the_platform(provider_url: str) -> str:
    """Create a tenant without a low quota, its agent and the model. Return the agent's id."""
    from django.core.management import call_command

    from agents.models import Agent, LanguageModel
    from map_project.tenants.keys import store_key
    from map_project.tenants.models import Tenant

    call_command("migrate", interactive=False, verbosity=0)
    tenant = Tenant.objects.create(name="inflight", rate_limit_requests=1_000_000)
    store_key(tenant=tenant, key=KEY)
    LanguageModel.objects.create(
        name=MODEL,
        provider="openai",
        base_url=provider_url,
        input_price_per_million=1,
        output_price_per_million=2,
    )
    agent = Agent.objects.create(
        tenant=tenant, name="a", role="analyst", description="Waits.", model=MODEL
    )
    databases.close_connections()
    return str(agent.pk)


@contextmanager
def provider(seconds: float) -> Iterator[str]:
    """Serve the stub of a model provider, and yield its base URL."""
    command = [sys.executable, "-m", "benchmarks.inflight_provider", str(seconds)]
    process = subprocess.Popen(command, cwd=_CHECKOUT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
    finally:
        process.kill()
        process.wait()


Row = tuple[str, str, str, bool]


def _rows(options: Namespace, measured: Measured) -> list[Row]:
    failed = len(measured.wrong) + options.runs - len(measured.runs)
    p50, p99, worst = (
        percentile(measured.runs, 50),
        percentile(measured.runs, 99),
        max(measured.runs),
    )
    crud_p50_ms, crud_p95_ms = (percentile(measured.crud, part) * 1000 for part in (50, 95))
    return [
        ("runs rejected or failed", f"{failed} of {options.runs}", "0", not failed),
        (
            "executions stored as succeeded",
            f"{measured.stored_executions}",
            f"{options.runs}",
            measured.stored_executions == options.runs,
        ),
        (
            "a run, p50; p99; slowest",
            f"{p50:.2f} s; {p99:.2f} s; {worst:.2f} s",
            f"p99 ≤ {P99_AT_MOST_SECONDS:.0f} s",
            p99 <= P99_AT_MOST_SECONDS,
        ),
        (
            "memory of all web processes, maximum",
            f"{measured.most_rss_mb:.0f} MB resident, {measured.most_pss_mb:.0f} MB proportional",
            f"≤ {MEGABYTES_AT_MOST:.0f} MB",
            measured.most_rss_mb <= MEGABYTES_AT_MOST,
        ),
        (
            "database connections, maximum",
            str(measured.most_connections),
            f"≤ {CONNECTIONS_AT_MOST}",
            measured.most_connections <= CONNECTIONS_AT_MOST,
        ),
        (
            "requests of tools, p50; p95",
            f"{crud_p50_ms:.0f} ms; {crud_p95_ms:.0f} ms ({len(measured.crud_wrong)} failed)",
            f"p95 ≤ {CRUD_P95_AT_MOST_MS:.0f} ms",
            crud_p95_ms <= CRUD_P95_AT_MOST_MS and not measured.crud_wrong,
        ),
    ]


def percentile(values: Sequence[float], percent: int) -> float:
    return quantiles(values, n=100)[percent - 1]


def _print(options: Namespace, measured: Measured, rows: list[Row]) -> None:
    for problem in [*measured.wrong, *measured.crud_wrong][:5]:
        print(f"  {problem[:300]}", file=sys.stderr)
    print(
        f"{options.runs} runs arrive over {options.over:.0f} s, their model responds after "
        f"{options.answer_after:.0f} s; {servers.server_processes()} web processes, up to "
        f"{measured.most_threads} threads in one; {measured.most_in_flight} runs in progress at most; "
        f"{measured.cpu_seconds / max(len(measured.runs), 1) * 1000:.1f} ms of CPU per run, including "
        f"the requests of tools; load average {os.getloadavg()[0]:.1f}.\n"
    )
    lines = [[*row[:3], "holds" if row[3] else "FAILS"] for row in rows]
    print(table(["", "measured", "bar", ""], lines))
    print("\nHOLDS" if all(holds for *_, holds in rows) else "\nFAILS")


if __name__ == "__main__":
    sys.exit(main())
