"""An HTTP transport for the SDK whose waits end in time, all together.

httpx bounds each read of a socket, so that a server which sends a byte now and then is listened to
without end. Here every wait of an attempt ends by one deadline, and its answer may be so large and no
larger.
"""

import ssl
import threading
import time
from collections.abc import Iterable
from typing import Any

import httpcore2
import httpx2

MAX_ANSWER_BYTES = 32 * 1024 * 1024
# Not for longer than servers keep idle connections: many of them, for 5 s.
_IDLE_SECONDS = 4.0
_IDLE_CONNECTIONS = 100


class Bounds(threading.local):
    """Of what this thread asks for just now, in readings of `time.monotonic`."""

    run_deadline = float("inf")
    attempt_deadline = float("inf")
    bytes_left = MAX_ANSWER_BYTES

    def seconds_left(self) -> float:
        """Until the run's deadline."""
        return self.run_deadline - time.monotonic()


bounds = Bounds()


class BoundedTransport(httpx2.HTTPTransport):
    """As many connections as there are threads that ask; no proxies from the environment."""

    def __init__(self) -> None:
        context = httpx2.create_ssl_context()
        super().__init__(verify=context)
        # There is no public way to hand a network backend to httpx' own transport.
        self._pool = httpcore2.ConnectionPool(
            ssl_context=context,
            max_connections=None,
            max_keepalive_connections=_IDLE_CONNECTIONS,
            keepalive_expiry=_IDLE_SECONDS,
            network_backend=_Backend(),
        )

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """One attempt: the SDK makes several where the row says so."""
        seconds = request.extensions["timeout"]["read"]
        bounds.attempt_deadline = min(time.monotonic() + seconds, bounds.run_deadline)
        bounds.bytes_left = MAX_ANSWER_BYTES
        return super().handle_request(request)


class _Backend(httpcore2.SyncBackend):
    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.NetworkStream:
        seconds = _left(timeout, httpcore2.ConnectTimeout)
        return _Stream(super().connect_tcp(host, port, seconds, local_address, socket_options))


class _Stream(httpcore2.NetworkStream):
    def __init__(self, stream: httpcore2.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        found = self._stream.read(max_bytes, _left(timeout, httpcore2.ReadTimeout))
        bounds.bytes_left -= len(found)
        if bounds.bytes_left < 0:
            raise httpcore2.ReadError("the answer is too large")
        return found

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _left(timeout, httpcore2.WriteTimeout))

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore2.NetworkStream:
        seconds = _left(timeout, httpcore2.ConnectTimeout)
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, seconds))

    def close(self) -> None:
        self._stream.close()

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _left(timeout: float | None, error: type[Exception]) -> float:
    """The seconds for the next wait. Raises `error` where there are none."""
    left = bounds.attempt_deadline - time.monotonic()
    if left <= 0:
        raise error("the attempt took too long")
    return left if timeout is None else min(left, timeout)
