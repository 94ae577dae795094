"""Clients that stop in the middle of a request cost the others a few seconds, and not the service."""

import socket
import time
from contextlib import ExitStack

import pytest

from tests.api import LiveApi
from tests.live import serving

THREADS = 2
STALLED_SECONDS = 10
HEAD = b"POST /api/v1/tools HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    "half", [HEAD, HEAD + b'Content-Length: 100\r\n\r\n{"name"'], ids=["head", "body"]
)
def test_a_stalled_client_is_given_up(half: bytes) -> None:
    with serving(WEB_CONCURRENCY="1", WEB_THREADS=str(THREADS)) as port, ExitStack() as stalled:
        for _ in range(THREADS):
            client = stalled.enter_context(socket.create_connection(("127.0.0.1", port)))
            client.sendall(half)
        time.sleep(0.5)
        started = time.monotonic()
        assert LiveApi(port).get("/live").status == 200
        assert STALLED_SECONDS / 2 < time.monotonic() - started < 2.5 * STALLED_SECONDS
