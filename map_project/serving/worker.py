"""gunicorn's threaded worker, with connections that are waited for by the threads that serve them.

gunicorn's own has one thread that waits for all connections and hands each on to another, and back
after its answer: four changes of thread a request, for which the interpreter's lock is fought over.
They cost a fifth of what a run costs (see docs/performance.md). Here that thread only accepts.
"""

import gc
import os
import select
import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from importlib import import_module
from typing import Any

from django.conf import settings
from gunicorn.workers.base import Worker
from gunicorn.workers.gthread import STOP_KEEPALIVE_LINGER, TConn, ThreadWorker

from map_project.serving.client import Client
from map_project.serving.siblings import Siblings
from map_project.serving.turns import Turns, Work
from map_project.sockets import is_readable

# How long a client may send nothing in the middle of a request, or take nothing of its answer.
STALLED_CLIENT_SECONDS = 10
# How often and how long a newcomer is left to a worker that has fewer connections.
_LEFT_TO_OTHERS_TIMES = 5
_LEFT_TO_OTHERS_SECONDS = 0.001
# How many objects may be made and not freed before cycles are looked for; Python's own 700 are fewer
# than the requests at work have.
_ALLOCATIONS_A_COLLECTION = 20_000
HAS_EPOLL = hasattr(select, "epoll")
# One thread at a time is told of a connection, and no other until it is armed again.
_ONCE_READABLE = select.EPOLLIN | select.EPOLLONESHOT if HAS_EPOLL else 0


class PlainWorker(ThreadWorker):
    """gunicorn's, with what every process of ours does beside; good enough to develop with, where there
    is no epoll.
    """

    def load_wsgi(self) -> None:
        super().load_wsgi()
        # Each look at gunicorn's configuration is three calls, and a request takes thirty looks. What
        # stands in the object itself is found first; in this process nothing changes any more.
        self.cfg.__dict__ |= {name: found.get() for name, found in self.cfg.settings.items()}
        # What is loaded stays: the collector of cycles need not go through it again and again, and a
        # request makes next to none.
        gc.collect()
        gc.freeze()
        gc.set_threshold(_ALLOCATIONS_A_COLLECTION, 10, 10)
        # By its name, as the application: it stands above this package.
        import_module("executions.background").begin()


class FollowingWorker(PlainWorker):
    """A worker whose threads take turns (`map_project.serving.turns`) at whichever connection has a
    request; with as many connections as its siblings; that drains when told to stop.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._siblings = Siblings(self)

    def init_process(self) -> None:
        self._stay_on_a_core()
        # What is accepted inherits it. gunicorn would let a client that stops in the middle of its
        # request hold a thread for ever.
        patience = struct.pack("ll", STALLED_CLIENT_SECONDS, 0)
        for listener in self.sockets:
            for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
                listener.setsockopt(socket.SOL_SOCKET, option, patience)
        self._readable = select.epoll()
        # Those that wait for a request, by their descriptors. Who takes one out has it alone.
        self.keepalived_conns: dict[int, TConn] = {}
        self._counting = threading.Lock()
        super().init_process()

    def _stay_on_a_core(self) -> None:
        """Where each core has as many workers as the others, a worker keeps to its own. Its threads hand
        the interpreter's lock on at each wait, a dozen times a request; the system would wake each of
        them on another core, and leave one without work meanwhile.
        """
        cores = sorted(os.sched_getaffinity(0))
        if self.cfg.workers % len(cores) == 0:
            # Where that may not be said it has to go without.
            with suppress(OSError):
                os.sched_setaffinity(0, {cores[self._siblings.place % len(cores)]})

    def get_thread_pool(self) -> Turns:
        return Turns(
            self._find_work, threads=settings.WEB_THREADS, active=settings.WEB_ACTIVE_THREADS
        )

    def run(self) -> None:
        self.poller.register(self.method_queue.fileno(), select.EPOLLIN, self._woken)
        self.tpool.begin()
        while self.alive and self.is_parent_alive():
            self.notify()
            self.set_accept_enabled(self.nr_conns < self.worker_connections)
            self.wait_for_and_dispatch_events(timeout=1.0)
            self._close_waiting(until=time.monotonic())
        self._drain()

    def _drain(self) -> None:
        """Takes who has connected by now, and closes the door: gunicorn's own would leave newcomers
        waiting for an answer that never comes. Then all that is under way is finished.
        """
        self.set_accept_enabled(False)
        for listener in self.sockets:
            self._take_all(listener)
            listener.close()
        self.sockets: list[Any] = []
        with self._counting:
            self.alive = False
            self._siblings.leave()
        # A client may be sending its next request on a connection that it was told is kept.
        lingering = time.monotonic() + STOP_KEEPALIVE_LINGER
        over = time.monotonic() + self.cfg.graceful_timeout
        while self.nr_conns and time.monotonic() < over:
            self.notify()
            self.wait_for_and_dispatch_events(timeout=0.2)
            now = time.monotonic()
            self._close_waiting(until=float("inf") if now > lingering else now)

    def handle_quit(self, sig: int, frame: Any) -> None:
        # Threads without work end with the process.
        Worker.handle_quit(self, sig, frame)

    def accept(self, listener: socket.socket) -> None:
        for _ in range(_LEFT_TO_OTHERS_TIMES):
            if not self._siblings.have_fewer():
                break
            time.sleep(_LEFT_TO_OTHERS_SECONDS)
        with suppress(BlockingIOError, ConnectionAbortedError):
            self._take(listener)

    def _take_all(self, listener: socket.socket) -> None:
        with suppress(BlockingIOError):
            while True:
                with suppress(ConnectionAbortedError):
                    self._take(listener)

    def _take(self, listener: socket.socket) -> None:
        accepted, address = listener.accept()
        client = Client(accepted.detach())
        connection = TConn(self.cfg, client, address, listener.getsockname())
        # It is served when there is something to read, and never waited for otherwise.
        connection.data_ready = True
        self._count(+1)
        self._await(connection, STALLED_CLIENT_SECONDS, self._readable.register)

    def _await(self, connection: TConn, seconds: float, arm: Callable[[int, int], None]) -> None:
        connection.timeout = time.monotonic() + seconds
        descriptor = connection.sock.fileno()
        self.keepalived_conns[descriptor] = connection
        # Closed at this very moment, because its time was over or the worker stops.
        with suppress(OSError):
            arm(descriptor, _ONCE_READABLE)

    def _find_work(self) -> Work:
        while True:
            for descriptor, _ in self._readable.poll(-1, 1):
                # None: its time was over at this very moment.
                if (connection := self.keepalived_conns.pop(descriptor, None)) is not None:
                    return partial(self._serve, connection)

    def _serve(self, connection: TConn) -> None:
        is_kept = False
        try:
            is_kept = self.handle(connection)
            # A body may have been read into the next request, which nobody is told of then.
            while is_kept and connection.parser.unreader.buf.getvalue():
                is_kept = self.handle(connection)
            connection.sock.flush()
        except OSError:
            # The client is gone.
            is_kept = False
        except BaseException:
            is_kept = False
            self.log.exception("a request ended otherwise than with an answer")
        if is_kept:
            self._await(connection, self.cfg.keepalive, self._readable.modify)
        else:
            with suppress(OSError):
                connection.close(graceful=True)
            self._is_closed()

    def _close_waiting(self, *, until: float) -> None:
        for descriptor, connection in list(self.keepalived_conns.items()):
            # One with a request waits for a thread.
            if connection.timeout > until or is_readable(descriptor):
                continue
            if self.keepalived_conns.pop(descriptor, None) is connection:
                connection.close()
                self._is_closed()

    def _is_closed(self) -> None:
        self._count(-1)
        if not self.alive:
            self.method_queue.defer(lambda: None)

    def _count(self, change: int) -> None:
        with self._counting:
            self.nr_conns += change
            if self.alive:
                self._siblings.tell(self.nr_conns)

    def _woken(self, _pipe: int) -> None:
        self.method_queue.run_callbacks(None)
