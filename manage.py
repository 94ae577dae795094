#!/usr/bin/env python
"""Django's command line. A command has this checkout's embedded servers running, where it uses them."""

import os
import signal
import sys
from contextlib import AbstractContextManager, nullcontext

from django.core.exceptions import ImproperlyConfigured
from django.core.management import execute_from_command_line

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
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)


def _servers(arguments: list[str]) -> AbstractContextManager[None]:
    asks_for_help = not arguments or {"-h", "--help", "--version"} & set(arguments)
    if asks_for_help or arguments[0] in _WITHOUT_SERVERS:
        return nullcontext()
    return running_as_configured()


def _terminate(*_: object) -> None:
    # An exception, so that the servers are stopped on the way out.
    sys.exit(128 + signal.SIGTERM)


if __name__ == "__main__":
    main()
