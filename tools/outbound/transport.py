"""The httpx2 transport: one deadline and one size limit per request, and idle connections."""

import ssl
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from threading import Lock
from typing import Any

import httpcore2
import httpx2

from tools.outbound.interruption import Wait
from tools.outbound.network import Limits, NetworkBackend, OutboundError, unusable_response

MAX_HEADER_BYTES = 32 * 1024
# Many servers close a connection that was idle for 5 seconds.
IDLE_SECONDS = 4.0
MAX_END_SECONDS = 0.1


class OutboundTransport(httpx2.BaseTransport):
    """Sends HTTP/1.1 requests. Each has one deadline and a limit on received bytes.

    A request's read timeout is the time for the whole request; its connect timeout, if any, is the time for
    the connection. Up to `max_idle_connections` are kept for further requests. They are not kept in an
    `httpcore2.ConnectionPool`, which examines all of its connections twice per request: with 1,000
    requests in flight, that doubles the CPU time of a request. With `allows_compression`, the caller limits
    what a compressed body expands to.
    """

    def __init__(
        self,
        *,
        max_response_bytes: int,
        is_guarded: bool,
        max_idle_connections: int = 0,
        allows_compression: bool = False,
    ) -> None:
        self._max_response_bytes = max_response_bytes
        self._is_guarded = is_guarded
        self._max_idle_connections = max_idle_connections
        self._allows_compression = allows_compression
        # In the order in which they became idle.
        self._idle: list[_Connection] = []
        self._lock = Lock()

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send the request and read the headers of the response. Raises OutboundError, and Interrupted."""
        core_request = _core_request(request)
        connection = self._connection(core_request.url.origin)
        connection.limits.deadline = time.monotonic() + request.extensions["timeout"]["read"]
        connection.limits.bytes_left = MAX_HEADER_BYTES
        connection.limits.wait = Wait()
        try:
            with _outbound_errors():
                response = connection.handle_request(core_request)
            if not self._allows_compression:
                _refuse_compression(response)
        except BaseException:
            connection.close()
            raise
        connection.limits.bytes_left = self._max_response_bytes
        return httpx2.Response(
            status_code=response.status,
            headers=response.headers,
            stream=_ResponseStream(self, connection, response),
            extensions={**response.extensions, "limits": connection.limits},
        )

    def release(self, connection: "_Connection") -> None:
        """Keep a connection whose response was read to its end, and close any other."""
        if self._max_idle_connections == 0 or not connection.is_idle():
            connection.close()
            return
        with self._lock:
            while len(self._idle) >= self._max_idle_connections or (
                self._idle and self._idle[0].has_expired()
            ):
                self._idle.pop(0).close()
            self._idle.append(connection)

    def close(self) -> None:
        """Close the idle connections."""
        with self._lock:
            while self._idle:
                self._idle.pop().close()

    def _connection(self, origin: httpcore2.Origin) -> "_Connection":
        """Return the connection to this origin that was used last, or a new one."""
        with self._lock:
            for connection in reversed(self._idle):
                if connection.can_handle_request(origin):
                    self._idle.remove(connection)
                    if not connection.has_expired():
                        return connection
                    connection.close()
        return _Connection(origin, is_guarded=self._is_guarded)


def read_end(response: httpx2.Response, chunks: Iterable[bytes]) -> None:
    """Read the rest of a response whose content is complete, so that its connection can be used again.

    If the response does not end at once, its connection is closed. Raises Interrupted.
    """
    limits: Limits = response.extensions["limits"]
    limits.deadline = min(limits.deadline, time.monotonic() + MAX_END_SECONDS)
    with suppress(OutboundError):
        for _ in chunks:
            pass


class _Connection(httpcore2.HTTPConnection):
    """An HTTP connection, and the limits of the request that it serves."""

    def __init__(self, origin: httpcore2.Origin, *, is_guarded: bool) -> None:
        self.limits = Limits()
        super().__init__(
            origin,
            ssl_context=tls_context() if origin.scheme == b"https" else None,
            keepalive_expiry=IDLE_SECONDS,
            network_backend=NetworkBackend(self.limits, is_guarded=is_guarded),
        )


@cache
def tls_context() -> ssl.SSLContext:
    """Return the context that verifies certificates. OpenSSL reads SSL_CERT_FILE when it is created."""
    return ssl.create_default_context()


class _ResponseStream(httpx2.SyncByteStream):
    """The body of a response. Closing it releases the connection."""

    def __init__(
        self, transport: OutboundTransport, connection: _Connection, response: httpcore2.Response
    ) -> None:
        self._transport = transport
        self._connection = connection
        self._stream: Any = response.stream

    def __iter__(self) -> Iterator[bytes]:
        with _outbound_errors():
            yield from self._stream

    def close(self) -> None:
        self._stream.close()
        self._transport.release(self._connection)


def _core_request(request: httpx2.Request) -> httpcore2.Request:
    url = request.url
    return httpcore2.Request(
        method=request.method,
        url=httpcore2.URL(
            scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
        ),
        headers=request.headers.raw,
        content=request.stream,
        extensions=request.extensions,
    )


def _refuse_compression(response: httpcore2.Response) -> None:
    """Refuse a compressed body: a few bytes may expand to gigabytes."""
    for name, value in response.headers:
        if name.lower() == b"content-encoding" and value.lower() not in {b"", b"identity"}:
            raise unusable_response("it is compressed, although compression was not requested")


@contextmanager
def _outbound_errors() -> Iterator[None]:
    try:
        yield
    except TimeoutError:
        raise OutboundError("timeout", "The server did not respond in time.") from None
    except ssl.SSLCertVerificationError:
        message = "The server's certificate could not be verified."
        raise OutboundError("tls_failed", message) from None
    except ssl.SSLError:
        raise OutboundError("tls_failed", "The TLS connection to the server failed.") from None
    except OSError:
        raise OutboundError("unreachable", "The connection to the server failed.") from None
    except httpcore2.LocalProtocolError:
        raise OutboundError("bad_request", "The request is not valid HTTP.") from None
    except httpcore2.RemoteProtocolError:
        raise unusable_response("it is empty, incomplete or not HTTP") from None
