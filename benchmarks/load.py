"""Load by wrk, and what it came to."""

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from benchmarks.errors import BenchError

SCRIPTS = Path(__file__).parent / "wrk"
# A client waits this long for an answer: the slowest pages of the peer take seconds at 64 connections.
_TIMEOUT_SECONDS = 60


@dataclass(frozen=True)
class Load:
    """Answers within `seconds`; one that is not 2xx is an error, and so is a broken connection."""

    requests: int
    seconds: float
    errors: int
    p50_ms: float
    p95_ms: float
    p99_ms: float

    @property
    def requests_per_second(self) -> float:
        """Answers in a second."""
        return self.requests / self.seconds


def find_wrk(*, install: bool) -> None:
    """Sees to it that wrk is there. Raises BenchError, which tells how to get it."""
    if install and not shutil.which("wrk"):
        if os.geteuid() or not shutil.which("apt-get"):
            raise BenchError("--install-wrk needs root and apt-get: install wrk another way.")
        print("Installing wrk with apt-get ...", flush=True)
        for command in (["update"], ["install", "--yes", "wrk"]):
            subprocess.run(["apt-get", "--quiet", *command], check=True)
    if not shutil.which("wrk"):
        raise BenchError(
            "wrk, the load generator, is not here: install it with this machine's package manager "
            "(Debian and Ubuntu: `apt install wrk`; or as root `make bench ARGS=--install-wrk`)."
        )


def wrk(
    url: str, *, connections: int, seconds: float, script: str, arguments: tuple[str, ...]
) -> Load:
    """Loads the address with one thread of wrk and so many connections. Raises BenchError."""
    command = [
        "wrk",
        "--threads=1",
        f"--connections={connections}",
        f"--duration={max(round(seconds), 1)}s",
        f"--timeout={_TIMEOUT_SECONDS}s",
        f"--script={script}",
        url,
        "--",
        *arguments,
    ]
    result = subprocess.run(command, cwd=SCRIPTS, capture_output=True, text=True)
    try:
        return Load(**json.loads(result.stdout.splitlines()[-1]))
    except (IndexError, ValueError):
        said = (result.stderr or result.stdout).strip()
        raise BenchError(f"wrk failed on {url}: {said}") from None
