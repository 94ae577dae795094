"""Clients that stop in the middle of a request do not keep others from being served."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest

from tests.api import LiveApi
from tests.live import serving

CLIENTS = 2_000
HEAD = b"POST /api/v1/tools HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
PARTS = {"nothing": b"", "head": HEAD, "body": HEAD + b'Content-Length: 100\r\n\r\n{"name"'}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with serving() as found:
        yield found


def is_served(port: int, part: bytes) -> bool:
    """Return whether requests were served while the last of the stalled clients was connected."""
    with ExitStack() as stalled:
        for _ in range(CLIENTS):
            client = stalled.enter_context(socket.create_connection(("127.0.0.1", port)))
            client.sendall(part)
        for _ in range(20):
            assert LiveApi(port).get("/live").status == 200
        client.setblocking(False)
        with suppress(ConnectionResetError):
            try:
                client.recv(1)
            except BlockingIOError:
                return True
        return False


@pytest.mark.parametrize("part", PARTS.values(), ids=PARTS)
def test_two_thousand_stalled_clients_do_not_stop_service(port: int, part: bytes) -> None:
    # A stalled client is disconnected after ten seconds. A busy machine may need as long for the requests.
    assert any(is_served(port, part) for _ in range(3))


def test_a_stalled_client_is_disconnected(port: int) -> None:
    with ExitStack() as stalled:
        clients = {}
        for name, part in PARTS.items():
            client = stalled.enter_context(socket.create_connection(("127.0.0.1", port)))
            client.sendall(part)
            client.settimeout(60)
            clients[name] = client
        for client in clients.values():
            while client.recv(65536):
                pass
