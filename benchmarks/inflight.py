"""`python -m benchmarks.inflight`: a thousand runs that wait for a slow model, all at the same time.

A stub on loopback, in a process of its own, answers after 10 s; the runs arrive evenly over 10 s, so
that nearly all of them are in flight at once; tools are made, read, changed and deleted beside them.
The platform is served as `make run` serves it. Exits with 0 where every bar holds, 1 where one fails,
2 where it cannot run.
"""

import asyncio
import json
import os
import resource
import subprocess
import sys
import threading
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles
from typing import Any

import django
import psycopg
import redis
from psycopg import sql

from benchmarks import databases, servers
from benchmarks.alone import alone
from benchmarks.errors import BenchError
from benchmarks.inflight_provider import TEXT
from benchmarks.processes import Family, memory
from benchmarks.report import table
from map_project.embedded import Location, location
from map_project.embedded.errors import EmbeddedServersError
from map_project.embedded.servers import running

_CHECKOUT = Path(__file__).parent.parent
_DATABASE = "bench_inflight"
_KEY = "inflight-key"
_MODEL = "slow"
_CRUD_CLIENTS = 4
_CRUD_PAUSE_SECONDS = 0.05
_SAMPLE_SECONDS = 0.25
_PATIENCE_SECONDS = 60.0

P99_AT_MOST_SECONDS = 13.0
MEGABYTES_AT_MOST = 600.0
CONNECTIONS_AT_MOST = 40
CRUD_P95_AT_MOST_MS = 150.0


@dataclass
class Measured:
    """What came of it; times in seconds."""

    runs: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    crud: list[float] = field(default_factory=list)
    crud_wrong: list[str] = field(default_factory=list)
    most_in_flight: int = 0
    most_connections: int = 0
    most_rss_mb: float = 0.0
    most_pss_mb: float = 0.0
    most_threads: int = 0
    cpu_seconds: float = 0.0
    on_record: int = 0


def main() -> int:
    """Runs it, and prints the table."""
    options = _options()
    try:
        if sys.platform != "linux":
            raise BenchError("The bench reads memory from /proc: it needs Linux.")
        # For the clients and the stub; the platform sees to its own.
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        where = location(_CHECKOUT, "bench")
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
    database_url = _fresh_database(where)
    redis.Redis.from_url(where.redis_url).flushall()
    os.environ |= databases.environment(database_url, where.redis_url)
    django.setup()
    measured = Measured()
    with _provider(options.answer_after) as provider_url:
        agent_id = _rows_of_the_platform(provider_url)
        log = where.data_dir / "inflight.log"
        with servers.platform(database_url, where.redis_url, log) as server:
            family = Family((server.pid,))
            before = family.cpu_seconds()
            with _sampling(measured, where, family, server.pid):
                port = int(server.url.rpartition(":")[2])
                asyncio.run(_Load(port, agent_id, options, measured).go())
            measured.cpu_seconds = family.cpu_seconds() - before
    with psycopg.connect(database_url) as connection:
        query = "SELECT count(*) FROM executions_execution WHERE status = 'succeeded'"
        row = connection.execute(query).fetchone()
        measured.on_record = row[0] if row else 0
    return measured


def _fresh_database(where: Location) -> str:
    name = sql.Identifier(_DATABASE)
    with psycopg.connect(where.database_url, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))
        connection.execute(sql.SQL("CREATE DATABASE {}").format(name))
    return where.database_url.replace("/map?", f"/{_DATABASE}?")


def _rows_of_the_platform(provider_url: str) -> str:
    """A tenant that may run as often as it likes, its agent, the model; gives the agent's id."""
    from django.core.management import call_command
    from django.db import connections

    from agents.models import Agent, LanguageModel
    from map_project.tenants.keys import store_key
    from map_project.tenants.models import Tenant

    call_command("migrate", interactive=False, verbosity=0)
    tenant = Tenant.objects.create(name="inflight", rate_limit_requests=1_000_000)
    store_key(tenant=tenant, key=_KEY)
    LanguageModel.objects.create(
        name=_MODEL,
        provider="openai",
        base_url=provider_url,
        input_price_per_million=1,
        output_price_per_million=2,
    )
    agent = Agent.objects.create(tenant=tenant, name="a", role="analyst", description="Waits.")
    connections.close_all()
    for connection in connections.all():
        connection.close_pool()  # type: ignore[attr-defined]
    return str(agent.pk)


@contextmanager
def _provider(seconds: float) -> Iterator[str]:
    command = [sys.executable, "-m", "benchmarks.inflight_provider", str(seconds)]
    process = subprocess.Popen(command, cwd=_CHECKOUT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
    finally:
        process.kill()
        process.wait()


class _Load:
    """The clients: each run has a connection of its own, as strangers' have."""

    def __init__(self, port: int, agent_id: str, options: Namespace, measured: Measured) -> None:
        self._port = port
        self._path = f"/api/v1/agents/{agent_id}/run"
        self._options = options
        self._measured = measured
        self._in_flight = 0
        self._over = asyncio.Event()

    async def go(self) -> None:
        crud = [asyncio.create_task(self._crud(number)) for number in range(_CRUD_CLIENTS)]
        started = time.monotonic()
        pause = self._options.over / self._options.runs
        runs = [
            asyncio.create_task(self._run(started + number * pause))
            for number in range(self._options.runs)
        ]
        await asyncio.gather(*runs)
        self._over.set()
        await asyncio.gather(*crud)

    async def _run(self, at: float) -> None:
        """Its time is counted from when it was to begin, not from when this process came to it."""
        await asyncio.sleep(at - time.monotonic())
        self._in_flight += 1
        self._measured.most_in_flight = max(self._measured.most_in_flight, self._in_flight)
        body = {"prompt": "What is new?", "model": _MODEL}
        try:
            status, answer = await self._call("POST", self._path, body)
            if status != 200 or answer["response"] != TEXT:
                self._measured.wrong.append(f"{status} {answer}")
        except (TimeoutError, OSError, ValueError, asyncio.IncompleteReadError) as error:
            self._measured.wrong.append(f"{type(error).__name__} {error}")
        self._in_flight -= 1
        self._measured.runs.append(time.monotonic() - at)

    async def _crud(self, number: int) -> None:
        rounds = 0
        while not self._over.is_set():
            rounds += 1
            made = await self._timed(
                "POST", "/api/v1/tools", {"name": f"t{number}-{rounds}", "description": "d"}, 201
            )
            one = f"/api/v1/tools/{made.get('id')}"
            await self._timed("GET", one, None, 200)
            await self._timed("PATCH", one, {"description": "changed"}, 200)
            await self._timed("GET", "/api/v1/tools?limit=20", None, 200)
            await self._timed("DELETE", one, None, 204)

    async def _timed(self, method: str, path: str, body: Any, expected: int) -> Any:
        started = time.monotonic()
        answer: Any = {}
        try:
            status, answer = await self._call(method, path, body)
            if status != expected:
                self._measured.crud_wrong.append(f"{method} {path}: {status} {answer}")
        except (TimeoutError, OSError, ValueError, asyncio.IncompleteReadError) as error:
            self._measured.crud_wrong.append(f"{method} {path}: {type(error).__name__} {error}")
        self._measured.crud.append(time.monotonic() - started)
        await asyncio.sleep(_CRUD_PAUSE_SECONDS)
        return answer

    async def _call(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        return await asyncio.wait_for(self._exchange(method, path, body), _PATIENCE_SECONDS)

    async def _exchange(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        content = json.dumps(body).encode() if body is not None else b""
        head = [
            f"{method} {path} HTTP/1.1",
            "Host: 127.0.0.1",
            f"X-API-KEY: {_KEY}",
            "Connection: close",
            "Content-Type: application/json",
            f"Content-Length: {len(content)}",
        ]
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            writer.write("\r\n".join([*head, "", ""]).encode() + content)
            found = await reader.read()
        finally:
            writer.close()
        status = int(found.split(b" ", 2)[1])
        answer = found.partition(b"\r\n\r\n")[2]
        return status, json.loads(answer) if answer else None


@contextmanager
def _sampling(measured: Measured, where: Location, family: Family, master: int) -> Iterator[None]:
    """The most there was of memory and connections, while the block lasts."""
    over = threading.Event()

    def sample() -> None:
        with psycopg.connect(where.database_url, autocommit=True) as connection:
            while not over.wait(_SAMPLE_SECONDS):
                _sample(measured, connection, [pid for pid in family.members() if pid != master])

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _sample(measured: Measured, connection: psycopg.Connection[Any], workers: list[int]) -> None:
    row = connection.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = %s", [_DATABASE]
    ).fetchone()
    sizes = [memory(pid) for pid in workers]
    threads = [len([*Path(f"/proc/{pid}/task").iterdir()]) for pid in workers]
    for name, found in {
        "most_connections": row[0] if row else 0,
        "most_rss_mb": sum(size.rss_mb for size in sizes),
        "most_pss_mb": sum(size.pss_mb for size in sizes),
        "most_threads": max(threads, default=0),
    }.items():
        setattr(measured, name, max(getattr(measured, name), found))


Row = tuple[str, str, str, bool]


def _rows(options: Namespace, measured: Measured) -> list[Row]:
    failed = len(measured.wrong) + options.runs - len(measured.runs)
    p50, p99, worst = (
        _percentile(measured.runs, 50),
        _percentile(measured.runs, 99),
        max(measured.runs),
    )
    crud_p50_ms, crud_p95_ms = (_percentile(measured.crud, part) * 1000 for part in (50, 95))
    return [
        ("runs refused or failed", f"{failed} of {options.runs}", "0", not failed),
        (
            "runs on record as succeeded",
            f"{measured.on_record}",
            f"{options.runs}",
            measured.on_record == options.runs,
        ),
        (
            "a run, p50; p99; slowest",
            f"{p50:.2f} s; {p99:.2f} s; {worst:.2f} s",
            f"p99 ≤ {P99_AT_MOST_SECONDS:.0f} s",
            p99 <= P99_AT_MOST_SECONDS,
        ),
        (
            "web processes together, at most",
            f"{measured.most_rss_mb:.0f} MB resident, {measured.most_pss_mb:.0f} MB proportional",
            f"≤ {MEGABYTES_AT_MOST:.0f} MB",
            measured.most_rss_mb <= MEGABYTES_AT_MOST,
        ),
        (
            "database connections, at most",
            str(measured.most_connections),
            f"≤ {CONNECTIONS_AT_MOST}",
            measured.most_connections <= CONNECTIONS_AT_MOST,
        ),
        (
            "CRUD of tools beside it, p50; p95",
            f"{crud_p50_ms:.0f} ms; {crud_p95_ms:.0f} ms ({len(measured.crud_wrong)} failed)",
            f"p95 ≤ {CRUD_P95_AT_MOST_MS:.0f} ms",
            crud_p95_ms <= CRUD_P95_AT_MOST_MS and not measured.crud_wrong,
        ),
    ]


def _percentile(values: Sequence[float], percent: int) -> float:
    return quantiles(values, n=100)[percent - 1]


def _print(options: Namespace, measured: Measured, rows: list[Row]) -> None:
    for problem in [*measured.wrong, *measured.crud_wrong][:5]:
        print(f"  {problem[:300]}", file=sys.stderr)
    print(
        f"{options.runs} runs arrive over {options.over:.0f} s, their model answers after "
        f"{options.answer_after:.0f} s; {servers.server_processes()} web processes, up to "
        f"{measured.most_threads} threads in one; {measured.most_in_flight} runs in flight at most; "
        f"{measured.cpu_seconds / max(len(measured.runs), 1) * 1000:.1f} ms of CPU a run, the CRUD "
        f"counted in; load average {os.getloadavg()[0]:.1f}.\n"
    )
    told = [[*row[:3], "holds" if row[3] else "FAILS"] for row in rows]
    print(table(["", "measured", "bar", ""], told))
    print("\nHOLDS" if all(holds for *_, holds in rows) else "\nFAILS")


if __name__ == "__main__":
    sys.exit(main())
