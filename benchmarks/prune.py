"""`python -m benchmarks.prune`: `prune_history` beside runs and reads of the history.

Fills the history of one tenant, half of it older than 90 days, and deletes that half while clients run an
agent and read the history at a steady rate. Measures the latencies before and during it, the longest wait for
a lock, and the deleted executions per second. Exits with 0 if every bar holds, 1 if one fails, 2 if it cannot
run.
"""

import os
import subprocess
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread
from typing import Any

import psycopg

from benchmarks import databases, servers
from benchmarks.alone import alone
from benchmarks.errors import BenchError
from benchmarks.inflight import percentile
from benchmarks.prune_load import KINDS, Load
from benchmarks.report import table, verdict
from map_project.embedded import Location, location
from map_project.embedded.errors import EmbeddedServersError
from map_project.embedded.servers import running
from map_project.environment import ignore_libpq_variables

_CHECKOUT = Path(__file__).parent.parent
_DATABASE = "bench_prune"
KEY = "prune-benchmark-key"
# The load runs before it is measured, because the first page of the history counts it, and before anything is
# deleted.
_WARM_UP_SECONDS, _QUIET_SECONDS = 5.0, 15.0
_SAMPLE_SECONDS = 0.005
LOCK_WAIT_AT_MOST_MS = 100.0
# Of each kind of request, while executions are deleted.
P99_AT_MOST_MS = 100.0

Row = tuple[str, str, str, str]


@dataclass
class Measured:
    """The results: latencies in seconds by kind, and what the database showed."""

    before: dict[str, list[float]] = field(default_factory=dict)
    during: dict[str, list[float]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    longest_wait_ms: float = 0.0
    samples: int = 0
    deleted: int = 0
    remaining: int = 0
    seconds: float = 0.0


def main() -> int:
    """Run the benchmark and print the table."""
    parser = ArgumentParser("python -m benchmarks.prune", description="Retention beside requests.")
    parser.add_argument("--rows", type=int, default=2_000_000, help="executions (%(default)s)")
    parser.add_argument("--rate", type=float, default=40, help="requests/s (%(default)s)")
    options = parser.parse_args()
    try:
        where = location(_CHECKOUT, "bench")
        ignore_libpq_variables(keep_credentials=False)
        with alone(where), running(where):
            load_average = os.getloadavg()[0]
            measured = _bench(options, where)
    except (BenchError, EmbeddedServersError) as error:
        print(error, file=sys.stderr)
        return 2
    rows = _rows(options, measured)
    for problem in measured.failures[:5]:
        print(f"  {problem[:300]}", file=sys.stderr)
    print(table(["", "measured", "bar", ""], [[*row] for row in rows]))
    is_good = all(row[3] != "FAILS" for row in rows)
    print(f"\nload average at the start: {load_average:.1f}\n{'HOLDS' if is_good else 'FAILS'}")
    return 0 if is_good else 1


def _bench(options: Namespace, where: Location) -> Measured:
    url = databases.prepare(where, _DATABASE)
    agent_id = _rows_of_the_platform()
    measured = Measured()
    with psycopg.connect(url, autocommit=True) as session:
        _fill(session, options.rows)
        _index()
        newest = "SELECT id::text FROM executions_execution ORDER BY created_at DESC LIMIT 1"
        execution_id = _value(session, newest)
        session.execute("VACUUM (ANALYZE)")
        session.execute("CHECKPOINT")
        log = where.data_dir / "prune.log"
        with (
            servers.platform(url, where.redis_url, log) as server,
            Load(
                server.url,
                KEY,
                agent_id=agent_id,
                execution_id=execution_id,
                rate=options.rate,
                failures=measured.failures,
            ) as load,
        ):
            time.sleep(_WARM_UP_SECONDS)
            load.taken()
            time.sleep(_QUIET_SECONDS)
            measured.before = load.taken()
            with _waits_for_locks(url, measured):
                measured.deleted, measured.seconds = _prune()
            measured.during = load.taken()
        count = "SELECT count(*) FROM executions_execution WHERE request_id = 'bench'"
        measured.remaining = _value(session, count)
    return measured


def _rows_of_the_platform() -> str:
    """Create the tenant and its agent. Return the agent's ID."""
    from django.core.management import call_command

    from agents.models import Agent
    from map_project.tenants.keys import store_key
    from map_project.tenants.models import Tenant

    call_command("migrate", interactive=False, verbosity=0)
    tenant = Tenant.objects.create(name="prune", rate_limit_requests=1_000_000)
    store_key(tenant=tenant, key=KEY)
    agent = Agent.objects.create(tenant=tenant, name="a", role="analyst", description="Reads.")
    databases.close_connections()
    return str(agent.pk)


def _fill(session: psycopg.Connection[Any], rows: int) -> None:
    """Create executions of the last 180 days, every tenth of them with a step."""
    print(f"Filling the history with {rows:,} executions ...", file=sys.stderr, flush=True)
    # Without the triggers, the rows are not added to the usage, and are inserted faster.
    session.execute("ALTER TABLE executions_execution DISABLE TRIGGER USER")
    session.execute(
        """
        INSERT INTO executions_execution (id, tenant_id, agent_id, agent_name, prompt, model, response,
            status, error_code, latency_ms, request_id, key_prefix, created_at)
        SELECT uuidv7((i - %(rows)s) * interval '180 days' / %(rows)s), agent.tenant_id, agent.id, agent.name,
            'Summarize document ' || i || ' in three sentences.', 'gpt-4o', repeat(md5(i::text), 6),
            'succeeded', '', 1, 'bench', %(prefix)s, now() + (i - %(rows)s) * interval '180 days' / %(rows)s
        FROM agents_agent agent, generate_series(1, %(rows)s) i
        """,
        {"rows": rows, "prefix": KEY[:12]},
    )
    session.execute(
        """
        INSERT INTO executions_step (execution_id, position, kind, name, input, output, latency_ms, error)
        SELECT id, 0, 'model', 'gpt-4o', prompt, response, 1, '' FROM executions_execution
        WHERE get_byte(uuid_send(id), 15) %% 10 = 0
        """,
        (),
    )
    session.execute("ALTER TABLE executions_execution ENABLE TRIGGER USER")
    session.execute("ANALYZE")


def _index() -> None:
    """Add the executions to the blocks of the search, which the server would do during the benchmark."""
    from executions.history.blocks import index_history
    from executions.models import SearchBlock

    print("Indexing the history for its search ...", file=sys.stderr, flush=True)
    before, count = -1, 0
    while before < count:
        index_history()
        before, count = count, SearchBlock.objects.count()
    databases.close_connections()


def _prune() -> tuple[int, float]:
    """Run the command. Return how many executions it has deleted, and its seconds."""
    command = [sys.executable, "manage.py", "prune_history", "--older-than", "90d"]
    started = time.monotonic()
    process = subprocess.run(command, cwd=_CHECKOUT, stdout=subprocess.PIPE, text=True)
    if process.returncode:
        raise BenchError("prune_history failed: see above.")
    deleted = int(process.stdout.split()[0].replace(",", ""))
    return deleted, time.monotonic() - started


@contextmanager
def _waits_for_locks(url: str, measured: Measured) -> Iterator[None]:
    """Measure the longest wait for a lock of the database during the block."""
    is_over = Event()

    def sample() -> None:
        query = """
            SELECT COALESCE(max(extract(epoch FROM clock_timestamp() - waitstart)) * 1000, 0)
            FROM pg_locks WHERE NOT granted AND waitstart IS NOT NULL
            """
        with psycopg.connect(url, autocommit=True) as session:
            while not is_over.wait(_SAMPLE_SECONDS):
                wait_ms = float(_value(session, query))
                measured.longest_wait_ms = max(measured.longest_wait_ms, wait_ms)
                measured.samples += 1

    sampler = Thread(target=sample)
    sampler.start()
    try:
        yield
    finally:
        is_over.set()
        sampler.join()


def _value(session: psycopg.Connection[Any], query: str) -> Any:
    row = session.execute(query.encode()).fetchone()
    return row[0] if row else None


def _rows(options: Namespace, measured: Measured) -> list[Row]:
    half = options.rows // 2
    # Some more, which become older than 90 days before the command starts.
    is_half = (
        half
        <= measured.deleted
        == options.rows - measured.remaining
        <= half + options.rows // 1_000
    )
    wait_ms, rate = measured.longest_wait_ms, measured.deleted / measured.seconds
    rows = [
        (
            f"executions deleted of {options.rows:,}",
            f"{measured.deleted:,} in {measured.seconds:.0f} s: {rate:,.0f} per second",
            f"{half:,}",
            verdict(is_half),
        ),
        (
            "longest wait for a lock",
            f"{wait_ms:.0f} ms in {measured.samples:,} samples",
            f"≤ {LOCK_WAIT_AT_MOST_MS:.0f} ms",
            verdict(measured.samples > 0 and wait_ms <= LOCK_WAIT_AT_MOST_MS),
        ),
        ("requests that failed", str(len(measured.failures)), "0", verdict(not measured.failures)),
    ]
    return [*rows, *(_latencies(kind, measured) for kind in KINDS)]


def _latencies(kind: str, measured: Measured) -> Row:
    parts, p99s = [], []
    for values in (measured.before[kind], measured.during[kind]):
        p50, p99 = (percentile(values, percent) * 1000 for percent in (50, 99))
        parts.append(f"{p50:.1f}; {p99:.1f}; {max(values) * 1000:.0f} ms of {len(values)}")
        p99s.append(p99)
    return (
        f"{kind}: p50; p99; slowest, before → during",
        " → ".join(parts),
        f"p99 ≤ {P99_AT_MOST_MS:.0f} ms",
        verdict(p99s[1] <= P99_AT_MOST_MS),
    )


if __name__ == "__main__":
    sys.exit(main())
