"""The server process: `python -m map_project.server`.

gunicorn with its gevent worker. Everything that blocks (sockets, locks, DNS) has to be patched before
another module imports it, so this module patches first and imports the rest afterwards.
"""

# ruff: noqa: E402

from gevent import monkey

monkey.patch_all()

import os
import sys

from map_project.embedded.errors import EmbeddedServersError
from map_project.embedded.parent import terminate_after_stdin
from map_project.embedded.ports import await_port


def main() -> None:
    """Serve on HOST and PORT until SIGTERM or SIGINT. A start-up error is one sentence on stderr.

    With `--stop-with-stdin`, the server also stops when its standard input ends: then the process that
    started it has ended.
    """
    os.environ["DJANGO_SETTINGS_MODULE"] = "map_project.settings"
    # Evaluates the settings, and exits with a sentence if one of them is not valid. Before gunicorn, whose
    # import raises ValueError for a WEB_CONCURRENCY that is not a number.
    from map_project import gunicorn_conf  # isort: skip
    from gunicorn.app.wsgiapp import run

    try:
        await_port(gunicorn_conf.host, gunicorn_conf.port)
        if gunicorn_conf.metrics_port:
            await_port(gunicorn_conf.host, gunicorn_conf.metrics_port, name="METRICS_PORT")
    except EmbeddedServersError as error:
        sys.exit(str(error))
    if "--stop-with-stdin" in sys.argv:
        # A native thread: it is not copied to the workers, which are forks.
        monkey.get_original("_thread", "start_new_thread")(terminate_after_stdin, (os.getpid(),))
    sys.argv = ["gunicorn", "--config", "python:map_project.gunicorn_conf"]
    run()


if __name__ == "__main__":
    main()
