"""Turns: many threads, a few at work."""

import random
import threading
import time
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

import pytest

from map_project.api.turns import TurnPool, waiting

SECONDS = 10


class Work:
    """Counts how many are at work at once, and at most."""

    def __init__(self) -> None:
        self.now = self.most = self.done = 0
        self._lock = threading.Lock()

    def begin(self) -> None:
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)

    def end(self) -> None:
        with self._lock:
            self.now -= 1
            self.done += 1

    def wait(self, seconds: float) -> None:
        """Waits outside."""
        with self._lock:
            self.now -= 1
        with waiting():
            time.sleep(seconds)
        self.begin()


def results(futures: list["Future[Any]"]) -> list[Any]:
    return [future.result(SECONDS) for future in futures]


def test_what_is_submitted_is_done_in_its_order() -> None:
    pool, order = TurnPool(threads=9, active=1), list[int]()
    futures = [pool.submit(order.append, number) for number in range(100)]
    results(futures)
    assert order == [*range(100)]
    pool.shutdown()


def test_results_and_errors_come_back() -> None:
    pool = TurnPool(threads=2, active=2)
    assert pool.submit(divmod, 7, 2).result(SECONDS) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        pool.submit(divmod, 7, 0).result(SECONDS)
    assert pool.submit(divmod, 7, 2).result(SECONDS) == (3, 1)
    pool.shutdown()


def test_only_so_many_are_at_work_whatever_waits() -> None:
    pool, work = TurnPool(threads=200, active=3), Work()

    def one(waits: int) -> None:
        work.begin()
        for _ in range(waits):
            time.sleep(random.random() / 2000)
            work.wait(random.random() / 500)
        work.end()

    results([pool.submit(one, number % 4) for number in range(600)])
    assert work.done == 600
    assert 1 <= work.most <= 3
    pool.shutdown()


def test_those_that_wait_keep_nobody_from_work() -> None:
    pool, over = TurnPool(threads=60, active=2), threading.Event()

    def wait() -> None:
        with waiting():
            over.wait(SECONDS)

    waits = [pool.submit(wait) for _ in range(50)]
    results([pool.submit(time.sleep, 0.001) for _ in range(20)])
    assert not any(future.done() for future in waits)
    over.set()
    results(waits)
    pool.shutdown()


def test_there_are_never_more_threads_than_allowed_and_they_are_used_again() -> None:
    pool, over = TurnPool(threads=5, active=3), threading.Event()
    threads: set[int] = set()

    def wait() -> None:
        threads.add(threading.get_ident())
        with waiting():
            over.wait(SECONDS)

    first = [pool.submit(wait) for _ in range(12)]
    time.sleep(0.1)
    assert len(threads) == 5
    over.set()
    results(first)
    results([pool.submit(wait) for _ in range(12)])
    assert len(threads) == 5
    pool.shutdown()


def test_who_comes_back_goes_before_who_has_not_begun() -> None:
    pool, over, order = TurnPool(threads=9, active=1), threading.Event(), list[str]()

    def first() -> None:
        with waiting():
            over.wait(SECONDS)
        order.append("first")

    def second() -> None:
        over.set()
        time.sleep(0.2)
        order.append("second")

    results([pool.submit(first), pool.submit(second), pool.submit(order.append, "third")])
    assert order == ["second", "first", "third"]
    pool.shutdown()


def test_an_error_while_waiting_gives_the_turn_back() -> None:
    pool = TurnPool(threads=3, active=1)

    def broken() -> None:
        with suppress(KeyError), waiting():
            raise KeyError

    results([pool.submit(broken) for _ in range(10)])
    assert pool.submit(divmod, 7, 2).result(SECONDS) == (3, 1)
    pool.shutdown()


def test_a_pool_that_is_shut_down_takes_nothing_and_its_threads_end() -> None:
    pool, started = TurnPool(threads=3, active=2), list[threading.Thread]()
    results([pool.submit(lambda: started.append(threading.current_thread())) for _ in range(2)])
    at_work = pool.submit(time.sleep, 0.2)
    pool.shutdown(wait=False)
    with pytest.raises(RuntimeError):
        pool.submit(time.sleep, 0)
    at_work.result(SECONDS)
    for thread in started:
        thread.join(SECONDS)
        assert not thread.is_alive()


def test_outside_a_pool_waiting_is_just_waiting() -> None:
    with waiting():
        pass
