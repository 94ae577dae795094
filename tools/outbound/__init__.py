"""Outbound HTTP: the only package that opens connections to other hosts.

`OutboundTransport` is an httpx2 transport, for instance for the SDK of a model provider; `send` makes the
request of a tool. Both limit a request as a whole: one deadline from the name look-up to the last byte,
and a number of received bytes. Redirects are not followed, and no proxy or .netrc is used.

Tenants write the URLs of tools, which must not reach the network of this process. The address guard
resolves a host once, refuses it unless all of its addresses are allowed, and connects to one of these
addresses, while TLS verifies the host name.

`interruptible` abandons the requests of a block that waits.
"""

import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

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
    "interruptible",
    "original_errors",
    "pause",
    "read_end",
    "send",
]

DEFAULT_PORTS = {"http": 80, "https": 443}
MAX_TOOL_RESPONSE_BYTES = 2 * 1024 * 1024
# Each costs CPU time, however small it is: 64 KiB in chunks of one byte cost 0.4 s.
MAX_TOOL_RESPONSE_CHUNKS = 5_000

_transport = OutboundTransport(
    max_response_bytes=MAX_TOOL_RESPONSE_BYTES, is_guarded=True, allows_compression=True
)


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
    seconds = deadline - time.monotonic()
    request = httpx2.Request(
        method,
        httpx2.URL(scheme=origin.scheme, host=origin.host, port=origin.port),
        headers=[("Connection", "close"), ("Accept-Encoding", "identity"), *headers],
        content=body or None,
        # The target is sent as it is, while httpx2 would normalize the path of a URL.
        extensions={"target": path.encode("ascii"), "timeout": {"read": seconds}},
    )
    with original_errors(), closing(_transport.handle_request(request)) as response:
        body_decoder = decoder(
            response.headers.get("content-encoding", ""), max_bytes=MAX_TOOL_RESPONSE_BYTES
        )
        received = bytearray()
        for number, chunk in enumerate(response.iter_raw()):
            if number >= MAX_TOOL_RESPONSE_CHUNKS:
                raise unusable_response("it has too many chunks")
            received += body_decoder.decode(chunk)
            if len(received) > max_bytes:
                break
        else:
            body_decoder.finish()
    return Response(
        status=response.status_code,
        headers=dict(response.headers),
        body=bytes(received[:max_bytes]),
        is_truncated=len(received) > max_bytes,
    )
