"""A whole platform for one test: PostgreSQL, Redis, servers and workers, each of which can be killed."""

import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from map_project.environment import random_key
from tests.api import LiveApi
from tests.checkouts import SOURCE
from tests.live import free_port
from tests.own_postgres import OwnPostgres, own_postgres
from tests.own_redis import OwnRedis

SERVERS, WORKERS = 2, 2


@dataclass
class Process:
    """A server or a worker, which is started again at the same port."""

    arguments: list[str]
    port: int
    environment: Mapping[str, str]
    log: IO[bytes]
    popen: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.popen = subprocess.Popen(
            [sys.executable, *self.arguments],
            cwd=SOURCE,
            env={**_without_coverage(), **self.environment},
            stdout=subprocess.DEVNULL,
            stderr=self.log,
            # A process group of its own, so that the children of a server can be killed as well.
            start_new_session=True,
        )

    def is_live(self) -> bool:
        with suppress(OSError):
            return LiveApi(self.port).get("/live").status == 200
        return False

    def send(self, number: signal.Signals) -> None:
        assert self.popen is not None
        with suppress(ProcessLookupError):
            os.killpg(self.popen.pid, number)

    def stop(self, number: signal.Signals) -> None:
        """Send a signal and wait for the end."""
        assert self.popen is not None
        self.send(number)
        self.send(signal.SIGCONT)
        try:
            self.popen.wait(60)
        except subprocess.TimeoutExpired:
            self.send(signal.SIGKILL)
            self.popen.wait(10)
            raise


@dataclass
class Platform:
    """The running platform."""

    postgres: OwnPostgres
    redis: OwnRedis
    servers: list[Process] = field(default_factory=list)
    workers: list[Process] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)

    def manage(self, *arguments: str) -> str:
        """Run a `manage.py` command and return its output."""
        return subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=SOURCE,
            env={**os.environ, **self.environment},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            timeout=180,
        ).stdout.strip()

    def wait_until_live(self) -> None:
        processes = [*self.servers, *self.workers]
        assert eventually(lambda: all(process.is_live() for process in processes), 60)


def eventually(condition: Callable[[], bool], seconds: float) -> bool:
    """Return whether the condition holds within this time."""
    deadline = time.monotonic() + seconds
    while not (holds := condition()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return holds


def _without_coverage() -> dict[str, str]:
    """Return the environment for processes that are killed, which record nothing."""
    return {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}


@contextmanager
def platform() -> Iterator[Platform]:
    """Start everything, and stop it at the end."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        # Of the last run of the program.
        log = stack.enter_context((SOURCE / ".map" / "faults.log").open("wb"))
        redis = OwnRedis(folder)
        stack.callback(redis.kill)
        redis.start()
        postgres = stack.enter_context(own_postgres())
        found = Platform(postgres, redis)
        found.environment = {
            "DATABASE_URL": postgres.url,
            "REDIS_URL": redis.url,
            "SECRET_KEY": secrets.token_hex(32),
            "SECRETS_KEYS": random_key(),
            "TOOL_ALLOWED_NETWORKS": "127.0.0.1/32",
            "WEB_CONCURRENCY": "1",
            "WORKER_CONCURRENCY": "30",
            "GRACEFUL_TIMEOUT_SECONDS": "2",
            "RUN_TIMEOUT_SECONDS": "60",
            "HOST": "127.0.0.1",
        }
        for _ in range(SERVERS):
            port = free_port()
            environment = {**found.environment, "PORT": str(port)}
            found.servers.append(Process(["-m", "map_project.server"], port, environment, log))
        for _ in range(WORKERS):
            port = free_port()
            environment = {**found.environment, "WORKER_PORT": str(port)}
            found.workers.append(Process(["manage.py", "worker"], port, environment, log))
        for process in (*found.servers, *found.workers):
            process.start()
            stack.callback(process.stop, signal.SIGKILL)
        found.wait_until_live()
        yield found
