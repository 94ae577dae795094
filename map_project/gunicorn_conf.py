"""gunicorn's configuration, in production and under `make run` alike."""

import os
import resource
import socket
import struct
import sys
from importlib import import_module
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.log import configure_logging
from gunicorn.glogging import Logger
from gunicorn.workers.gthread import ThreadWorker

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "map_project.settings")
try:
    host, port = settings.HOST, settings.PORT
except ImproperlyConfigured as error:
    sys.exit(str(error))
configure_logging(settings.LOGGING_CONFIG, settings.LOGGING)


# How long a client may send nothing in the middle of a request, or take nothing of its answer.
STALLED_CLIENT_SECONDS = 10


class CommonLog(Logger):
    """gunicorn's messages go where all others go, in the same form."""

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        for log in (self.error_log, self.access_log):
            log.handlers.clear()
            log.propagate = True


class DrainingWorker(ThreadWorker):
    """A worker that is told to stop, or whose parent is gone, takes who has connected by then, and
    closes the door: gunicorn's own would leave newcomers waiting for an answer that never comes.
    """

    def init_process(self) -> None:
        # What is accepted inherits it. gunicorn would let a client that stops in the middle of its
        # request hold a thread for ever.
        patience = struct.pack("ll", STALLED_CLIENT_SECONDS, 0)
        for listener in self.sockets:
            for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
                listener.setsockopt(socket.SOL_SOCKET, option, patience)
        super().init_process()

    def load_wsgi(self) -> None:
        super().load_wsgi()
        # By its name, as the application: it stands above this package.
        import_module("executions.background").begin()

    def get_thread_pool(self) -> Any:
        from map_project.api.turns import TurnPool

        return TurnPool(threads=settings.WEB_THREADS, active=settings.WEB_ACTIVE_THREADS)

    def set_accept_enabled(self, enabled: bool) -> None:
        super().set_accept_enabled(enabled)
        if enabled or (self.alive and self.ppid == os.getppid()):
            return
        for listener in self.sockets:
            self._take_all(listener)
            listener.close()
        self.sockets: list[Any] = []

    def _take_all(self, listener: Any) -> None:
        before = -1
        while before < self.nr_conns:
            before = self.nr_conns
            self.accept(listener)


def allow_open_files(wanted: int) -> None:
    """As many as that, or as are allowed: the usual 1,024 are fewer than the runs a process may have in
    flight, each of which has two connections.
    """
    allowed, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most != resource.RLIM_INFINITY:
        wanted = min(wanted, most)
    if resource.RLIM_INFINITY != allowed < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


wsgi_app = "map_project.wsgi:application"
# An IPv6 address stands in brackets.
bind = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

worker_class = DrainingWorker
workers = settings.WEB_CONCURRENCY
threads = settings.WEB_THREADS
# Those that a thread serves, and those that are kept open between two requests.
worker_connections = threads + 1000
timeout = 60
graceful_timeout = settings.GRACEFUL_TIMEOUT_SECONDS

# Larger ones get gunicorn's own page, not our envelope: a line up to 8 KiB with its end (gunicorn's
# maximum), a header field up to 32 KiB without it.
limit_request_line = 8190
limit_request_field_size = 32 * 1024 + len("\r\n")

# Nobody steers the server through a socket in somebody's home.
control_socket_disable = True
logger_class = CommonLog
loglevel = "warning"

allow_open_files(2 * threads + worker_connections + 500)
