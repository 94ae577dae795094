"""Clients that stop in the middle of a request cost the others nothing, or at worst a few seconds."""

import socket
import time
from contextlib import ExitStack

import pytest

from tests.api import LiveApi
from tests.live import serving

STALLED_SECONDS = 10
HEAD = b"POST /api/v1/tools HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
HALVES = pytest.mark.parametrize(
    "half", [HEAD, HEAD + b'Content-Length: 100\r\n\r\n{"name"'], ids=["head", "body"]
)


def stall(port: int, half: bytes, clients: int, until: ExitStack) -> None:
    for _ in range(clients):
        until.enter_context(socket.create_connection(("127.0.0.1", port))).sendall(half)
    time.sleep(0.5)


@pytest.mark.slow
@HALVES
def test_a_stalled_client_keeps_no_turn_from_the_others(half: bytes) -> None:
    own = {"WEB_CONCURRENCY": "1", "WEB_ACTIVE_THREADS": "2"}
    with serving(**own) as port, ExitStack() as stalled:
        stall(port, half, 40, stalled)
        for _ in range(10):
            started = time.monotonic()
            assert LiveApi(port).get("/live").status == 200
            assert time.monotonic() - started < STALLED_SECONDS / 5


@pytest.mark.slow
@HALVES
def test_a_stalled_client_is_given_up(half: bytes) -> None:
    threads = 2
    with serving(WEB_CONCURRENCY="1", WEB_THREADS=str(threads)) as port, ExitStack() as stalled:
        stall(port, half, threads, stalled)
        started = time.monotonic()
        assert LiveApi(port).get("/live").status == 200
        assert STALLED_SECONDS / 2 < time.monotonic() - started < 2.5 * STALLED_SECONDS


@pytest.mark.slow
def test_who_connects_and_says_nothing_has_no_thread() -> None:
    with serving(WEB_CONCURRENCY="1", WEB_THREADS="1") as port, ExitStack() as stalled:
        stall(port, b"", 20, stalled)
        started = time.monotonic()
        assert LiveApi(port).get("/live").status == 200
        assert time.monotonic() - started < STALLED_SECONDS / 5
