"""Servers that are not Redis, and addresses that do not accept: calls fail in time."""

import socket
import socketserver
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from ratelimit.limiter import Limiter
from tests.checkouts import eventually
from tests.own_redis import IN_TIME_SECONDS, is_refused_in_time, limiter_at, refusals, take


@pytest.fixture
def tenant() -> uuid.UUID:
    return uuid.uuid4()


class FakeServer(socketserver.ThreadingTCPServer):
    """Sends `reply` for everything it receives, and counts what it receives."""

    daemon_threads = True

    def __init__(self, reply: Callable[[socket.socket], None]) -> None:
        super().__init__(("127.0.0.1", 0), socketserver.BaseRequestHandler)
        self.reply = reply
        self.received = 0

    def finish_request(self, request: Any, client_address: Any) -> None:
        with suppress(OSError):
            while request.recv(65536):
                self.received += 1
                self.reply(request)


@contextmanager
def fake_server(reply: Callable[[socket.socket], None]) -> Iterator[tuple[FakeServer, Limiter]]:
    with FakeServer(reply) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server, limiter_at(f"redis://127.0.0.1:{server.server_address[1]}")
        finally:
            server.shutdown()
            thread.join()


INVALID_REPLIES = {
    "another type": b"+OK\r\n",
    "null array": b"*-1\r\n",
    "null string": b"$-1\r\n",
    "too few": b"*2\r\n:1\r\n:1\r\n",
    "too many": b"*6\r\n:1\r\n:1\r\n:0\r\n:1\r\n:1\r\n:1\r\n",
    "no number": b"*5\r\n:1\r\n:1\r\n:0\r\n:1\r\n$1\r\n1\r\n",
    "negative": b"*5\r\n:1\r\n:1\r\n:0\r\n:-1\r\n:1\r\n",
    "over the limit": b"*5\r\n:1\r\n:101\r\n:0\r\n:1\r\n:1\r\n",
    "denied under the limit": b"*5\r\n:0\r\n:5\r\n:1\r\n:1\r\n:1\r\n",
    "neither admitted nor denied": b"*5\r\n:7\r\n:5\r\n:1\r\n:1\r\n:1\r\n",
    "no protocol": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "bytes": bytes(range(256)),
    "huge": b"*100000\r\n",
    "deep": b"*1\r\n" * 10_000,
    "unfinished": b"*5\r\n:1\r\n:1\r\n",
    "loading": b"-LOADING Redis is loading the dataset in memory\r\n",
    "misconfigured": b"-MISCONF Redis is configured to save RDB snapshots\r\n",
    "not authenticated": b"-NOAUTH Authentication required.\r\n",
    "an error": b"-ERR anything\r\n",
}


@pytest.mark.parametrize("reply", INVALID_REPLIES.values(), ids=INVALID_REPLIES)
def test_an_invalid_reply(reply: bytes, tenant: uuid.UUID) -> None:
    with fake_server(lambda client: client.sendall(reply)) as (server, limiter):
        seconds = refusals(lambda: take(limiter, tenant))
        assert seconds[-1] <= IN_TIME_SECONDS
        assert eventually(lambda: server.received == len(seconds))


def test_noscript_is_followed_by_one_eval(tenant: uuid.UUID) -> None:
    with fake_server(lambda client: client.sendall(b"-NOSCRIPT No such\r\n")) as (server, limiter):
        seconds = refusals(lambda: take(limiter, tenant))
        assert seconds[-1] <= IN_TIME_SECONDS
        assert eventually(lambda: server.received == 2 * len(seconds))


def test_a_connection_closed_instead_of_a_reply(tenant: uuid.UUID) -> None:
    with fake_server(lambda client: client.shutdown(socket.SHUT_RDWR)) as (server, limiter):
        seconds = refusals(lambda: take(limiter, tenant))
        assert seconds[-1] <= IN_TIME_SECONDS
        assert eventually(lambda: server.received == len(seconds))


def test_a_second_reply_is_discarded(tenant: uuid.UUID) -> None:
    numbers = iter(range(1, 100))

    def twice(client: socket.socket) -> None:
        reply = b"*5\r\n:1\r\n:%d\r\n:0\r\n:1\r\n:1\r\n" % next(numbers)
        client.sendall(reply + b"*5\r\n:1\r\n:99\r\n:0\r\n:1\r\n:1\r\n")

    with fake_server(twice) as (_, limiter):
        assert [take(limiter, tenant).remaining for _ in range(5)] == [99, 98, 97, 96, 95]


def test_an_address_that_does_not_accept(tenant: uuid.UUID) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server, _filled(server):
        url = f"redis://127.0.0.1:{server.getsockname()[1]}"
        assert is_refused_in_time(lambda: take(limiter_at(url), tenant))


@contextmanager
def _filled(server: socket.socket) -> Iterator[None]:
    """Fill the queue of connections, so that one more connection hangs."""
    clients = [socket.socket() for _ in range(4)]
    for client in clients:
        client.setblocking(False)
        client.connect_ex(server.getsockname())
    time.sleep(0.05)
    yield
    for client in clients:
        client.close()
