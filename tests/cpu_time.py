"""CPU time of a piece of work, in comparison with other work of the same machine.

A limit in seconds would depend on the machine, on its load and on the measurement of coverage.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path

from django.db import connection

TIMES_LARGER = 8


def growth(prepare: Callable[[int], Callable[[], object]], size: int) -> float:
    """Return how much longer an input takes that is 8 times as large as `size`.

    The ratio is about 8 if the time is proportional to the size, and about 64 if to its square.

    Args:
        prepare: Returns the work for a size. Its own time is not measured.
        size: Of the smaller input. Its work should take some milliseconds.
    """
    small, large = prepare(size), prepare(size * TIMES_LARGER)
    return shortest(large) / shortest(small)


def shortest(work: Callable[[], object], clock: Callable[[], float] = time.thread_time) -> float:
    """Return the shortest of three durations, in seconds: other programs may be busy."""
    durations = []
    for _ in range(3):
        started = clock()
        work()
        durations.append(clock() - started)
    return min(durations)


def clock_with_session() -> float:
    """Return the CPU time of this thread and of its database session, in seconds."""
    session = connection.connection.info.backend_pid
    fields = Path(f"/proc/{session}/stat").read_text().rpartition(")")[2].split()
    ticks = int(fields[11]) + int(fields[12])
    return time.thread_time() + ticks / os.sysconf("SC_CLK_TCK")


def million_digests_seconds() -> float:
    """Return how long PostgreSQL takes for a million MD5 digests, in seconds."""
    with connection.cursor() as cursor:
        started = clock_with_session()
        cursor.execute("SELECT count(md5(n::text)) FROM generate_series(1, 1000000) AS n")
        return clock_with_session() - started
