"""A stub of a model provider that streams: Chat Completions on loopback, with a fixed rate of tokens.

Runs in its own process: `python -m benchmarks.streams_stub RATE TOKENS` prints its port. Each token is the
time at which it was sent (`time.monotonic_ns`, which all processes of a machine share). Requests without
`stream` are answered at once.
"""

import asyncio
import json
import sys
import time

from benchmarks.inflight_provider import RESPONSE

_TICK_SECONDS = 0.002
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def _frame(delta: dict[str, str], finish_reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    chunk = {
        "id": "chatcmpl-stub",
        "object": "chat.completion.chunk",
        "created": 1_700_000_000,
        "model": "stub",
        "choices": [choice],
    }
    return _chunk(f"data: {json.dumps(chunk)}\n\n".encode())


def _chunk(content: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(content), content)


# A token has 20 digits, so that all frames have one length.
_TOKEN = "T%019d "
_TEMPLATE = _frame({"content": _TOKEN % 0}).replace((_TOKEN % 0).encode(), _TOKEN.encode())
_USAGE = {
    "id": "chatcmpl-stub",
    "object": "chat.completion.chunk",
    "created": 1_700_000_000,
    "model": "stub",
    "choices": [],
    "usage": {"prompt_tokens": 25, "completion_tokens": 7, "total_tokens": 32},
}
_END = (
    _frame({}, "stop")
    + _chunk(f"data: {json.dumps(_USAGE)}\n\n".encode())
    + _chunk(b"data: [DONE]\n\n")
    + _chunk(b"")
)


class Streams:
    """The open streams, in groups whose tokens are due at the same tick."""

    def __init__(self, rate: float, tokens: int) -> None:
        self._tokens = tokens
        self._groups: list[dict[Connection, int]] = [
            {} for _ in range(round(1 / rate / _TICK_SECONDS))
        ]
        self._tick = 0

    def begin(self, connection: "Connection") -> None:
        """Send the first token of a stream, and the others at later ticks."""
        connection.write(_HEAD + _token())
        self._groups[self._tick % len(self._groups)][connection] = self._tokens - 1

    async def run(self) -> None:
        """Send the tokens that are due, until cancelled."""
        started = time.monotonic()
        while True:
            self._tick += 1
            await asyncio.sleep(started + self._tick * _TICK_SECONDS - time.monotonic())
            group = self._groups[self._tick % len(self._groups)]
            for connection, left in [*group.items()]:
                if left and not connection.is_closed:
                    connection.write(_token())
                    group[connection] = left - 1
                else:
                    connection.end(_END)
                    del group[connection]


def _token() -> bytes:
    return _TEMPLATE % time.monotonic_ns()


class Connection(asyncio.Protocol):
    """A connection of a client, with one request at a time."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self._received = b""
        self._transport: asyncio.Transport
        self._closes = False
        self.is_closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_closed = True

    def write(self, content: bytes) -> None:
        """Send a part of a response."""
        if not self.is_closed:
            self._transport.write(content)

    def end(self, content: bytes) -> None:
        """Send the last part of a response."""
        self.write(content)
        if self._closes and not self.is_closed:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, separator, body = self._received.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0] or 0)
        if not separator or len(body) < length:
            return
        self._received = b""
        self._closes = b"connection: close" in head.lower()
        if json.loads(body).get("stream"):
            self._streams.begin(self)
        else:
            self.end(RESPONSE)


async def serve(rate: float, tokens: int) -> None:
    """Serve until the process is killed."""
    streams = Streams(rate, tokens)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(streams), "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await streams.run()


if __name__ == "__main__":
    asyncio.run(serve(float(sys.argv[1]), int(sys.argv[2])))
