"""Outbound HTTP: the only package that opens connections to other hosts.

`OutboundTransport` is an httpx2 transport, for instance for the SDK of a model provider; `send` and
`opened` make the request of a tool. All limit a request as a whole: one deadline from the name look-up to
the last byte, and a number of received bytes. Redirects are not followed, and no proxy or .netrc is used.

Tenants write the URLs of tools, which must not reach the network of this process. The address guard
resolves a host once, refuses it unless all of its addresses are allowed, and connects to one of these
addresses, while TLS verifies the host name.

`interruptible` abandons the requests of a block that waits.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial

import httpx2

from tools.outbound.compression import decoder
from tools.outbound.interruption import Interrupted, interruptible, original_errors, pause
from tools.outbound.network import OutboundError, unusable_response
from tools.outbound.transport import OutboundTransport, read_end

__all__ = [
    "DEFAULT_PORTS",
    "Interrupted",
    "Origin",
    "OutboundError",
    "OutboundTransport",
    "Response",
    "ToolResponse",
    "interruptible",
    "opened",
    "original_errors",
    "pause",
    "read_end",
    "send",
    "tool_transport",
]

DEFAULT_PORTS = {"http": 80, "https": 443}
MAX_TOOL_RESPONSE_BYTES = 2 * 1024 * 1024
# Each costs CPU time, however small it is: 64 KiB in chunks of one byte cost 0.4 s.
MAX_TOOL_RESPONSE_CHUNKS = 5_000


def tool_transport(*, max_idle_connections: int = 0) -> OutboundTransport:
    """Return a guarded transport for the requests of tools."""
    return OutboundTransport(
        max_response_bytes=MAX_TOOL_RESPONSE_BYTES,
        is_guarded=True,
        max_idle_connections=max_idle_connections,
        allows_compression=True,
    )


_transport = tool_transport()


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme, host and port of a URL. `host` is a name or an address, lower-case and without brackets."""

    scheme: str
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Response:
    """The response to a tool. Header names are in lower case.

    `body` is decompressed and has at most the requested number of bytes.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    is_truncated: bool


@dataclass(frozen=True, slots=True)
class ToolResponse:
    """A response to a tool whose body has not been read. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    # Decompressed. Raises OutboundError, also if there are too many chunks.
    chunks: Iterator[bytes]
    # Reads the rest of a response whose content is complete. See `read_end`.
    finish: Callable[[], None]


def send(
    origin: Origin,
    *,
    method: str,
    path: str,
    headers: Sequence[tuple[str, str]],
    body: bytes,
    max_bytes: int,
    deadline: float,
) -> Response:
    """Send the request of a tool. Raises OutboundError, and the exceptions of `interruptible`.

    `path` includes the query and is ASCII; `deadline` is a value of `time.monotonic`.
    """
    headers = [("Connection", "close"), *headers]
    with opened(
        _transport, origin, method=method, path=path, headers=headers, body=body, deadline=deadline
    ) as response:
        received = bytearray()
        for chunk in response.chunks:
            received += chunk
            if len(received) > max_bytes:
                break
    return Response(
        status=response.status,
        headers=response.headers,
        body=bytes(received[:max_bytes]),
        is_truncated=len(received) > max_bytes,
    )


@contextmanager
def opened(
    transport: OutboundTransport,
    origin: Origin,
    *,
    method: str,
    path: str,
    headers: Sequence[tuple[str, str]],
    body: bytes,
    deadline: float,
) -> Iterator[ToolResponse]:
    """Send the request of a tool, as `send` does, and close the response at the end of the block."""
    request = httpx2.Request(
        method,
        httpx2.URL(scheme=origin.scheme, host=origin.host, port=origin.port),
        headers=[("Accept-Encoding", "identity"), *headers],
        content=body or None,
        # The target is sent as it is, while httpx2 would normalize the path of a URL.
        extensions={
            "target": path.encode("ascii"),
            "timeout": {"read": deadline - time.monotonic()},
        },
    )
    with original_errors(), closing(transport.handle_request(request)) as response:
        chunks = _chunks(response)
        yield ToolResponse(
            response.status_code,
            dict(response.headers),
            chunks,
            finish=partial(read_end, response, chunks),
        )


def _chunks(response: httpx2.Response) -> Iterator[bytes]:
    body_decoder = decoder(
        response.headers.get("content-encoding", ""), max_bytes=MAX_TOOL_RESPONSE_BYTES
    )
    for number, chunk in enumerate(response.iter_raw()):
        if number >= MAX_TOOL_RESPONSE_CHUNKS:
            raise unusable_response("it has too many chunks")
        yield body_decoder.decode(chunk)
    body_decoder.finish()
