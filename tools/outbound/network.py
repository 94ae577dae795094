"""Connections within the limits of a request: name look-up, address guard, sockets, TLS."""

import select
import socket
import ssl
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from threading import BoundedSemaphore, Thread
from typing import Any

import httpcore2

from tools.addresses import Address, is_allowed, parse_address

MAX_LOOKUPS = 256


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

    def seconds_left(self) -> float:
        """Return a positive number of seconds. Raises TimeoutError."""
        return _seconds_until(self.deadline)


def _seconds_until(deadline: float) -> float:
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise TimeoutError
    return seconds


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
        addresses = _resolve(host, port, deadline)
        if self._is_guarded and not all(map(is_allowed, addresses)):
            raise OutboundError(
                "refused",
                "This host resolves to an address that tools are not allowed to reach (private or reserved).",
            )
        return _SocketStream(_connect(addresses, port, deadline), self._limits)


class _SocketStream(httpcore2.NetworkStream):
    """A socket whose operations end by the deadline of the request; `timeout` is ignored."""

    def __init__(self, connection: socket.socket, limits: Limits) -> None:
        self._socket = connection
        self._limits = limits

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if self._limits.bytes_left <= 0:
            raise unusable_response("it is too large")
        self._socket.settimeout(self._limits.seconds_left())
        received = self._socket.recv(min(max_bytes, self._limits.bytes_left))
        self._limits.bytes_left -= len(received)
        return received

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        # Not sendall(): with TLS, its timeout starts anew for each record.
        view = memoryview(buffer)
        while view:
            self._socket.settimeout(self._limits.seconds_left())
            try:
                view = view[self._socket.send(view) :]
            except TimeoutError:
                raise
            except OSError as error:
                # httpcore2 then reads the response that a server may have sent before it closed.
                raise httpcore2.WriteError(str(error)) from error

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore2.NetworkStream:
        try:
            self._socket.settimeout(self._limits.seconds_left())
            secured = ssl_context.wrap_socket(self._socket, server_hostname=server_hostname)
        except BaseException:
            self.close()
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


def _connect(addresses: Sequence[Address], port: int, deadline: float) -> socket.socket:
    """Connect to the first address that accepts; each may use its share of the time left."""
    for index, address in enumerate(addresses):
        seconds = _seconds_until(deadline) / (len(addresses) - index)
        try:
            return _connect_address(address, port, seconds)
        except OSError:
            continue
    _seconds_until(deadline)
    raise OutboundError("unreachable", "The server cannot be reached.")


def _connect_address(address: Address, port: int, timeout_seconds: float) -> socket.socket:
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    connection = socket.socket(family, socket.SOCK_STREAM)
    try:
        connection.settimeout(timeout_seconds)
        connection.connect((str(address), port))
        # Headers and body are sent separately: Nagle's algorithm would delay the body.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except BaseException:
        connection.close()
        raise
    return connection


# getaddrinfo() has no timeout, so each look-up has a thread, which may outlive its request.
lookup_permits = BoundedSemaphore(MAX_LOOKUPS)


def _resolve(host: str, port: int, deadline: float) -> list[Address]:
    """Return the addresses of a host, at least one, in the order in which the system prefers them."""
    literal = parse_address(host)
    if literal is not None:
        return [literal]
    try:
        # Encoded here: an error in the thread would be logged with its traceback.
        host = host.encode("idna").decode()
        found = [parse_address(text) for text in _look_up(host, port, deadline)]
    except (socket.gaierror, UnicodeError):
        found = []
    addresses = [address for address in dict.fromkeys(found) if address is not None]
    if not addresses or None in found:
        raise OutboundError("unreachable", "The host name has no address.")
    return addresses


def _look_up(host: str, port: int, deadline: float) -> list[str]:
    permits = lookup_permits
    if not permits.acquire(timeout=_seconds_until(deadline)):
        raise TimeoutError
    lookup: Future[list[str]] = Future()
    lookup.add_done_callback(lambda _: permits.release())
    try:
        Thread(target=_run_lookup, args=(lookup, host, port), daemon=True).start()
    except RuntimeError as error:  # no thread can be started
        lookup.set_exception(error)
    return lookup.result(_seconds_until(deadline))


def _run_lookup(lookup: "Future[list[str]]", host: str, port: int) -> None:
    try:
        entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        lookup.set_result([str(entry[4][0]) for entry in entries])
    except Exception as error:
        lookup.set_exception(error)
