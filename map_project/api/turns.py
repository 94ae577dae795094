"""Turns: of all requests that a process has, a few are at work, and the others wait.

A run that waits for a model costs a thread and next to nothing else, so a process has many threads
(`WEB_THREADS`), made when they are needed. Threads that are at work all at once would only take the
interpreter from each other, and want more connections than the database has room for. So there are a
few turns (`WEB_ACTIVE_THREADS`). A request has one from its beginning to its end, but for the time in
which it waits for somebody outside (`waiting`): then others have it.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any

from django.db import connection

_Work = tuple["Future[Any]", Callable[..., Any], tuple[Any, ...]]
# How a thread without work gets some; None ends it.
_Inbox = SimpleQueue["_Work | None"]


@contextmanager
def waiting() -> Iterator[None]:
    """While this thread waits for somebody outside, others have its turn and its database connection.

    Not within a transaction.
    """
    # Back to the pool with it.
    connection.close()
    pool: TurnPool | None = getattr(_own, "pool", None)
    if pool is None:
        # A thread of nobody's: a command, a test.
        yield
        return
    pool.leave()
    try:
        yield
    finally:
        pool.come_back()


class TurnPool:
    """Threads that do what is submitted, in its order; as gunicorn uses an executor.

    At most `active` of at most `threads` are at work at any time. A thread that is done takes the next
    work itself: nobody needs to be woken while there is plenty.
    """

    def __init__(self, *, threads: int, active: int) -> None:
        self._most_threads = threads
        self._most_active = active
        self._lock = threading.Lock()
        self._active = 0
        self._threads = 0
        self._is_over = False
        # Work that waits for a turn; threads that came back and wait for one; threads without work.
        self._work: deque[_Work] = deque()
        self._returning: deque[threading.Lock] = deque()
        self._idle: list[_Inbox] = []

    def submit(self, function: Callable[..., Any], *args: Any) -> "Future[Any]":
        """Has it done, now or once it has a turn."""
        future: Future[Any] = Future()
        with self._lock:
            if self._is_over:
                raise RuntimeError("the pool is shut down")
            self._work.append((future, function, args))
            if self._active < self._most_active:
                self._active += self._start_work()
        return future

    def shutdown(self, wait: bool = False) -> None:
        """Nothing more is taken. Threads that are at work end with it or, daemons, with the process."""
        with self._lock:
            self._is_over = True
            for inbox in self._idle:
                inbox.put(None)
            self._idle.clear()

    def leave(self) -> None:
        """This thread gives its turn to another."""
        with self._lock:
            if self._returning:
                self._returning.popleft().release()
            elif not self._start_work():
                self._active -= 1

    def come_back(self) -> None:
        """This thread has a turn again, once there is one."""
        with self._lock:
            if self._active < self._most_active:
                self._active += 1
                return
            turn = threading.Lock()
            turn.acquire()
            self._returning.append(turn)
        turn.acquire()

    def _start_work(self) -> bool:
        """Gives the next work to a thread without any; False where there is none of either."""
        if not self._work:
            return False
        if self._idle:
            self._idle.pop().put(self._work.popleft())
            return True
        if self._threads < self._most_threads:
            inbox: _Inbox = SimpleQueue()
            inbox.put(self._work.popleft())
            self._threads += 1
            threading.Thread(target=self._run, args=(inbox,), daemon=True).start()
            return True
        return False

    def _run(self, inbox: _Inbox) -> None:
        _own.pool = self
        while (work := inbox.get()) is not None:
            while work is not None:
                _do(*work)
                work = self._next(inbox)

    def _next(self, inbox: _Inbox) -> _Work | None:
        """The next work for a thread that is done; None, and its turn is another's, where there is none."""
        with self._lock:
            # Who was at work already goes first.
            if self._returning:
                self._returning.popleft().release()
            elif self._work:
                return self._work.popleft()
            else:
                self._active -= 1
            if self._is_over:
                inbox.put(None)
            else:
                self._idle.append(inbox)
            return None


class _OfThisThread(threading.local):
    pool: TurnPool


_own = _OfThisThread()


def _do(future: "Future[Any]", function: Callable[..., Any], args: tuple[Any, ...]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = function(*args)
    except BaseException as error:
        future.set_exception(error)
    else:
        future.set_result(result)
