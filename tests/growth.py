"""How the CPU time of a piece of work grows with the size of its input."""

import time
from collections.abc import Callable

TIMES_LARGER = 8


def growth(prepare: Callable[[int], Callable[[], object]], size: int) -> float:
    """Return how much longer an input takes that is 8 times as large as `size`.

    The ratio is about 8 if the time is proportional to the size, and about 64 if to its square.
    A limit in seconds would depend on the machine, on its load and on the measurement of coverage.

    Args:
        prepare: Returns the work for a size. Its own time is not measured.
        size: Of the smaller input. Its work should take some milliseconds.
    """
    small, large = prepare(size), prepare(size * TIMES_LARGER)
    return _shortest(large) / _shortest(small)


def _shortest(work: Callable[[], object]) -> float:
    """Return the shortest of three durations, in CPU time: other programs may be busy."""
    durations = []
    for _ in range(3):
        started = time.thread_time()
        work()
        durations.append(time.thread_time() - started)
    return min(durations)
