#!/usr/bin/env python
"""Django's command-line utility. The embedded servers run for the duration of a command."""

import os
import signal
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

# PYTHONSAFEPATH removes this folder from the path, here and in the server that `up` starts.
os.environ.pop("PYTHONSAFEPATH", None)
if (_checkout := str(Path(__file__).resolve().parent)) not in sys.path:
    sys.path.insert(0, _checkout)

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management import execute_from_command_line
from django.db import OperationalError, ProgrammingError, connection

from map_project.embedded.servers import running_as_configured
from map_project.postgresql.queries import sqlstate

# They need no server, except `up`, which starts them itself after it has checked its port.
_WITHOUT_SERVERS = {"help", "version", "up", "stop", "reset"}


def main() -> None:
    """Run the command. An error of the configuration or the database is reported in one sentence."""
    # Not setdefault(): the shell may have the settings of another project.
    os.environ["DJANGO_SETTINGS_MODULE"] = "map_project.settings"
    signal.signal(signal.SIGTERM, _terminate)
    try:
        with _servers(sys.argv[1:]):
            execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        sys.exit(str(error))
    except (OperationalError, ProgrammingError) as error:
        message = _database_message(error)
        if message is None or "--traceback" in sys.argv:
            raise
        sys.exit(message)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)


def _servers(arguments: list[str]) -> AbstractContextManager[None]:
    is_help = not arguments or {"-h", "--help", "--version"} & set(arguments)
    if is_help or arguments[0] in _WITHOUT_SERVERS:
        return nullcontext()
    return running_as_configured()


def _database_message(error: OperationalError | ProgrammingError) -> str | None:
    """A message for operators, or None if the error is a bug in this code."""
    # The embedded server was started for this command, and has stopped by now.
    if not settings.EMBEDDED_POSTGRES and (reason := _connection_error()):
        return f"The database does not answer (DATABASE_URL): {reason}."
    if isinstance(error, OperationalError):
        return f"Database error: {_first_line(error)}."
    if sqlstate(error) == "42P01":
        return "Database tables are missing: run `manage.py migrate` first."
    return None


def _connection_error() -> str:
    """The reason why no connection can be made, or "". Without the pool, whose errors have no reason."""
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
    # The exception stops the embedded servers.
    sys.exit(128 + signal.SIGTERM)


if __name__ == "__main__":
    main()
