"""Clients that stop in the middle of a request do not keep others from being served."""

import socket
import time
from contextlib import ExitStack

import pytest

from tests.api import LiveApi
from tests.live import serving

CLIENTS = 2_000
HEAD = b"POST /api/v1/tools HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
PARTS = {"nothing": b"", "head": HEAD, "body": HEAD + b'Content-Length: 100\r\n\r\n{"name"'}

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("part", PARTS.values(), ids=PARTS)
def test_two_thousand_stalled_clients_do_not_stop_service(part: bytes) -> None:
    with serving() as port, ExitStack() as stalled:
        for _ in range(CLIENTS):
            client = stalled.enter_context(socket.create_connection(("127.0.0.1", port)))
            client.sendall(part)
        for _ in range(20):
            started = time.monotonic()
            assert LiveApi(port).get("/live").status == 200
            assert time.monotonic() - started < 3.0


@pytest.mark.parametrize("part", PARTS.values(), ids=PARTS)
def test_a_stalled_client_is_disconnected(part: bytes) -> None:
    with serving(WEB_CONCURRENCY="1") as port, ExitStack() as stalled:
        client = stalled.enter_context(socket.create_connection(("127.0.0.1", port)))
        client.sendall(part)
        client.settimeout(60)
        while client.recv(65536):
            pass
