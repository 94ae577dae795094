"""How long the platform takes to import, and how large its web processes grow."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.errors import BenchError
from benchmarks.processes import Family, Memory, memory
from benchmarks.servers import Server

IMPORT_RATIO_AT_MOST = 1.5
MEGABYTES_AT_MOST = 110.0
_CHECKOUT = Path(__file__).parent.parent
_RUNS = 9


@dataclass(frozen=True)
class Start:
    """Seconds that the imports take in new processes, medians."""

    platform_seconds: float
    trivial_seconds: float

    @property
    def ratio(self) -> float:
        """Ours over Django's and DRF's with one trivial view."""
        return self.platform_seconds / self.trivial_seconds

    def __str__(self) -> str:
        ours, theirs = self.platform_seconds, self.trivial_seconds
        return f"{ours:.2f} s; {theirs:.2f} s, ratio {self.ratio:.2f}"

    def holds(self) -> bool:
        """Whether the ratio is within its bar."""
        return self.ratio <= IMPORT_RATIO_AT_MOST


def start(env: dict[str, str]) -> Start:
    """Imports both in turn, each time in a new process; the first pair, which compiles, does not count."""
    pairs = [
        (_import_seconds("map_project.wsgi", env), _import_seconds("benchmarks.trivial", env))
        for _ in range(_RUNS + 1)
    ][1:]
    return Start(median(ours for ours, _ in pairs), median(theirs for _, theirs in pairs))


def web_processes(server: Server) -> list[Memory]:
    """The memory of each of the server's workers."""
    return [memory(pid) for pid in Family((server.pid,)).members() if pid != server.pid]


def small_enough(processes: list[Memory]) -> bool:
    """Whether each is within its bar, all of its resident memory counted."""
    return all(process.rss_mb <= MEGABYTES_AT_MOST for process in processes)


def _import_seconds(module: str, env: dict[str, str]) -> float:
    code = f"import time; t = time.perf_counter(); import {module}; print(time.perf_counter() - t)"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=_CHECKOUT, env=env, capture_output=True, text=True
    )
    if result.returncode:
        raise BenchError(f"{module} cannot be imported: {result.stderr.strip()}")
    return float(result.stdout)
