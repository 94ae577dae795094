"""`python -m benchmarks`: compare the platform with the peer; see README.md."""

import os
import shlex
import signal
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import redis

from benchmarks import databases, servers
from benchmarks.alone import alone
from benchmarks.compare import Side, compare
from benchmarks.endpoints import ENDPOINTS, MANY_CONNECTIONS
from benchmarks.errors import BenchError
from benchmarks.load import find_wrk
from benchmarks.processes import Family
from benchmarks.report import Report
from benchmarks.size import web_processes
from map_project.embedded import Location, location
from map_project.embedded.errors import EmbeddedServersError
from map_project.embedded.servers import running
from map_project.environment import ignore_libpq_variables

_CHECKOUT = Path(__file__).parent.parent
_PARTS = tuple(endpoint.name for endpoint in ENDPOINTS)


def main() -> int:
    """Run the benchmark. Return 0 if all bars hold, 1 if one fails, 2 if it cannot run."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    options = _options()
    try:
        if sys.platform != "linux":
            raise BenchError(
                "The benchmark reads CPU times and memory from /proc: it requires Linux."
            )
        find_wrk(install=options.install_wrk)
        return _bench(options)
    except (BenchError, EmbeddedServersError) as error:
        print(error, file=sys.stderr)
        return 2


def _options() -> Namespace:
    parser = ArgumentParser(
        "python -m benchmarks", description="Compare the platform with the peer."
    )
    parser.add_argument(
        "--only",
        type=lambda text: text.split(","),
        default=list(_PARTS),
        metavar="PART,…",
        help=f"some of: {', '.join(_PARTS)}",
    )
    parser.add_argument(
        "--seconds", type=float, default=6, help="minimum duration of a slice (%(default)s)"
    )
    parser.add_argument("--warm", type=float, default=3, help="seconds of warm-up (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="number of rounds (%(default)s)")
    parser.add_argument(
        "--connections", type=int, nargs="+", default=[16, 64, MANY_CONNECTIONS], metavar="N"
    )
    parser.add_argument(
        "--json", type=Path, default=_CHECKOUT / ".map" / "bench.json", metavar="FILE"
    )
    parser.add_argument(
        "--install-wrk", action="store_true", help="install wrk with apt-get, as root"
    )
    options = parser.parse_args()
    if unknown := set(options.only) - set(_PARTS):
        parser.error(f"--only: {', '.join(sorted(unknown))} is not one of {', '.join(_PARTS)}")
    return options


def _bench(options: Namespace) -> int:
    where = location(_CHECKOUT, "bench")
    ignore_libpq_variables(keep_credentials=False)
    with alone(where), running(where):
        redis.Redis.from_url(where.redis_url).flushall()
        dbs = databases.create(where)
        # For platform code that runs in this process.
        os.environ |= databases.environment(dbs.platform, where.redis_url)
        report = _measure(options, where, dbs)
    options.json.write_text(report.json())
    print(f"\n{report.text()}\n\nAll slices are in {options.json}.")
    return 0 if report.holds() else 1


def _measure(options: Namespace, where: Location, dbs: databases.Databases) -> Report:
    report = Report(shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]]))
    with _sides(where, dbs) as (peer, platform):
        for endpoint in ENDPOINTS:
            if endpoint.name in options.only:
                for side in (peer, platform):
                    endpoint.check(side.server.url)
                for connections in options.connections:
                    report.comparisons.append(
                        compare(
                            endpoint,
                            peer,
                            platform,
                            connections=connections,
                            seconds=options.seconds,
                            rounds=options.rounds,
                            warm_seconds=options.warm,
                        )
                    )
        report.web_processes = web_processes(platform.server)
    return report


@contextmanager
def _sides(where: Location, dbs: databases.Databases) -> Iterator[tuple[Side, Side]]:
    """Run both sides. PostgreSQL and Redis are counted as processes of each side."""
    data = where.data_dir
    shared = [
        int((data / name).read_text().split()[0])
        for name in ("postgres/postmaster.pid", "redis/redis.pid")
    ]
    before_load = partial(databases.checkpoint, where)
    with ExitStack() as stack:
        started = (
            servers.peer(
                dbs.peer,
                where.redis_url.replace("db=0", "db=1"),
                data / "peer.log",
                data / "peer-venv",
            ),
            servers.platform(dbs.platform, where.redis_url, data / "platform.log"),
        )
        peer, platform = (
            Side(server, Family((server.pid, *shared)), before_load)
            for server in map(stack.enter_context, started)
        )
        yield peer, platform


if __name__ == "__main__":
    sys.exit(main())
