"""Turns: many threads, a few at work, all of which find their work themselves."""

import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from queue import SimpleQueue
from typing import Any

import pytest

from map_project.serving.turns import Turns, Work, waiting

SECONDS = 10


class Team:
    """Turns whose work comes through a queue."""

    def __init__(self, *, threads: int, active: int) -> None:
        self._queue: SimpleQueue[Work | None] = SimpleQueue()
        self._threads = threads
        Turns(self._queue.get, threads=threads, active=active).begin()

    def submit(self, function: Callable[..., Any], *args: Any) -> "Future[Any]":
        future: Future[Any] = Future()
        self._queue.put(lambda: future.set_result(function(*args)))
        return future

    def results(self, *work: Callable[[], Any]) -> list[Any]:
        return [future.result(SECONDS) for future in [self.submit(one) for one in work]]

    def end(self) -> None:
        for _ in range(self._threads):
            self._queue.put(None)


@pytest.fixture
def team() -> Iterator[Callable[..., Team]]:
    teams: list[Team] = []

    def make(**numbers: int) -> Team:
        teams.append(Team(**numbers))
        return teams[-1]

    yield make
    for one in teams:
        one.end()


Make = Callable[..., Team]


class Counter:
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


def test_one_at_work_does_all_in_its_order(team: Make) -> None:
    one, order = team(threads=9, active=1), list[int]()
    one.results(*[lambda number=number: order.append(number) for number in range(100)])
    assert order == [*range(100)]


def test_as_many_are_at_work_at_once_as_there_are_turns(team: Make) -> None:
    together = threading.Barrier(3)
    team(threads=3, active=3).results(*[lambda: together.wait(SECONDS)] * 3)


def test_no_more_are_at_work_than_there_are_threads(team: Make) -> None:
    one, counter = team(threads=1, active=8), Counter()

    def work() -> None:
        counter.begin()
        time.sleep(0.01)
        counter.end()

    one.results(*[work] * 5)
    assert counter.most == 1


def test_only_so_many_are_at_work_whatever_waits(team: Make) -> None:
    many, counter = team(threads=200, active=3), Counter()

    def work(waits: int) -> None:
        counter.begin()
        for _ in range(waits):
            time.sleep(random.random() / 2000)
            counter.wait(random.random() / 500)
        counter.end()

    many.results(*[lambda number=number: work(number % 4) for number in range(600)])
    assert counter.done == 600
    assert 1 <= counter.most <= 3


def test_those_that_wait_keep_nobody_from_work(team: Make) -> None:
    many, over = team(threads=60, active=2), threading.Event()

    def wait() -> None:
        with waiting():
            over.wait(SECONDS)

    waits = [many.submit(wait) for _ in range(50)]
    many.results(*[lambda: time.sleep(0.001)] * 20)
    assert not any(future.done() for future in waits)
    over.set()
    for future in waits:
        future.result(SECONDS)


def test_there_are_never_more_threads_than_allowed_and_they_are_used_again(team: Make) -> None:
    few, over = team(threads=5, active=3), threading.Event()
    threads: set[int] = set()

    def wait() -> None:
        threads.add(threading.get_ident())
        with waiting():
            over.wait(SECONDS)

    first = [few.submit(wait) for _ in range(12)]
    time.sleep(0.1)
    assert len(threads) == 5
    over.set()
    for future in first:
        future.result(SECONDS)
    few.results(*[wait] * 12)
    assert len(threads) == 5


def test_who_comes_back_goes_before_who_has_not_begun(team: Make) -> None:
    one, over, order = team(threads=9, active=1), threading.Event(), list[str]()

    def first() -> None:
        with waiting():
            over.wait(SECONDS)
        order.append("first")

    def second() -> None:
        over.set()
        time.sleep(0.2)
        order.append("second")

    one.results(first, second, lambda: order.append("third"))
    assert order == ["second", "first", "third"]


def test_who_comes_back_need_not_wait_until_somebody_finds_work(team: Make) -> None:
    one = team(threads=9, active=1)

    def wait() -> None:
        with waiting():
            # Somebody else looks for work by the time this one is back, and finds none.
            time.sleep(0.1)

    one.results(wait)


def test_an_error_while_waiting_gives_the_turn_back(team: Make) -> None:
    one = team(threads=3, active=1)

    def broken() -> None:
        with suppress(KeyError), waiting():
            raise KeyError

    one.results(*[broken] * 10)
    assert one.results(lambda: 5) == [5]


def test_threads_end_where_there_is_no_more_work() -> None:
    one, threads = Team(threads=3, active=2), list[threading.Thread]()
    one.results(*[lambda: threads.append(threading.current_thread())] * 2)
    one.end()
    for thread in threads:
        thread.join(SECONDS)
        assert not thread.is_alive()


def test_outside_a_team_waiting_is_just_waiting() -> None:
    with waiting():
        pass
