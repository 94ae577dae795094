"""gunicorn's configuration, in production and under `make run` alike."""

import os
import sys

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "map_project.settings")
try:
    host, port = settings.HOST, settings.PORT
except ImproperlyConfigured as error:
    sys.exit(str(error))

wsgi_app = "map_project.wsgi:application"
# An IPv6 address stands in brackets.
bind = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

worker_class = "gthread"
workers = settings.WEB_CONCURRENCY
threads = settings.WEB_THREADS
timeout = 60
graceful_timeout = 20

# Larger ones get gunicorn's own page, not our envelope: a line up to 8 KiB with its end (gunicorn's
# maximum), a header field up to 32 KiB without it.
limit_request_line = 8190
limit_request_field_size = 32 * 1024 + len("\r\n")

# Nobody steers the server through a socket in somebody's home.
control_socket_disable = True
loglevel = "warning"
