"""An HTTP transport for the SDK whose waits end in time, all together.

httpx bounds each read of a socket, so that a server which sends a byte now and then is listened to
without end. Here every wait of an attempt ends by one deadline, and its answer may be so large and no
larger. And httpx looks through all its connections at every request, which takes milliseconds when
hundreds of them wait for an answer; here the one used last is taken.
"""

import ssl
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
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


class BoundedTransport(httpx2.BaseTransport):
    """To one address: as many connections as there are threads that ask. Proxies that the environment
    names are not used.
    """

    def __init__(self) -> None:
        self._ssl_context = httpx2.create_ssl_context()
        # The one used last is the last.
        self._idle: deque[httpcore2.HTTPConnection] = deque()

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """One attempt: the SDK makes several where the row says so."""
        seconds = request.extensions["timeout"]["read"]
        bounds.attempt_deadline = min(time.monotonic() + seconds, bounds.run_deadline)
        bounds.bytes_left = MAX_ANSWER_BYTES
        url = request.url
        asked = httpcore2.Request(
            method=request.method,
            url=httpcore2.URL(
                scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
            ),
            headers=request.headers.raw,
            content=request.stream,
            extensions=request.extensions,
        )
        connection = self._connection(asked.url.origin)
        with _in_words_of_httpx():
            try:
                answer = connection.handle_request(asked)
            except BaseException:
                connection.close()
                raise
        if _encoding(answer) not in {b"", b"identity"}:
            # A few bytes may be gigabytes.
            connection.close()
            raise httpx2.RemoteProtocolError("the answer is compressed, which was not asked for")
        return httpx2.Response(
            status_code=answer.status,
            headers=answer.headers,
            stream=_Body(answer.stream, lambda: self._done_with(connection)),
            extensions=answer.extensions,
        )

    def close(self) -> None:
        """Closes what nobody uses; the rest is closed once its answer is read."""
        with suppress(IndexError):
            while True:
                self._idle.pop().close()

    def _connection(self, origin: httpcore2.Origin) -> httpcore2.HTTPConnection:
        with suppress(IndexError):
            while True:
                connection = self._idle.pop()
                if connection.can_handle_request(origin) and not connection.has_expired():
                    return connection
                connection.close()
        return httpcore2.HTTPConnection(
            origin=origin,
            ssl_context=self._ssl_context,
            keepalive_expiry=_IDLE_SECONDS,
            network_backend=_Backend(),
        )

    def _done_with(self, connection: httpcore2.HTTPConnection) -> None:
        if not connection.is_idle():
            connection.close()
            return
        self._idle.append(connection)
        with suppress(IndexError):
            while len(self._idle) > _IDLE_CONNECTIONS or self._idle[0].has_expired():
                self._idle.popleft().close()


def _encoding(answer: httpcore2.Response) -> bytes:
    found = [text for name, text in answer.headers if name.lower() == b"content-encoding"]
    return b",".join(found).strip().lower()


class _Body(httpx2.SyncByteStream):
    """The answer's bytes; once it is closed, its connection is free."""

    def __init__(self, stream: Any, done: Any) -> None:
        self._stream = stream
        self._done = done

    def __iter__(self) -> Iterator[bytes]:
        with _in_words_of_httpx():
            yield from self._stream

    def close(self) -> None:
        self._stream.close()
        self._done()


@contextmanager
def _in_words_of_httpx() -> Iterator[None]:
    """The SDK knows these."""
    try:
        yield
    except httpcore2.TimeoutException as error:
        raise httpx2.ReadTimeout(str(error)) from error
    except httpcore2.ConnectError as error:
        raise httpx2.ConnectError(str(error)) from error
    except (httpcore2.NetworkError, httpcore2.ProtocolError) as error:
        raise httpx2.RemoteProtocolError(str(error)) from error


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
