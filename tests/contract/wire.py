"""Raw HTTP, for requests that client libraries do not send."""

import socket
from collections.abc import Iterable

from tests.api import Answer


def exchange(port: int, *parts: bytes, end: bool = False, timeout: float = 20) -> Answer:
    """Send each part with one write, and parse what is received until the server closes.

    With `end` the sending side is closed first, as by a client that gives up.
    """
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as connection:
        for part in parts:
            connection.sendall(part)
        if end:
            connection.shutdown(socket.SHUT_WR)
        return parse(b"".join(iter(lambda: connection.recv(65536), b"")))


def parse(received: bytes) -> Answer:
    """Parse a response. Its content is everything after the headers."""
    head, _, content = received.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    pairs = (line.partition(": ") for line in lines)
    return Answer(int(first.split()[1]), {name.lower(): value for name, _, value in pairs}, content)


def request(
    method: str,
    target: str | bytes,
    *,
    key: str | None = None,
    headers: Iterable[bytes] = (),
    body: bytes = b"",
    host: bytes = b"localhost",
) -> bytes:
    """Return a request with `Connection: close`, and a Content-Length if it has a body."""
    target = target.encode() if isinstance(target, str) else target
    lines = [b"%s %s HTTP/1.1" % (method.encode(), target), b"Host: " + host, b"Connection: close"]
    if key:
        lines.append(b"X-API-KEY: " + key.encode())
    if body:
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join([*lines, *headers, b"", body])


def chunked(*chunks: bytes) -> bytes:
    """Return a chunked body, including the last chunk."""
    return b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in (*chunks, b""))
