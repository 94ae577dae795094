"""Turns: of all threads that a process has, a few are at work, and the others wait.

A run that waits for a model costs a thread and next to nothing else, so a process may have many
(`WEB_THREADS`), made when they are needed. Threads that are at work all at once would only take the
interpreter from each other, and want more connections than the database has room for. So there are a
few turns (`WEB_ACTIVE_THREADS`). A thread has one while it serves a request, but for the time in which
it waits for somebody outside (`waiting`): then others have it.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

from django.db import connection

Work = Callable[[], None]


@contextmanager
def waiting() -> Iterator[None]:
    """While this thread waits for somebody outside, others have its turn and its database connection.

    Not within a transaction.
    """
    # Back to the pool with it.
    connection.close()
    turns: Turns | None = getattr(_own, "turns", None)
    if turns is None:
        # A thread of nobody's: a command, a test.
        yield
        return
    turns.leave()
    try:
        yield
    finally:
        turns.come_back()


class Turns:
    """Threads that find work for themselves, as the leader and followers of the pattern of that name
    (Schmidt et al., Pattern-Oriented Software Architecture 2, 2000): no thread hands work to another.

    `find_work` blocks until there is some and returns it, or None where there will be no more; several
    threads are in it at once. Work raises nothing.
    """

    def __init__(self, find_work: Callable[[], Work | None], *, threads: int, active: int) -> None:
        self._find_work = find_work
        self._most_threads = threads
        self._most_active = min(active, threads)
        self._lock = threading.Lock()
        self._threads = 0
        # How many are at work, and how many look for some. Together they are as many as may be at
        # work, where there are threads enough; or more, for as long as those who came back found
        # others looking: then who finds work waits for a turn.
        self._working = 0
        self._looking = 0
        self._wanting: deque[threading.Lock] = deque()
        self._resting: list[threading.Lock] = []

    def begin(self) -> None:
        """Starts the first threads."""
        with self._lock:
            self._fill()

    def leave(self) -> None:
        """This thread gives its turn to another."""
        with self._lock:
            self._give_turn()
            self._fill()

    def come_back(self) -> None:
        """This thread has a turn again, once there is one."""
        with self._lock:
            mine = self._want_turn()
        mine.acquire()

    def _run(self) -> None:
        _own.turns = self
        cast(Any, connection).lasts = True
        while (work := self._find_work()) is not None:
            with self._lock:
                self._looking -= 1
                mine = self._want_turn()
            mine.acquire()
            work()
            with self._lock:
                self._give_turn()
                rest = self._look_or_rest()
            if rest.locked():
                connection.close()
            rest.acquire()

    def _want_turn(self) -> threading.Lock:
        """A lock that is free once this thread has a turn."""
        turn = threading.Lock()
        if self._working < self._most_active:
            self._working += 1
        else:
            turn.acquire()
            self._wanting.append(turn)
        return turn

    def _give_turn(self) -> None:
        if self._wanting:
            self._wanting.popleft().release()
        else:
            self._working -= 1

    def _look_or_rest(self) -> threading.Lock:
        """A lock that is free once this thread is to look for work."""
        rest = threading.Lock()
        if self._working + self._looking < self._most_active:
            self._looking += 1
        else:
            rest.acquire()
            self._resting.append(rest)
        return rest

    def _fill(self) -> None:
        """Has as many look for work as there are turns to be had."""
        while self._working + self._looking < self._most_active:
            if self._resting:
                self._resting.pop().release()
            elif self._threads < self._most_threads:
                self._threads += 1
                threading.Thread(target=self._run, daemon=True).start()
            else:
                return
            self._looking += 1


class _OfThisThread(threading.local):
    turns: Turns


_own = _OfThisThread()
