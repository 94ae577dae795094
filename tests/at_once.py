"""Concurrent calls, each in its own thread."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def at_once(calls: Sequence[Callable[[], T]]) -> list[T]:
    """Start all calls at the same time and return their results in order."""
    barrier = threading.Barrier(len(calls))

    def wait_and_call(call: Callable[[], T]) -> T:
        barrier.wait()
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result() for future in [pool.submit(wait_and_call, call) for call in calls]]


def timed(call: Callable[[], T]) -> Callable[[], tuple[T, float]]:
    """Return a function that makes the call and returns its result and its seconds."""

    def measured() -> tuple[T, float]:
        started = time.monotonic()
        result = call()
        return result, time.monotonic() - started

    return measured
