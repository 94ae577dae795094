"""`python -m benchmarks`: the platform beside its peer; see README.md here."""

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
from benchmarks.endpoints import CROWD, ENDPOINTS
from benchmarks.errors import BenchError
from benchmarks.load import find_wrk
from benchmarks.processes import Family
from benchmarks.report import Report
from benchmarks.size import web_processes
from map_project.embedded import Location, location
from map_project.embedded.errors import EmbeddedServersError
from map_project.embedded.servers import running

_CHECKOUT = Path(__file__).parent.parent
_PARTS = tuple(endpoint.name for endpoint in ENDPOINTS)


def main() -> int:
    """Runs the bench; 0 where every bar holds, 1 where one fails, 2 where it cannot run."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    options = _options()
    try:
        if sys.platform != "linux":
            raise BenchError("The bench reads CPU times and memory from /proc: it needs Linux.")
        find_wrk(install=options.install_wrk)
        return _bench(options)
    except (BenchError, EmbeddedServersError) as error:
        print(error, file=sys.stderr)
        return 2


def _options() -> Namespace:
    parser = ArgumentParser("python -m benchmarks", description="The platform beside its peer.")
    parser.add_argument(
        "--only",
        type=lambda text: text.split(","),
        default=list(_PARTS),
        metavar="PART,…",
        help=f"of: {', '.join(_PARTS)}",
    )
    parser.add_argument(
        "--seconds", type=float, default=6, help="of a slice, at least (%(default)s)"
    )
    parser.add_argument(
        "--warm", type=float, default=3, help="seconds before the first (%(default)s)"
    )
    parser.add_argument("--rounds", type=int, default=3, help="of both sides (%(default)s)")
    parser.add_argument("--connections", type=int, nargs="+", default=[16, 64, CROWD], metavar="N")
    parser.add_argument(
        "--json", type=Path, default=_CHECKOUT / ".map" / "bench.json", metavar="FILE"
    )
    parser.add_argument("--install-wrk", action="store_true", help="with apt-get, as root")
    options = parser.parse_args()
    if unknown := set(options.only) - set(_PARTS):
        parser.error(f"--only knows {', '.join(_PARTS)}, not {', '.join(sorted(unknown))}")
    return options


def _bench(options: Namespace) -> int:
    where = location(_CHECKOUT, "bench")
    with alone(where), running(where):
        redis.Redis.from_url(where.redis_url).flushall()
        rows = databases.fresh(where)
        # For what of the platform runs in this process.
        os.environ |= databases.environment(rows.platform, where.redis_url)
        report = _measure(options, where, rows)
    options.json.write_text(report.json())
    print(f"\n{report.text()}\n\nAll of it stands in {options.json}.")
    return 0 if report.holds() else 1


def _measure(options: Namespace, where: Location, rows: databases.Databases) -> Report:
    report = Report(shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]]))
    with _sides(where, rows) as (peer, platform):
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
def _sides(where: Location, rows: databases.Databases) -> Iterator[tuple[Side, Side]]:
    """Both, serving, each with the database and the Redis that work for it while it is measured."""
    data = where.data_dir
    shared = [
        int((data / name).read_text().split()[0])
        for name in ("postgres/postmaster.pid", "redis/redis.pid")
    ]
    before_load = partial(databases.checkpoint, where)
    with ExitStack() as stack:
        started = (
            servers.peer(
                rows.peer,
                where.redis_url.replace("db=0", "db=1"),
                data / "peer.log",
                data / "peer-venv",
            ),
            servers.platform(rows.platform, where.redis_url, data / "platform.log"),
        )
        peer, platform = (
            Side(server, Family((server.pid, *shared)), before_load)
            for server in map(stack.enter_context, started)
        )
        yield peer, platform


if __name__ == "__main__":
    sys.exit(main())
