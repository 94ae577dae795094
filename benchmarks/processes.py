"""CPU time and memory of processes, from /proc."""

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_IDLE_TIMEOUT_SECONDS = 60.0
_SAMPLE_SECONDS = 0.3


@dataclass(frozen=True)
class Memory:
    """Resident and proportional set size, in MB of 1,000,000 bytes."""

    rss_mb: float
    pss_mb: float


@dataclass(frozen=True)
class Family:
    """Processes and all their descendants."""

    roots: tuple[int, ...]

    def cpu_seconds(self) -> float:
        """Return the user and system time of all members so far, including that of ended children."""
        return sum(_cpu_ticks(pid) for pid in self.members()) / _TICKS_PER_SECOND

    def members(self) -> list[int]:
        """Return the ids of the roots and of all their descendants."""
        members = list(self.roots)
        children: dict[int, list[int]] = {}
        for pid, parent in _parents():
            children.setdefault(parent, []).append(pid)
        for pid in members:
            members += children.get(pid, [])
        return members

    def wait_until_idle(self) -> None:
        """Wait until the members use almost no CPU. Requests of closed connections may still be executed."""
        deadline = time.monotonic() + _IDLE_TIMEOUT_SECONDS
        before = self.cpu_seconds()
        while time.monotonic() < deadline:
            time.sleep(_SAMPLE_SECONDS)
            now = self.cpu_seconds()
            if now - before <= 0.1 * _SAMPLE_SECONDS:
                return
            before = now


def machine_cpu_seconds() -> float:
    """Return the CPU time of all programs so far, including time stolen by the host of a VM."""
    user, nice, system, _idle, _iowait, *interrupts_and_steal = map(
        int, Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
    )
    return sum((user, nice, system, *interrupts_and_steal)) / _TICKS_PER_SECOND


def own_cpu_seconds() -> float:
    """Return the CPU time of this process and its ended children, such as wrk, so far."""
    return sum(os.times()[:4])


def memory(pid: int) -> Memory:
    """Return the memory of one process."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    kilobytes = {line.split()[0]: int(line.split()[1]) for line in rollup.splitlines()[1:]}
    return Memory(kilobytes["Rss:"] * 1024 / 1e6, kilobytes["Pss:"] * 1024 / 1e6)


def _parents() -> Iterator[tuple[int, int]]:
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            yield int(folder.name), int(_stat(int(folder.name))[1])


def _cpu_ticks(pid: int) -> int:
    try:
        return sum(map(int, _stat(pid)[11:15]))
    except OSError:
        return 0


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat after the name: state, parent, …, at 11 utime to cstime."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
