"""A scripted model provider on loopback with the wire format of Chat Completions, also as a stream."""

import json
import re
import select
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


def completion(
    text: str | None = "Hello.",
    *,
    calls: list[tuple[str, str]] | None = None,
    finish_reason: str | None = None,
    usage: dict[str, int] | None = None,
) -> dict[str, Any]:
    """Return a completion. `calls` are names and arguments of tool calls."""
    tool_calls = [
        {
            "id": f"call_{number}",
            "type": "function",
            "function": {"name": name, "arguments": arguments},
        }
        for number, (name, arguments) in enumerate(calls or ())
    ]
    message = {"role": "assistant", "content": text} | (
        {"tool_calls": tool_calls} if tool_calls else {}
    )
    reason = finish_reason or ("tool_calls" if tool_calls else "stop")
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "stub",
        "choices": [{"index": 0, "message": message, "finish_reason": reason}],
        "usage": usage or {"prompt_tokens": 12, "completion_tokens": 3, "total_tokens": 15},
    }


@dataclass
class StubResponse:
    """An HTTP response.

    `length` is its Content-Length, `pause_seconds` the delay before it, and `drip_seconds` the delay between
    its bytes, including the headers.
    """

    status: int = 200
    body: bytes | dict[str, Any] = field(default_factory=completion)
    headers: dict[str, str] = field(default_factory=dict)
    length: int | None = None
    pause_seconds: float = 0.0
    drip_seconds: float = 0.0

    def raw(self) -> bytes:
        body = self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()
        length = len(body) if self.length is None else self.length
        headers = {"Content-Type": "application/json", "Content-Length": str(length)} | self.headers
        lines = [
            f"HTTP/1.1 {self.status} X",
            *(f"{name}: {text}" for name, text in headers.items()),
        ]
        return "\r\n".join([*lines, "", ""]).encode() + body


# A part of a stream: bytes, the data of an event as JSON, or a pause in seconds.
Part = bytes | dict[str, Any] | float
DONE = b"data: [DONE]\n\n"


@dataclass
class StubStream:
    """A response that is sent in parts, with `delay_seconds` before each.

    Its body is chunked, or ends with the connection. With `cut_at`, the connection is closed after this
    number of bytes, which are counted from the end of the headers and include the framing.
    """

    parts: Sequence[Part]
    delay_seconds: float = 0.0
    cut_at: int | None = None
    is_chunked: bool = True
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)

    def head(self) -> bytes:
        framing = {"Transfer-Encoding": "chunked"} if self.is_chunked else {"Connection": "close"}
        headers = {"Content-Type": "text/event-stream"} | framing | self.headers
        lines = [
            f"HTTP/1.1 {self.status} X",
            *(f"{name}: {text}" for name, text in headers.items()),
        ]
        return "\r\n".join([*lines, "", ""]).encode()

    def body(self) -> list[bytes | float]:
        """Return the bytes of each part in its framing, and the pauses."""
        body = [
            part if isinstance(part, float | int) else self._framed(part) for part in self.parts
        ]
        return [*body, b"0\r\n\r\n"] if self.is_chunked else body

    def size(self) -> int:
        """Return the number of bytes of the body."""
        return sum(len(part) for part in self.body() if isinstance(part, bytes))

    def _framed(self, part: bytes | dict[str, Any]) -> bytes:
        content = part if isinstance(part, bytes) else event(part)
        return b"%x\r\n%s\r\n" % (len(content), content) if self.is_chunked else content


def event(data: Any, name: str = "") -> bytes:
    """Return a server-sent event with JSON as its data."""
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {json.dumps(data)}\n\n".encode()


def chunk(
    delta: dict[str, Any] | None = None,
    *,
    finish_reason: str | None = None,
    index: int = 0,
    **fields: Any,
) -> dict[str, Any]:
    """Return a chunk of a completion with one choice. `fields` are those of the chunk."""
    choice = {"index": index, "delta": delta or {}, "finish_reason": finish_reason}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1_700_000_000,
        "model": "stub",
        "choices": [choice],
        **fields,
    }


def call_delta(
    index: int | None = 0,
    call_id: str | None = None,
    name: str | None = None,
    arguments: Any = None,
    **fields: Any,
) -> dict[str, Any]:
    """Return the delta of a tool call. Fields that are None are left out."""
    function = {"name": name, "arguments": arguments}
    call = {
        "index": index,
        "id": call_id,
        "type": "function" if call_id else None,
        "function": {key: value for key, value in function.items() if value is not None},
        **fields,
    }
    return {"tool_calls": [{key: value for key, value in call.items() if value is not None}]}


def streamed(answer: dict[str, Any] | None = None, **options: Any) -> StubStream:
    """Return the stream of a completion as OpenAI sends it: words, and arguments in pieces.

    `options` are those of `StubStream`.
    """
    answer = answer or completion()
    (choice,) = answer["choices"]
    message = choice["message"]
    words = re.findall(r"\S+\s*|\s+", message["content"] or "")
    usage = chunk(usage=answer["usage"]) | {"choices": []}
    parts: list[Part] = [
        chunk({"role": "assistant", "content": ""}),
        *(chunk({"content": word}) for word in words),
        *(chunk(delta) for delta in _call_deltas(message.get("tool_calls") or ())),
        chunk(finish_reason=choice["finish_reason"]),
        usage,
        DONE,
    ]
    return StubStream(parts, **options)


def _call_deltas(calls: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for index, call in enumerate(calls):
        function = call["function"]
        yield call_delta(index, call["id"], function["name"], "")
        for arguments in re.findall("(?s).{1,5}", function["arguments"]):
            yield call_delta(index, arguments=arguments)


HANG = StubResponse(pause_seconds=60)
CUT = StubResponse(length=100_000)


def error(status: int, message: str = "no", **headers: str) -> StubResponse:
    """Return an error in the format of the API."""
    body = {"error": {"message": message, "type": "x", "param": None, "code": None}}
    return StubResponse(
        status, body, {name.replace("_", "-"): text for name, text in headers.items()}
    )


@dataclass(frozen=True)
class Request:
    """A received request. `at` is a value of `time.monotonic`, `client_port` identifies the connection."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    at: float
    client_port: int


Answer = StubResponse | StubStream | dict[str, Any]
Script = Answer | Callable[[dict[str, Any]], Answer]


@dataclass
class StubModel:
    """The script of responses, of which the last is repeated, and the received requests.

    `closed_count` is the number of streams and of pauses during which the client closed its connection.
    """

    url: str = ""
    script: list[Script] = field(default_factory=lambda: [completion()])
    requests: list[Request] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)
    closed_count: int = 0

    def says(self, *script: Script) -> "StubModel":
        """Replace the script and forget the requests."""
        self.script = list(script)
        self.requests.clear()
        self.closed_count = 0
        return self

    def next(self, request: Request) -> StubResponse | StubStream:
        self.requests.append(request)
        response = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if callable(response):
            response = response(request.body)
        return StubResponse(body=response) if isinstance(response, dict) else response


class _Handler(BaseHTTPRequestHandler):
    server: "_Server"
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name.lower(): text for name, text in self.headers.items()}
        request = Request(
            self.path, headers, json.loads(body), time.monotonic(), self.client_address[1]
        )
        response = self.server.stub.next(request)
        try:
            if isinstance(response, StubStream):
                self._send_stream(response)
            else:
                self._send(response)
        except OSError:
            self.server.stub.closed_count += 1
            self.close_connection = True

    def _send(self, response: StubResponse) -> None:
        self.close_connection = response.length is not None
        self._wait(response.pause_seconds)
        if not response.drip_seconds:
            self.connection.sendall(response.raw())
            return
        for byte in response.raw():
            self._wait(response.drip_seconds)
            self.connection.sendall(bytes([byte]))

    def _send_stream(self, response: StubStream) -> None:
        self.close_connection = not response.is_chunked or response.cut_at is not None
        left = response.size() if response.cut_at is None else response.cut_at
        self.connection.sendall(response.head())
        for part in response.body():
            if left <= 0:
                return
            self._wait(response.delay_seconds)
            if isinstance(part, bytes):
                self.connection.sendall(part[:left])
                left -= len(part)
            else:
                self._wait(part)

    def _wait(self, seconds: float) -> None:
        """Raises ConnectionError when the client closes the connection, or the stub ends."""
        ends_at = time.monotonic() + seconds
        poll = select.poll()
        poll.register(self.connection, select.POLLIN)
        while (seconds_left := ends_at - time.monotonic()) > 0:
            is_readable = poll.poll(1000 * min(seconds_left, 0.05))
            if is_readable and not self.connection.recv(1, socket.MSG_PEEK):
                raise ConnectionAbortedError
            if self.server.stub.ended.is_set():
                raise ConnectionAbortedError

    def log_message(self, *_: Any) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, stub: StubModel) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.stub = stub

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass


@contextmanager
def stub_model() -> Iterator[StubModel]:
    """Run the server in a thread."""
    stub = StubModel()
    with _Server(stub) as server:
        stub.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield stub
        finally:
            stub.ended.set()
            server.shutdown()
            thread.join()


@contextmanager
def silent_port() -> Iterator[str]:
    """Yield a URL at which no server listens."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{reserved.getsockname()[1]}/v1"
