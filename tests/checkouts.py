"""Temporary checkouts for tests that start and kill the embedded servers."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from map_project.embedded import Location

SOURCE = Path(__file__).resolve().parent.parent
_PARTS = (
    "Makefile", "manage.py", "requirements", "map_project", "tools", "agents", "executions", "ratelimit",
)  # fmt: skip


@contextmanager
def empty_checkout() -> Iterator[Path]:
    """Create a folder that the servers' account can access, unlike the folders of pytest."""
    with tempfile.TemporaryDirectory(prefix="map-test-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@contextmanager
def checkout() -> Iterator[Path]:
    """Create a copy of the files that `make run` needs."""
    with empty_checkout() as folder:
        for part in _PARTS:
            source, target = SOURCE / part, folder / part
            if source.is_dir():
                # With the compiled files, except those that are being written.
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("*.pyc.*"))
            else:
                shutil.copy2(source, target)
        yield folder


def environment(**changes: str) -> dict[str, str]:
    """Return the environment without the settings of this test session, with `changes`."""
    removed = {
        "DATABASE_URL",
        "REDIS_URL",
        "SECRET_KEY",
        "HOST",
        "PORT",
        "MAKEFLAGS",
        "MAKELEVEL",
        "MFLAGS",
    }
    kept = {name: value for name, value in os.environ.items() if name not in removed}
    # One process starts faster than two.
    fixed = {"PYTHONPATH": "", "PYTHONUNBUFFERED": "1", "WEB_CONCURRENCY": "1"}
    return kept | fixed | changes


@contextmanager
def process(*command: str | Path, cwd: Path, **changes: str) -> Iterator[subprocess.Popen[str]]:
    """Run a program in its own process group, with stderr in stdout. Kill the group at the end."""
    child = subprocess.Popen(
        command,
        cwd=cwd,
        env=environment(**changes),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield child
    finally:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.communicate()


def manage(folder: Path, *arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
    """Run a `manage.py` command in a checkout."""
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=folder,
        env=environment(**changes),
        capture_output=True,
        text=True,
        timeout=180,
    )


def server_pids(place: Location) -> dict[str, int]:
    """Return the process ids in the pid files of the servers that have one."""
    files = {"postgres": "postgres/postmaster.pid", "redis": "redis/redis.pid"}
    texts = {
        name: (place.data_dir / file).read_text()
        for name, file in files.items()
        if (place.data_dir / file).exists()
    }
    return {name: int(text.split()[0]) for name, text in texts.items() if text}


def is_running(pid: int) -> bool:
    """Return whether the process runs. A zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def eventually(condition: Callable[[], bool], seconds: float = 20.0) -> bool:
    """Wait until the condition holds. Return whether it does in time."""
    deadline = time.monotonic() + seconds
    while not (holds := condition()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return holds
