"""A live server for tests: gunicorn with its workers, on the test database."""

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

from django.conf import settings

from tests.api import LiveApi
from tests.own_postgres import children

# Below the ports that the kernel selects: a server that starts late or again finds its port free. Each
# process of pytest-xdist has its own ports.
_FIRST_PORT = 20_000
_PORTS_PER_WORKER = 1_000


def database_url() -> str:
    """Return the URL of the test database."""
    name = quote(str(settings.DATABASES["default"]["NAME"]))
    return urlunsplit(urlsplit(settings.DATABASE_URL)._replace(path=f"/{name}"))


def free_port() -> int:
    """Return a port on which no process listens."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    first = _FIRST_PORT + _PORTS_PER_WORKER * worker
    for port in random.sample(range(first, first + _PORTS_PER_WORKER), _PORTS_PER_WORKER):
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise OSError(f"The ports {first} to {first + _PORTS_PER_WORKER - 1} are in use.")


def arbiter(port: int) -> int:
    """Return the id of the main process of the server on this port."""
    for pid in children(os.getpid()):
        # A zombie's environment cannot be read.
        with suppress(OSError):
            if f"PORT={port}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                return pid
    raise AssertionError(f"no server on port {port}")


@contextmanager
def serving(python: str | Path = sys.executable, **environment: str) -> Iterator[int]:
    """Run a server as in production and yield its port. `environment` changes its settings."""
    port = free_port()
    process = subprocess.Popen(
        [python, "-m", "map_project.server"],
        cwd=settings.BASE_DIR,
        env={
            **os.environ,
            "DATABASE_URL": database_url(),
            "REDIS_URL": settings.REDIS_URL,
            "HOST": "127.0.0.1",
            "PORT": str(port),
            **environment,
        },
    )
    try:
        wait_until_live(port, process)
        yield port
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def wait_until_live(port: int, process: subprocess.Popen[bytes], seconds: float = 30) -> None:
    """Wait until /live returns 200."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if LiveApi(port).get("/live").status == 200:
                return
        except OSError:
            time.sleep(0.05)
    raise AssertionError(f"the server did not start (exit code {process.poll()})")


@contextmanager
def working(**environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a worker as in production. `environment` changes its settings."""
    process = start_worker(**environment)
    try:
        yield process
    finally:
        # A test may have killed it.
        expected = {0, -signal.SIGKILL}
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            expected = {0}
        assert process.wait(60) in expected


def start_worker(**environment: str) -> subprocess.Popen[bytes]:
    """Start a worker, and return once it fetches jobs."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "manage.py", "worker"],
        cwd=settings.BASE_DIR,
        env={
            **os.environ,
            "DATABASE_URL": database_url(),
            "REDIS_URL": settings.REDIS_URL,
            "HOST": "127.0.0.1",
            "WORKER_PORT": str(port),
            **environment,
        },
    )
    wait_until_live(port, process)
    return process
