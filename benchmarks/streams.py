"""`python -m benchmarks.streams`: streams of runs, beside the proxy of LiteLLM.

A stub of a provider sends tokens at a fixed rate. Each token is the time at which it was sent, so a client
knows how much later it arrives.

- Many open streams at once: the added latency of a token, memory and database connections.
- The time to the first token of single streams, beside that of the stub itself.
- `/v1/chat/completions` of the platform and of LiteLLM, in turn, with the same stub and the same clients:
  requests per second, and the added latency of streams.

Exits with 0 if every bar holds, 1 if one fails, 2 if it cannot run.
"""

import json
import resource
import subprocess
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from statistics import median

from benchmarks import databases, servers
from benchmarks.alone import alone
from benchmarks.errors import BenchError
from benchmarks.inflight import percentile, rows_of_the_platform
from benchmarks.inflight_load import KEY, MODEL
from benchmarks.peaks import Peaks, sampling
from benchmarks.processes import Family
from benchmarks.report import table
from benchmarks.servers import Server
from benchmarks.streams_clients import Found, Job
from map_project.embedded import Location, location
from map_project.embedded.errors import EmbeddedServersError
from map_project.embedded.servers import running
from map_project.environment import ignore_libpq_variables

_CHECKOUT = Path(__file__).parent.parent
_DATABASE = "bench_streams"
_COMPARED_TOKENS = 100
_CHAT = {"messages": [{"role": "user", "content": "What is new?"}]}

LATENCY_P99_AT_MOST_MS = 100.0
MEGABYTES_AT_MOST = 1000.0
CONNECTIONS_AT_MOST = 40
FIRST_P50_AT_MOST_MS = 15.0
THROUGHPUT_AT_LEAST = 3.0
LATENCY_AT_MOST = 0.5

Row = tuple[str, str, str, bool | None]


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
            rows = _bench(options, where)
    except (BenchError, EmbeddedServersError) as error:
        print(error, file=sys.stderr)
        return 2
    verdicts = {True: "holds", False: "FAILS", None: ""}
    print(table(["", "measured", "bar", ""], [[*row[:3], verdicts[row[3]]] for row in rows]))
    is_good = all(row[3] is not False for row in rows)
    print("\nHOLDS" if is_good else "\nFAILS")
    return 0 if is_good else 1


def _options() -> Namespace:
    parser = ArgumentParser("python -m benchmarks.streams", description="Streams.")
    parser.add_argument("--streams", type=int, default=2000, help="open at once (%(default)s)")
    parser.add_argument("--rate", type=float, default=20, help="tokens a second (%(default)s)")
    parser.add_argument(
        "--over", type=float, default=30, help="seconds in which they begin (%(default)s)"
    )
    parser.add_argument("--seconds", type=float, default=30, help="all are open (%(default)s)")
    parser.add_argument(
        "--compared", type=int, default=50, help="streams of each side (%(default)s)"
    )
    parser.add_argument("--rounds", type=int, default=3, help="of the comparison (%(default)s)")
    parser.add_argument("--only", choices=["streams", "first", "compare"], help="one part")
    return parser.parse_args()


def _bench(options: Namespace, where: Location) -> list[Row]:
    connections = str(options.streams + 100)
    limits = {"MAX_OPEN_STREAMS": connections, "WEB_CONNECTIONS": connections}
    url = databases.prepare(where, _DATABASE, **limits, RUN_TIMEOUT_SECONDS="600")
    parts = {"streams": _many, "first": _first, "compare": _compare}
    rows = []
    for name, part in parts.items():
        if options.only in {None, name}:
            rows += part(options, where, url)
    return rows


def _many(options: Namespace, where: Location, url: str) -> list[Row]:
    """Measure many streams that are open at once."""
    tokens = round(options.rate * (options.over + options.seconds))
    peaks = Peaks()
    with _platform(where, url, _stub(options.rate, tokens)) as (server, agent_id, _):
        family = Family((server.pid,))
        before = family.cpu_seconds()
        with sampling(peaks, where, _DATABASE, server.pid):
            path, body = f"/api/v1/agents/{agent_id}/run", {"prompt": "What is new?"}
            found = _clients(
                server, path, body, streams=options.streams, over=options.over, tokens=tokens
            )
        cpu = family.cpu_seconds() - before
    latencies = found.latencies_ms
    p50, p99 = (percentile(latencies, part) for part in (50, 99))
    return [
        (
            "streams open at once; incomplete",
            f"{found.most_open}; {len(found.wrong)}",
            f"{options.streams}; 0",
            found.most_open == options.streams and not found.wrong,
        ),
        (
            f"added latency of a token at {options.rate:g} tokens a second, p50; p99",
            f"{p50:.1f} ms; {p99:.1f} ms",
            f"p99 ≤ {LATENCY_P99_AT_MOST_MS:.0f} ms",
            p99 <= LATENCY_P99_AT_MOST_MS,
        ),
        ("CPU time per token", f"{cpu / max(len(latencies), 1) * 1e6:.0f} µs", "", None),
        (
            "memory of all web processes, maximum",
            f"{peaks.most_rss_mb:.0f} MB",
            f"≤ {MEGABYTES_AT_MOST:.0f} MB",
            peaks.most_rss_mb <= MEGABYTES_AT_MOST,
        ),
        (
            "database connections, maximum",
            str(peaks.most_connections),
            f"≤ {CONNECTIONS_AT_MOST}",
            peaks.most_connections <= CONNECTIONS_AT_MOST,
        ),
    ]


def _first(options: Namespace, where: Location, url: str) -> list[Row]:
    """Measure the time to the first token of one stream after the other."""
    count, tokens = 200, 2
    with _platform(where, url, _stub(100, tokens)) as (server, agent_id, stub):
        path, body = f"/api/v1/agents/{agent_id}/run", {"prompt": "What is new?"}
        own = {"model": MODEL, **_CHAT}
        sides: dict[str, list[float]] = {"stub": [], "platform": []}
        for _ in range(2):
            # The first round is the warm-up.
            sides["stub"] = _clients(
                stub, "/v1/chat/completions", own, streams=count, over=count / 20, tokens=tokens
            ).first_ms
            sides["platform"] = _clients(
                server, path, body, streams=count, over=count / 20, tokens=tokens
            ).first_ms
    p50s = {name: median(values) for name, values in sides.items()}
    over_ms = p50s["platform"] - p50s["stub"]
    return [
        (
            "time to the first token, p50, over the provider's",
            f"{over_ms:.1f} ms",
            f"≤ {FIRST_P50_AT_MOST_MS:.0f} ms",
            over_ms <= FIRST_P50_AT_MOST_MS,
        )
    ]


def _compare(options: Namespace, where: Location, url: str) -> list[Row]:
    """Compare with LiteLLM: requests per second of 32 clients, and streams."""
    rates: dict[str, list[float]] = {"platform": [], "litellm": []}
    found: dict[str, list[Found]] = {"platform": [], "litellm": []}
    with _platform(where, url, _stub(options.rate, _COMPARED_TOKENS)) as (server, _, stub):
        log, venv_dir = where.data_dir / "litellm.log", where.data_dir / "litellm-venv"
        with servers.litellm(f"{stub.url}/v1", MODEL, f"sk-{KEY}", log, venv_dir) as proxy:
            for number in range(options.rounds + 1):
                for side in (proxy, server):
                    rate, streams = _side(side, options)
                    # The first round is the warm-up.
                    if number:
                        rates[side.name].append(rate)
                        found[side.name].append(streams)
    throughput = {name: median(values) for name, values in rates.items()}
    latency = {
        name: median(percentile(streams.latencies_ms, 50) for streams in values)
        for name, values in found.items()
    }
    wrong = {name: sum(len(streams.wrong) for streams in values) for name, values in found.items()}
    more, less = (
        throughput["platform"] / throughput["litellm"],
        latency["platform"] / latency["litellm"],
    )
    return [
        (
            "chat completions per second, 32 clients: platform; LiteLLM",
            f"{throughput['platform']:.0f}; {throughput['litellm']:.0f} ({more:.1f} times)",
            f"≥ {THROUGHPUT_AT_LEAST:g} times",
            more >= THROUGHPUT_AT_LEAST,
        ),
        (
            f"added latency of a token, p50 of {options.compared} streams: platform; LiteLLM",
            f"{latency['platform']:.2f} ms; {latency['litellm']:.2f} ms ({less:.2f} times)",
            f"≤ {LATENCY_AT_MOST:g} times",
            less <= LATENCY_AT_MOST,
        ),
        (
            "incomplete streams: platform; LiteLLM",
            f"{wrong['platform']}; {wrong['litellm']}",
            "0 of the platform",
            wrong["platform"] == 0,
        ),
    ]


def _side(side: Server, options: Namespace) -> tuple[float, Found]:
    """Return the requests per second of a side, and what its streams received."""
    model = {"platform": "a", "litellm": MODEL}[side.name]
    path, body = "/v1/chat/completions", {"model": model, **_CHAT}
    streams = _clients(side, path, body, streams=options.compared, over=2, tokens=_COMPARED_TOKENS)
    return _throughput(side, path, body), streams


def _throughput(side: Server, path: str, body: dict[str, object]) -> float:
    count = 2_000
    job = Job(_port(side), path, _headers(side), body, count, 0, 0, "", clients=32)
    started = time.monotonic()
    found = _run(job)
    if found.wrong:
        raise BenchError(f"{side.name}: {found.wrong[0]}")
    return count / (time.monotonic() - started)


def _clients(
    side: Server, path: str, body: dict[str, object], *, streams: int, over: float, tokens: int
) -> Found:
    body = {**body, "stream": True}
    return _run(Job(_port(side), path, _headers(side), body, streams, over, tokens, "[DONE]"))


def _run(job: Job) -> Found:
    command = [sys.executable, "-m", "benchmarks.streams_clients"]
    process = subprocess.run(
        command, cwd=_CHECKOUT, input=json.dumps(asdict(job)), stdout=subprocess.PIPE, text=True
    )
    if process.returncode:
        raise BenchError("The clients failed: see above.")
    found = Found(**json.loads(process.stdout))
    for problem in found.wrong[:3]:
        print(f"  {problem[:300]}", file=sys.stderr)
    return found


def _port(side: Server) -> int:
    return int(side.url.rpartition(":")[2])


def _headers(side: Server) -> dict[str, str]:
    return {"Authorization": f"Bearer {'sk-' * (side.name == 'litellm')}{KEY}"}


@contextmanager
def _platform(
    where: Location, url: str, stub: AbstractContextManager[Server]
) -> Iterator[tuple[Server, str, Server]]:
    """Run the stub and the platform. Yield the server, the agent's ID and the stub."""
    with ExitStack() as stack:
        provider = stack.enter_context(stub)
        agent_id = rows_of_the_platform(f"{provider.url}/v1")
        log = where.data_dir / "streams.log"
        yield (
            stack.enter_context(servers.platform(url, where.redis_url, log)),
            agent_id,
            provider,
        )


@contextmanager
def _stub(rate: float, tokens: int) -> Iterator[Server]:
    command = [sys.executable, "-m", "benchmarks.streams_stub", str(rate), str(tokens)]
    process = subprocess.Popen(command, cwd=_CHECKOUT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield Server("stub", f"http://127.0.0.1:{int(process.stdout.readline())}", process.pid)
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    sys.exit(main())
