"""Connections within the limits of a request: name look-up, address guard, sockets, TLS."""

import os
import select
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent import futures
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from threading import BoundedSemaphore, Thread
from typing import Any, TypeVar

import httpcore2

from tools.addresses import Address, is_allowed, parse_address
from tools.outbound.interruption import Wait

MAX_LOOKUPS = 256

Result = TypeVar("Result")


class OutboundError(Exception):
    """A request got no usable response.

    `code` is `refused`, `unreachable`, `tls_failed`, `timeout`, `bad_request` or `bad_answer`; `text` is a
    sentence for a model.
    """

    def __init__(self, code: str, text: str) -> None:
        super().__init__(code)
        self.code = code
        self.text = text


def unusable_response(reason: str) -> OutboundError:
    """Return the error for a response that cannot be used."""
    return OutboundError("bad_answer", f"The server's response cannot be used: {reason}.")


@dataclass(slots=True)
class Limits:
    """What is left for the current request of a connection. `deadline` is a value of `time.monotonic`."""

    deadline: float = 0.0
    bytes_left: int = 0
    wait: Wait = field(default_factory=Wait)


class NetworkBackend(httpcore2.NetworkBackend):
    """Opens the socket of a connection. The guard checks each address of the host."""

    def __init__(self, limits: Limits, *, is_guarded: bool) -> None:
        self._limits = limits
        self._is_guarded = is_guarded

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.NetworkStream:
        """Connect to the host. Raises OutboundError or OSError."""
        deadline = self._limits.deadline
        if timeout is not None:
            deadline = min(deadline, time.monotonic() + timeout)
        addresses = _resolve(host, port, deadline, self._limits.wait)
        if self._is_guarded and not all(map(is_allowed, addresses)):
            raise OutboundError(
                "refused",
                "This host resolves to an address that tools are not allowed to reach (private or reserved).",
            )
        connection = _connect(addresses, port, deadline, self._limits.wait)
        return _SocketStream(connection, self._limits)


class _SocketStream(httpcore2.NetworkStream):
    """A socket whose operations end by the deadline of the request; `timeout` is ignored."""

    def __init__(self, connection: socket.socket, limits: Limits) -> None:
        self._socket = connection
        self._limits = limits

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if self._limits.bytes_left <= 0:
            raise unusable_response("it is too large")
        size = min(max_bytes, self._limits.bytes_left)
        received = _in_time(self._socket, self._limits, partial(self._socket.recv, size))
        self._limits.bytes_left -= len(received)
        return received

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        # Not sendall(): with TLS, its timeout starts anew for each record.
        view = memoryview(buffer)
        while view:
            try:
                sent = _in_time(self._socket, self._limits, partial(self._socket.send, view))
            except TimeoutError:
                raise
            except OSError as error:
                # httpcore2 then reads the response that a server may have sent before it closed.
                raise httpcore2.WriteError(str(error)) from error
            view = view[sent:]

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore2.NetworkStream:
        connection = self._socket
        try:
            connection = secured = ssl_context.wrap_socket(
                connection, server_hostname=server_hostname, do_handshake_on_connect=False
            )
            _in_time(secured, self._limits, secured.do_handshake)
        except BaseException:
            connection.close()
            raise
        return _SocketStream(secured, self._limits)

    def close(self) -> None:
        self._socket.close()

    def get_extra_info(self, info: str) -> Any:
        if info != "is_readable":
            return None
        # An idle connection is readable when the server has closed it.
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return bool(poll.poll(0))


def _in_time(connection: socket.socket, limits: Limits, operation: Callable[[], Result]) -> Result:
    """Return the result of an operation that waits for the socket. Raises TimeoutError, and Interrupted."""
    while True:
        connection.settimeout(limits.wait.seconds(limits.deadline))
        try:
            return operation()
        except TimeoutError as error:
            # Without a number, it is that of `settimeout`: `seconds` raises one after the deadline.
            if error.errno:
                raise


def _connect(addresses: Sequence[Address], port: int, deadline: float, wait: Wait) -> socket.socket:
    """Connect to the first address that accepts; each may use its share of the time left."""
    for index, address in enumerate(addresses):
        now = time.monotonic()
        try:
            return _connect_address(
                address, port, now + (deadline - now) / (len(addresses) - index), wait
            )
        except OSError:
            continue
    wait.seconds(deadline)
    raise OutboundError("unreachable", "The server cannot be reached.")


def _connect_address(address: Address, port: int, deadline: float, wait: Wait) -> socket.socket:
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    connection = socket.socket(family, socket.SOCK_STREAM)
    try:
        connection.setblocking(False)
        try:
            connection.connect((str(address), port))
        except BlockingIOError:
            _finish_connecting(connection, deadline, wait)
        # Headers and body are sent separately: Nagle's algorithm would delay the body.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except BaseException:
        connection.close()
        raise
    return connection


def _finish_connecting(connection: socket.socket, deadline: float, wait: Wait) -> None:
    poll = select.poll()
    poll.register(connection, select.POLLOUT)
    while not poll.poll(wait.seconds(deadline) * 1000):
        pass
    error = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if error:
        raise OSError(error, os.strerror(error))


# getaddrinfo() has no timeout, so each look-up has a thread, which may outlive its request.
lookup_permits = BoundedSemaphore(MAX_LOOKUPS)


def _resolve(host: str, port: int, deadline: float, wait: Wait) -> list[Address]:
    """Return the addresses of a host, at least one, in the order in which the system prefers them."""
    literal = parse_address(host)
    if literal is not None:
        return [literal]
    try:
        # Encoded here: an error in the thread would be logged with its traceback.
        host = host.encode("idna").decode()
        found = [parse_address(text) for text in _look_up(host, port, deadline, wait)]
    except (socket.gaierror, UnicodeError):
        found = []
    addresses = [address for address in dict.fromkeys(found) if address is not None]
    if not addresses or None in found:
        raise OutboundError("unreachable", "The host name has no address.")
    return addresses


def _look_up(host: str, port: int, deadline: float, wait: Wait) -> list[str]:
    permits = lookup_permits
    while not permits.acquire(timeout=wait.seconds(deadline)):
        pass
    lookup: Future[list[str]] = Future()
    lookup.add_done_callback(lambda _: permits.release())
    try:
        Thread(target=_run_lookup, args=(lookup, host, port), daemon=True).start()
    except RuntimeError as error:  # no thread can be started
        lookup.set_exception(error)
    while not futures.wait([lookup], wait.seconds(deadline)).done:
        pass
    return lookup.result()


def _run_lookup(lookup: "Future[list[str]]", host: str, port: int) -> None:
    try:
        entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        lookup.set_result([str(entry[4][0]) for entry in entries])
    except Exception as error:
        lookup.set_exception(error)
