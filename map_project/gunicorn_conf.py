"""gunicorn's configuration, for `make run` and for the container. `map_project.server` starts it."""

import gc
import os
import resource
import signal
import sys
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.log import configure_logging
from gevent import get_hub
from gunicorn.glogging import Logger

os.environ["DJANGO_SETTINGS_MODULE"] = "map_project.settings"
try:
    host, port, metrics_port = settings.HOST, settings.PORT, settings.METRICS_PORT
except ImproperlyConfigured as error:
    sys.exit(str(error))
configure_logging(settings.LOGGING_CONFIG, settings.LOGGING)


class PropagatingLogger(Logger):
    """Passes gunicorn's messages on to the root logger, which has the handlers of the settings."""

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        for log in (self.error_log, self.access_log):
            log.handlers.clear()
            log.propagate = True


wsgi_app = "map_project.wsgi:application"
# An IPv6 address needs brackets.
_address = f"[{host}]" if ":" in host else host
bind = [f"{_address}:{number}" for number in (port, metrics_port) if number]

worker_class = "gevent"
workers = settings.WEB_CONCURRENCY
worker_connections = settings.WEB_CONNECTIONS
timeout = 60
graceful_timeout = settings.GRACEFUL_TIMEOUT_SECONDS
# Seconds until the next request on a connection has to have arrived with all its headers.
keepalive = 5
# Seconds in which a client has to send the next part of a body, or accept a response beyond what the
# kernel buffers.
STALLED_CLIENT_SECONDS = 10
DNS_THREADS = 256

# A larger request gets gunicorn's own error page: a request line over 8 KiB (gunicorn's maximum), or a
# header field over 32 KiB.
limit_request_line = 8190
limit_request_field_size = 32 * 1024 + len("\r\n")

# No header changes the scheme or the path of a request here. With HTTPS=1, Django reads X-Forwarded-Proto.
forwarded_allow_ips = "*"
secure_scheme_headers: dict[str, str] = {}
forwarder_headers = ""

# gunicorn's control socket is in the home directory of the user and is not used.
control_socket_disable = True
logger_class = PropagatingLogger
loglevel = "warning"


def post_worker_init(worker: Any) -> None:
    """Start the periodic work of a server process, after the application has been loaded."""
    # Django must be set up before its models are imported.
    from executions import background

    background.begin()
    # gevent resolves names in native threads, 10 by default: a tenant's tools with hosts whose name servers
    # do not answer would stop all look-ups.
    get_hub().threadpool.maxsize = DNS_THREADS
    # Ctrl-C reaches the workers as well and would abort requests. The arbiter tells them when to stop.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # The collector need not scan what was loaded at the start again and again.
    gc.collect()
    gc.freeze()


def pre_request(worker: Any, req: Any) -> None:
    """Limit how long a client may stall in the middle of a body or of a response."""
    # gunicorn has no setting for it and does not document this attribute.
    # `test_a_stalled_client_is_disconnected` fails if it goes away.
    req.unreader.sock.settimeout(STALLED_CLIENT_SECONDS)


def _raise_open_files_limit(wanted: int) -> None:
    """Raise the soft limit of open files: a run has a connection to its client and one to its provider."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if resource.RLIM_INFINITY != soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


_raise_open_files_limit(2 * worker_connections + 500)
