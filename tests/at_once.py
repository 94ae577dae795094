"""Many calls at the same moment, from as many threads."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def at_once(calls: Sequence[Callable[[], T]]) -> list[T]:
    """What the calls return, in their order; all begin together."""
    barrier = threading.Barrier(len(calls))

    def one(call: Callable[[], T]) -> T:
        barrier.wait()
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result() for future in [pool.submit(one, call) for call in calls]]


def timed(call: Callable[[], T]) -> Callable[[], tuple[T, float]]:
    """The call, made to return its seconds too."""

    def measured() -> tuple[T, float]:
        started = time.monotonic()
        result = call()
        return result, time.monotonic() - started

    return measured
