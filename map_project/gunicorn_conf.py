"""gunicorn's configuration, in production and under `make run` alike."""

from django.conf import settings

wsgi_app = "map_project.wsgi:application"
# An IPv6 address stands in brackets.
bind = (
    f"[{settings.HOST}]:{settings.PORT}"
    if ":" in settings.HOST
    else f"{settings.HOST}:{settings.PORT}"
)

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
