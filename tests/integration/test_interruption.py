"""Requests that are abandoned while they wait, and their connections."""

import ipaddress
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx2
import pytest
from django.conf import LazySettings

from tests.certificates import write_certificate
from tools import outbound
from tools.outbound import (
    OutboundError,
    OutboundTransport,
    interruptible,
    interruption,
    transport,
)

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"


@pytest.fixture(autouse=True)
def _frequent_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interruption, "CHECK_SECONDS", 0.3)


class Cancelled(Exception):
    """The exception of the check."""


class Check:
    """A check that raises when it is called for the second time."""

    def __init__(self, error: Exception | None = None) -> None:
        self.calls = 0
        self.error = error or Cancelled()

    def __call__(self) -> None:
        self.calls += 1
        if self.calls == 2:
            raise self.error


class Server:
    """A server on loopback for one connection. `was_closed` is set when the client closes it."""

    def __init__(self, listener: socket.socket) -> None:
        self.port: int = listener.getsockname()[1]
        self.was_closed = threading.Event()


@contextmanager
def server(behave: Callable[[socket.socket], object]) -> Iterator[Server]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        running = Server(listener)

        def serve() -> None:
            connection, _ = listener.accept()
            with suppress(OSError), connection:
                behave(connection)
            with suppress(OSError):
                while connection.fileno() >= 0 and connection.recv(65536):
                    pass
            running.was_closed.set()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield running


def read_until_closed(connection: socket.socket) -> None:
    while connection.recv(65536):
        pass


def answer_slowly(connection: socket.socket) -> None:
    """Send the head of a response and then a byte every 0.1 s."""
    connection.sendall(HEAD)
    for _ in range(1000):
        connection.sendall(b"x")
        time.sleep(0.1)


def answer_in_part(connection: socket.socket) -> None:
    connection.sendall(HEAD + b"x")
    read_until_closed(connection)


def read_nothing(connection: socket.socket) -> None:
    time.sleep(5)


def fetch(url: str, body: bytes = b"") -> bytes:
    guarded = OutboundTransport(max_response_bytes=10_000, is_guarded=False)
    with httpx2.Client(transport=guarded, timeout=30) as client:
        return client.post(url, content=body).content


@contextmanager
def interrupted_in_time(check: Check) -> Iterator[None]:
    """Check that the block ends within two parts of the waiting, with the exception of the check."""
    started = time.monotonic()
    with pytest.raises(outbound.Interrupted) as caught, interruptible(check):
        yield
    assert caught.value.error is check.error
    assert 0.5 < time.monotonic() - started < 5


@pytest.mark.parametrize(
    "behave", [read_until_closed, answer_in_part, answer_slowly], ids=lambda each: each.__name__
)
def test_a_request_that_waits_for_its_response_is_abandoned(
    behave: Callable[[socket.socket], object],
) -> None:
    with server(behave) as running:
        with interrupted_in_time(Check()):
            fetch(f"http://127.0.0.1:{running.port}/")
        assert running.was_closed.wait(5)


def test_a_request_that_cannot_be_sent_is_abandoned() -> None:
    with server(read_nothing) as running, interrupted_in_time(Check()):
        fetch(f"http://127.0.0.1:{running.port}/", b"x" * 50_000_000)


def test_a_connection_that_is_not_accepted_is_abandoned() -> None:
    with socket.socket() as listener, socket.socket() as first, socket.socket() as second:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for other in (first, second):
            other.setblocking(False)
            with suppress(BlockingIOError):
                other.connect(listener.getsockname())
        with interrupted_in_time(Check()):
            fetch(f"http://127.0.0.1:{listener.getsockname()[1]}/")


def test_a_name_that_is_not_resolved_is_abandoned(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: ended.wait(30) and [])
    with interrupted_in_time(Check()):
        fetch("http://slow.test/")
    ended.set()


@pytest.mark.parametrize(
    "error", [Cancelled(), TimeoutError(), OSError(), ssl.SSLError(), ValueError()], ids=repr
)
def test_a_tool_call_ends_with_the_exception_of_the_check(
    error: Exception, settings: LazySettings
) -> None:
    settings.TOOL_ALLOWED_NETWORKS = (ipaddress.ip_network("127.0.0.1/32"),)
    with server(read_until_closed) as running:
        with pytest.raises(type(error)) as caught, interruptible(Check(error)):
            send_to(running.port, seconds=30)
        assert caught.value is error
        assert running.was_closed.wait(5)


def send_to(port: int, seconds: float) -> outbound.Response:
    return outbound.send(
        outbound.Origin("http", "127.0.0.1", port),
        method="GET",
        path="/",
        headers=[],
        body=b"",
        max_bytes=100,
        deadline=time.monotonic() + seconds,
    )


def test_a_check_does_not_extend_the_deadline(settings: LazySettings) -> None:
    settings.TOOL_ALLOWED_NETWORKS = (ipaddress.ip_network("127.0.0.1/32"),)
    started = time.monotonic()
    with (
        server(read_until_closed) as running,
        interruptible(lambda: None),
        pytest.raises(OutboundError, match="timeout"),
    ):
        send_to(running.port, seconds=1)
    assert 0.9 < time.monotonic() - started < 5


def test_the_block_ends() -> None:
    inner, outer = Check(), Check()
    with interruptible(outer):
        with interruptible(inner):
            pass
        outbound.pause(0.4)
    outbound.pause(0.4)
    assert (inner.calls, outer.calls) == (0, 1)


def test_a_pause_is_abandoned() -> None:
    with interrupted_in_time(Check()):
        outbound.pause(30)


class TestTls:
    @pytest.fixture
    def context(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ssl.SSLContext]:
        write_certificate("localhost", tmp_path / "cert.pem", tmp_path / "key.pem")
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
        transport.tls_context.cache_clear()
        yield context
        transport.tls_context.cache_clear()

    @pytest.mark.parametrize(
        "behave",
        [read_until_closed, answer_in_part, answer_slowly],
        ids=lambda each: each.__name__,
    )
    def test_a_response(
        self, context: ssl.SSLContext, behave: Callable[[socket.socket], object]
    ) -> None:
        def behave_with_tls(connection: socket.socket) -> None:
            with context.wrap_socket(connection, server_side=True) as secured:
                behave(secured)

        with server(behave_with_tls) as running:
            with interrupted_in_time(Check()):
                fetch(f"https://localhost:{running.port}/")
            assert running.was_closed.wait(5)

    def test_a_large_body_arrives_at_a_server_that_reads_in_pauses(
        self, context: ssl.SSLContext
    ) -> None:
        """What was written in part is written again with the same bytes after each check."""
        received = bytearray()

        def behave(connection: socket.socket) -> None:
            with context.wrap_socket(connection, server_side=True) as secured:
                time.sleep(1)
                while len(received) < len(body) + 50:
                    received.extend(secured.recv(65536))
                secured.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

        body = bytes(range(256)) * 40_000
        with server(behave) as running, interruptible(lambda: None):
            assert fetch(f"https://localhost:{running.port}/", body) == b"ok"
        assert received.endswith(body)

    def test_a_handshake(self, context: ssl.SSLContext) -> None:
        with server(read_until_closed) as running:
            with interrupted_in_time(Check()):
                fetch(f"https://localhost:{running.port}/")
            assert running.was_closed.wait(5)


_GEVENT = """
from gevent import monkey; monkey.patch_all()
import sys, time
import gevent, httpx2
from tools.outbound import Interrupted, OutboundTransport, interruptible

class Cancelled(Exception):
    pass

def request(number):
    def check():
        if number < 20:
            raise Cancelled

    client = httpx2.Client(transport=OutboundTransport(max_response_bytes=100, is_guarded=False))
    with interruptible(check):
        try:
            client.get(sys.argv[1], timeout=4)
        except Interrupted as error:
            return type(error.error).__name__, round(time.monotonic() - started)
        except Exception as error:
            return error.code, 0

started = time.monotonic()
requests = [gevent.spawn(request, number) for number in range(40)]
found = [request.get() for request in requests]
assert [name for name, _ in found] == ["Cancelled"] * 20 + ["timeout"] * 20, found
assert all(seconds < 3 for _, seconds in found), found
"""


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_under_gevent_each_request_has_its_check(scheme: str) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=64) as silent:
        url = f"{scheme}://127.0.0.1:{silent.getsockname()[1]}/"
        subprocess.run([sys.executable, "-c", _GEVENT, url], check=True)
