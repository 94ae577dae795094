"""The one door to the outside: every call of a tool goes through `send`.

What a tenant writes decides where a call goes, so the network that this process stands in must not be
reachable: http and https only; the name is resolved once, every address it has must be one of the
public internet (or of `TOOL_ALLOWED_NETWORKS`), and the connection goes to an address that was
looked at, while TLS checks the name. No redirect is followed, no proxy or netrc of the environment
is used; one deadline bounds everything from the look-up to the last byte, and what is read is bounded
as well.
"""

import socket
import ssl
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cache
from threading import BoundedSemaphore, Thread
from typing import Any

import h11

from tools.addresses import Address, allowed, parsed

MAX_HEADER_BYTES = 32 * 1024
# All that may come in, whatever it is: headers, chunks' lengths, answers before the answer.
MAX_RECEIVED_BYTES = 2 * 1024 * 1024
_MAX_PRELIMINARY = 20
_READ_BYTES = 32 * 1024
# A look-up cannot be given a timeout, so each has a thread, which may outlive its call.
_lookups = BoundedSemaphore(256)


class OutboundError(Exception):
    """A call did not come to an answer. `code` is for programs, `text` a sentence for a model."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(code)
        self.code = code
        self.text = text


@dataclass(frozen=True, slots=True)
class Target:
    """Where a call goes. `host` is a name or an address, without brackets, in lower case."""

    scheme: str
    host: str
    port: int

    @property
    def authority(self) -> str:
        """As the Host header has it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"


DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. Header names are in lower case; `body` ends after the bytes that were wanted,
    and `cut` says that there was more.
    """

    status: int
    headers: dict[str, str]
    body: bytes
    cut: bool


def send(
    target: Target,
    *,
    method: str,
    path: str,
    headers: Sequence[tuple[str, str]],
    body: bytes,
    max_bytes: int,
    deadline: float,
) -> Answer:
    """One request, one answer; `path` with its query is ASCII. `deadline` is of `time.monotonic`.

    Raises OutboundError: `refused`, `unreachable`, `tls_failed`, `timeout`, `bad_answer`.
    """
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEADER_BYTES)
    request = _request(connection, target, method=method, path=path, headers=headers, body=body)
    try:
        with _Stream(_connected(target, deadline), deadline) as stream:
            if target.scheme == "https":
                stream.start_tls(target.host)
            stream.write(request)
            return _answer(connection, stream, max_bytes)
    except TimeoutError:
        raise _too_late() from None
    except ssl.SSLCertVerificationError:
        message = "The server's certificate is not valid for its name."
        raise OutboundError("tls_failed", message) from None
    except ssl.SSLError:
        raise OutboundError("tls_failed", "The server does not speak TLS as it should.") from None
    except OSError:
        raise OutboundError("unreachable", "The connection to the server broke.") from None


def _too_late() -> OutboundError:
    return OutboundError("timeout", "There was no answer in time.")


def _left(deadline: float) -> float:
    """The seconds until then, more than 0. Raises TimeoutError."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


# --- where it goes


def _connected(target: Target, deadline: float) -> socket.socket:
    """A connection to one of the addresses of the name, all of which are allowed."""
    addresses = _addresses(target, deadline)
    if not all(map(allowed, addresses)):
        message = "The address of this host is not one that tools may reach."
        raise OutboundError("refused", message)
    for index, address in enumerate(addresses):
        try:
            # What is left is shared with those that come after.
            return _connect(address, target.port, _left(deadline) / (len(addresses) - index))
        except OSError:
            _left(deadline)
    raise OutboundError("unreachable", "The server cannot be reached.")


def _connect(address: Address, port: int, timeout_seconds: float) -> socket.socket:
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    connection = socket.socket(family, socket.SOCK_STREAM)
    try:
        connection.settimeout(timeout_seconds)
        # Digits, which nobody looks up again.
        connection.connect((str(address), port))
    except BaseException:
        connection.close()
        raise
    return connection


def _addresses(target: Target, deadline: float) -> list[Address]:
    """Of the host, at least one, in the order in which the system would try them."""
    literal = parsed(target.host)
    if literal is not None:
        return [literal]
    found = [parsed(text) for text in _looked_up(target.host, target.port, deadline)]
    addresses = [address for address in dict.fromkeys(found) if address is not None]
    if not addresses or None in found:
        raise OutboundError("unreachable", "This host has no address.")
    return addresses


def _looked_up(host: str, port: int, deadline: float) -> list[str]:
    permits = _lookups
    if not permits.acquire(timeout=_left(deadline)):
        raise TimeoutError
    answer: Future[list[str]] = Future()
    try:
        Thread(target=_look_up, args=(host, port, answer, permits), daemon=True).start()
    except BaseException:
        permits.release()
        raise
    try:
        return answer.result(_left(deadline))
    except (OSError, UnicodeError) as error:
        if isinstance(error, TimeoutError) and not answer.done():
            raise
        raise OutboundError("unreachable", "This host has no address.") from None


def _look_up(host: str, port: int, answer: "Future[list[str]]", permits: BoundedSemaphore) -> None:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        answer.set_result([str(entry[4][0]) for entry in found])
    except BaseException as error:
        answer.set_exception(error)
    finally:
        permits.release()


# --- what is said


class _Stream:
    """A connection on which every wait ends by the deadline."""

    def __init__(self, connection: socket.socket, deadline: float) -> None:
        self._connection = connection
        self._deadline = deadline
        self._received = 0

    def __enter__(self) -> "_Stream":
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def start_tls(self, host: str) -> None:
        self._connection.settimeout(_left(self._deadline))
        self._connection = _tls().wrap_socket(self._connection, server_hostname=host)

    def write(self, data: bytes) -> None:
        # Not sendall(): TLS would begin its timeout anew with each record.
        view = memoryview(data)
        while view:
            self._connection.settimeout(_left(self._deadline))
            view = view[self._connection.send(view[:_READ_BYTES]) :]

    def read(self) -> bytes:
        self._connection.settimeout(_left(self._deadline))
        data = self._connection.recv(_READ_BYTES)
        self._received += len(data)
        if self._received > MAX_RECEIVED_BYTES:
            raise _bad_answer("it is too long")
        return data


@cache
def _tls() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


def _request(
    connection: h11.Connection,
    target: Target,
    *,
    method: str,
    path: str,
    headers: Sequence[tuple[str, str]],
    body: bytes,
) -> bytes:
    """As it goes over the wire; h11 refuses what would not be one request."""
    own = [("Host", target.authority), ("Connection", "close"), ("Accept-Encoding", "identity")]
    if body or method in {"POST", "PUT", "PATCH"}:
        own.append(("Content-Length", str(len(body))))
    try:
        events: list[Any] = [h11.Request(method=method, target=path, headers=[*own, *headers])]
    except h11.LocalProtocolError:
        raise OutboundError("bad_request", "The request cannot be sent as HTTP.") from None
    events += [h11.Data(data=body)] if body else []
    return b"".join(connection.send(event) or b"" for event in [*events, h11.EndOfMessage()])


def _answer(connection: h11.Connection, stream: _Stream, max_bytes: int) -> Answer:
    head: h11.Response | None = None
    headers: dict[str, str] = {}
    body = bytearray()
    try:
        for event in _events(connection, stream):
            if isinstance(event, h11.Response):
                head, headers = event, _told(event)
            elif isinstance(event, h11.Data):
                body += event.data
            if len(body) > max_bytes:
                break
    except h11.RemoteProtocolError:
        raise _bad_answer("it is not HTTP, or it ends too early") from None
    if head is None:
        raise _bad_answer("it is empty")
    return Answer(head.status_code, headers, bytes(body[:max_bytes]), len(body) > max_bytes)


def _events(connection: h11.Connection, stream: _Stream) -> Iterator[Any]:
    """Until the answer is whole."""
    preliminary = 0
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(stream.read())
            continue
        preliminary += isinstance(event, h11.InformationalResponse)
        if preliminary > _MAX_PRELIMINARY:
            raise _bad_answer("it does not begin")
        yield event
        if event is h11.PAUSED or isinstance(event, h11.EndOfMessage | h11.ConnectionClosed):
            return


def _told(head: h11.Response) -> dict[str, str]:
    headers = {name.decode(): value.decode("latin-1") for name, value in head.headers}
    if headers.get("content-encoding", "identity").strip().lower() not in {"", "identity"}:
        # A few bytes may be gigabytes.
        raise _bad_answer("it is compressed, which was not asked for")
    return headers


def _bad_answer(reason: str) -> OutboundError:
    return OutboundError("bad_answer", f"The server's answer cannot be used: {reason}.")
