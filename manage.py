#!/usr/bin/env python
"""Django's command line. A command has this checkout's embedded servers running, where it uses them."""

import os
import signal
import sys
from contextlib import AbstractContextManager, nullcontext

from django.core.exceptions import ImproperlyConfigured
from django.core.management import execute_from_command_line
from django.db import OperationalError, ProgrammingError, connection

from map_project.embedded.errors import EmbeddedServersError
from map_project.embedded.servers import running_as_configured

# These tell something and touch nothing; `up` has to look at its port before anything else.
_WITHOUT_SERVERS = {"help", "version", "up"}


def main() -> None:
    """Run the command of the command line; what stands in its way is told in one sentence."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "map_project.settings")
    signal.signal(signal.SIGTERM, _terminate)
    try:
        with _servers(sys.argv[1:]):
            execute_from_command_line(sys.argv)
    except (ImproperlyConfigured, EmbeddedServersError) as error:
        sys.exit(str(error))
    except (OperationalError, ProgrammingError) as error:
        sentence = _told(error)
        if sentence is None or "--traceback" in sys.argv:
            raise
        sys.exit(sentence)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)


def _servers(arguments: list[str]) -> AbstractContextManager[None]:
    asks_for_help = not arguments or {"-h", "--help", "--version"} & set(arguments)
    if asks_for_help or arguments[0] in _WITHOUT_SERVERS:
        return nullcontext()
    return running_as_configured()


def _told(error: OperationalError | ProgrammingError) -> str | None:
    """What is the matter with the database; None where it is with us."""
    if reason := _unreachable():
        return f"The database does not answer (DATABASE_URL): {reason}."
    if isinstance(error, OperationalError):
        return f"The database gave up: {_first_line(error)}."
    if getattr(error.__cause__, "sqlstate", None) == "42P01":
        return "The database has not all tables: run `manage.py migrate` first."
    return None


def _unreachable() -> str:
    """Why no connection can be made, "" where one can. The pool, which failed, tells no reasons."""
    fresh = connection.copy()
    options = {**fresh.settings_dict["OPTIONS"], "pool": False}
    fresh.settings_dict = {**fresh.settings_dict, "OPTIONS": options}
    try:
        fresh.ensure_connection()
    except OperationalError as error:
        return _first_line(error).removeprefix("connection failed: ")
    fresh.close()
    return ""


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0].rstrip(".")


def _terminate(*_: object) -> None:
    # An exception, so that the servers are stopped on the way out.
    sys.exit(128 + signal.SIGTERM)


if __name__ == "__main__":
    main()
