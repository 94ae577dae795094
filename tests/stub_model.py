"""A scripted model provider on loopback with the wire format of Chat Completions."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
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


Script = StubResponse | dict[str, Any] | Callable[[dict[str, Any]], "StubResponse | dict[str, Any]"]


@dataclass
class StubModel:
    """The script of responses, of which the last is repeated, and the received requests."""

    url: str = ""
    script: list[Script] = field(default_factory=lambda: [completion()])
    requests: list[Request] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)

    def says(self, *script: Script) -> "StubModel":
        """Replace the script and forget the requests."""
        self.script = list(script)
        self.requests.clear()
        return self

    def next(self, request: Request) -> StubResponse:
        self.requests.append(request)
        response = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if callable(response):
            response = response(request.body)
        return StubResponse(body=response) if isinstance(response, dict) else response


@contextmanager
def stub_model() -> Iterator[StubModel]:
    """Run the server in a thread."""
    stub = StubModel()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): text for name, text in self.headers.items()}
            request = Request(
                self.path, headers, json.loads(body), time.monotonic(), self.client_address[1]
            )
            response = stub.next(request)
            stub.ended.wait(response.pause_seconds)
            self.close_connection = response.length is not None
            with suppress(OSError):
                self._send(response)

        def _send(self, response: StubResponse) -> None:
            if not response.drip_seconds:
                self.connection.sendall(response.raw())
                return
            for byte in response.raw():
                if stub.ended.wait(response.drip_seconds):
                    return
                self.connection.sendall(bytes([byte]))

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

        def handle_error(self, request: Any, client_address: Any) -> None:
            pass

    with Server(("127.0.0.1", 0), Handler) as server:
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
