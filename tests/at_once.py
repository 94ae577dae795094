"""Concurrent calls, and transactions, each in its own thread."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from django.db import connection, transaction

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


@contextmanager
def beside(work: Callable[[], object]) -> Iterator[None]:
    """Do the work in a transaction of another session, which is committed after the block."""
    is_done, is_over = threading.Event(), threading.Event()

    def hold() -> None:
        with transaction.atomic():
            work()
            is_done.set()
            assert is_over.wait(30)
        connection.close()

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        assert is_done.wait(10)
        yield
    finally:
        is_over.set()
        thread.join()
