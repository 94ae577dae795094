"""The clients of `benchmarks.streams`, in a process of their own.

`python -m benchmarks.streams_clients` reads a `Job` as JSON from its standard input, and prints a `Found` as
JSON.
"""

import asyncio
import json
import re
import sys
import time
from dataclasses import asdict, dataclass, field
from typing import Any

_TOKEN = re.compile(rb"T(\d{19}) ")


@dataclass(frozen=True)
class Job:
    """Requests to one URL. `over_seconds` is the time in which the streams begin, evenly."""

    port: int
    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    streams: int
    over_seconds: float
    tokens: int
    # The text at the end of a complete response.
    end: str
    # The most requests at a time. Zero for all.
    clients: int = 0


@dataclass
class Found:
    """What the clients received. Latencies are in ms, from the time at which the stub sent the token."""

    first_ms: list[float] = field(default_factory=list)
    latencies_ms: list[float] = field(default_factory=list)
    most_open: int = 0
    wrong: list[str] = field(default_factory=list)


class Stream(asyncio.Protocol):
    """A request with its response."""

    def __init__(self, job: Job, found: Found, counts: dict[str, int]) -> None:
        self._job, self._found, self._counts = job, found, counts
        self._tail = b""
        self._status = b""
        self._last, self._received = 0, 0
        self._sent_ns = 0
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        body = json.dumps(self._job.body).encode()
        head = [
            f"POST {self._job.path} HTTP/1.1",
            "Host: 127.0.0.1",
            "Connection: close",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
            *(f"{name}: {value}" for name, value in self._job.headers.items()),
        ]
        self._sent_ns = time.monotonic_ns()
        transport.write("\r\n".join([*head, "", ""]).encode() + body)
        self._counts["open"] += 1
        self._found.most_open = max(self._found.most_open, self._counts["open"])

    def data_received(self, data: bytes) -> None:
        now = time.monotonic_ns()
        content = self._tail + data
        self._status = self._status or content[9:12]
        for match in _TOKEN.finditer(content):
            sent = int(match[1])
            # The whole text stands again in the last events.
            if sent > self._last:
                if not self._received:
                    self._found.first_ms.append((now - self._sent_ns) / 1e6)
                self._last = sent
                self._received += 1
                self._found.latencies_ms.append((now - sent) / 1e6)
        self._tail = content[-200:]

    def connection_lost(self, exc: Exception | None) -> None:
        self._counts["open"] -= 1
        is_complete = self._received == self._job.tokens and self._job.end.encode() in self._tail
        if self._status != b"200" or not is_complete:
            text = self._tail.decode(errors="replace")
            status = self._status.decode(errors="replace")
            self._found.wrong.append(f"{status}, {self._received} tokens, then {text}")
        self.closed.set_result(None)


async def run(job: Job) -> Found:
    """Begin all streams, and return after the end of the last one."""
    found, counts = Found(), {"open": 0}
    started = time.monotonic()
    clients = asyncio.Semaphore(job.clients or job.streams)

    async def follow(number: int) -> None:
        at = started + number * job.over_seconds / job.streams
        await asyncio.sleep(at - time.monotonic())
        async with clients:
            try:
                _, stream = await asyncio.get_running_loop().create_connection(
                    lambda: Stream(job, found, counts), "127.0.0.1", job.port
                )
                await stream.closed
            except OSError as error:
                found.wrong.append(repr(error))

    await asyncio.gather(*(follow(number) for number in range(job.streams)))
    return found


if __name__ == "__main__":
    print(json.dumps(asdict(asyncio.run(run(Job(**json.load(sys.stdin)))))))
