"""The check that the server can listen on HOST and PORT, before anything else starts."""

import errno
import socket
from typing import Any

from map_project.embedded.errors import EmbeddedServersError
from map_project.embedded.waiting import wait_until

# The workers of a killed server hold the port until they notice that their parent ended.
RELEASE_TIMEOUT_SECONDS = 5.0


def await_port(host: str, port: int, *, name: str = "PORT") -> None:
    """Wait until the port is free. Raises EmbeddedServersError if the server cannot listen on it.

    `name` is that of its setting.
    """
    try:
        family, kind, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        if wait_until(lambda: _is_free(family, kind, address), RELEASE_TIMEOUT_SECONDS):
            return
    except OSError as error:
        raise EmbeddedServersError(
            f"Cannot serve on {host}:{port}: {error.strerror}. Set other values for HOST and {name}."
        ) from error
    raise EmbeddedServersError(
        f"Port {port} of {host} is in use by another program: stop it, or set another port, "
        f"for example {name}={port + 1 if port < 65535 else port - 1}."
    )


def _is_free(family: int, kind: int, address: Any) -> bool:
    with socket.socket(family, kind) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise
    return True
