"""gunicorn in this process, for `serve` and `up`: the settings are read, and refused, in one place."""

import signal
from collections.abc import Callable
from typing import Any

from django.core.cache import caches
from django.core.handlers.wsgi import WSGIHandler
from django.db import connections
from django.db.backends.postgresql.base import DatabaseWrapper
from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.util import import_app

from map_project import gunicorn_conf
from map_project.embedded.parent import Parent


def serve(*, when_ready: Callable[[], None] | None = None, parent: Parent | None = None) -> None:
    """Serve until a signal says stop, or the parent leaves.

    Ends with SystemExit: 0 after a signal, whichever it was. ``when_ready`` is called once the port is open.
    """
    _let_go_of_connections()
    _Server(when_ready or (lambda: None), parent).run()


def _let_go_of_connections() -> None:
    """The workers are forks: a connection that they share is one too many."""
    for connection in connections.all(initialized_only=True):
        connection.close()
        if isinstance(connection, DatabaseWrapper):
            connection.close_pool()
    caches.close_all()


class _Server(BaseApplication):
    def __init__(self, when_ready: Callable[[], None], parent: Parent | None) -> None:
        self._when_ready = when_ready
        self._parent = parent
        super().__init__()

    def load_config(self) -> None:
        for name, value in vars(gunicorn_conf).items():
            if name in self.cfg.settings:
                self.cfg.set(name, value)
        self.cfg.set("when_ready", lambda _arbiter: self._when_ready())
        self.cfg.set("post_worker_init", _leave_interrupts_to_the_arbiter)

    def load(self) -> WSGIHandler:
        # By its name: what is served stands above this package.
        application: WSGIHandler = import_app(gunicorn_conf.wsgi_app)
        return application

    def run(self) -> None:
        _Arbiter(self, self._parent).run()


class _Arbiter(Arbiter):
    """gunicorn's, which on any of the usual signals finishes the requests under way and ends."""

    def __init__(self, app: _Server, parent: Parent | None) -> None:
        self._parent = parent
        super().__init__(app)

    handle_int = handle_hup = Arbiter.handle_term

    def init_signals(self) -> None:
        hang_up = signal.getsignal(signal.SIGHUP)
        super().init_signals()
        if hang_up is signal.SIG_IGN:
            # Started with nohup.
            signal.signal(signal.SIGHUP, hang_up)

    def manage_workers(self) -> None:
        # Called every second, at the least.
        if self._parent and self._parent.is_leaving():
            self.handle_term()
        super().manage_workers()


def _leave_interrupts_to_the_arbiter(_worker: Any) -> None:
    # Ctrl-C reaches the workers as well, and would have them drop the requests under way.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
