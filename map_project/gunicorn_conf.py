"""gunicorn's configuration, in production and under `make run` alike."""

import os
import resource
import sys
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.log import configure_logging
from gunicorn.glogging import Logger

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "map_project.settings")
try:
    host, port = settings.HOST, settings.PORT
except ImproperlyConfigured as error:
    sys.exit(str(error))
configure_logging(settings.LOGGING_CONFIG, settings.LOGGING)
# It reads the settings.
from map_project.serving.worker import HAS_EPOLL, FollowingWorker, PlainWorker  # noqa: E402


class CommonLog(Logger):
    """gunicorn's messages go where all others go, in the same form."""

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        for log in (self.error_log, self.access_log):
            log.handlers.clear()
            log.propagate = True


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

worker_class = FollowingWorker if HAS_EPOLL else PlainWorker
workers = settings.WEB_CONCURRENCY
# A plain worker's threads are all at work.
threads = settings.WEB_THREADS if HAS_EPOLL else settings.WEB_ACTIVE_THREADS
# Those that a thread serves, and those that are kept open between two requests.
worker_connections = threads + 1000
timeout = 60
graceful_timeout = settings.GRACEFUL_TIMEOUT_SECONDS

# Larger ones get gunicorn's own page, not our envelope: a line up to 8 KiB with its end (gunicorn's
# maximum), a header field up to 32 KiB without it.
limit_request_line = 8190
limit_request_field_size = 32 * 1024 + len("\r\n")

# Nobody's headers change a request's scheme or path here. Django looks at X-Forwarded-Proto itself, with
# HTTPS=1; so gunicorn need not find out at each request whose headers to believe.
forwarded_allow_ips = "*"
secure_scheme_headers: dict[str, str] = {}
forwarder_headers = ""

# Nobody steers the server through a socket in somebody's home.
control_socket_disable = True
logger_class = CommonLog
loglevel = "warning"

allow_open_files(2 * threads + worker_connections + 500)
