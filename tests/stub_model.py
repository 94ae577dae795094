"""A model provider on loopback that speaks the wire format of Chat Completions, and does as it is told."""

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
    """A whole answer; `calls` are names and arguments."""
    asked = [
        {
            "id": f"call_{number}",
            "type": "function",
            "function": {"name": name, "arguments": arguments},
        }
        for number, (name, arguments) in enumerate(calls or ())
    ]
    message = {"role": "assistant", "content": text} | ({"tool_calls": asked} if asked else {})
    reason = finish_reason or ("tool_calls" if asked else "stop")
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "stub",
        "choices": [{"index": 0, "message": message, "finish_reason": reason}],
        "usage": usage or {"prompt_tokens": 12, "completion_tokens": 3, "total_tokens": 15},
    }


@dataclass
class Said:
    """An answer in HTTP. `length` is what its header promises; `pause_seconds` is slept before it,
    `drip_seconds` between its bytes, headers included.
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


HANG = Said(pause_seconds=60)
CUT = Said(length=100_000)


def error(status: int, message: str = "no", **headers: str) -> Said:
    """A refusal, in the API's form."""
    body = {"error": {"message": message, "type": "x", "param": None, "code": None}}
    return Said(status, body, {name.replace("_", "-"): text for name, text in headers.items()})


@dataclass(frozen=True)
class Request:
    """What came, and when (`time.monotonic`)."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    at: float


Script = Said | dict[str, Any] | Callable[[dict[str, Any]], "Said | dict[str, Any]"]


@dataclass
class StubModel:
    """What it says next, in order, the last again and again; and what it was asked."""

    url: str = ""
    script: list[Script] = field(default_factory=lambda: [completion()])
    requests: list[Request] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)

    def says(self, *script: Script) -> "StubModel":
        """From now on."""
        self.script = list(script)
        self.requests.clear()
        return self

    def next(self, request: Request) -> Said:
        self.requests.append(request)
        said = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if callable(said):
            said = said(request.body)
        return Said(body=said) if isinstance(said, dict) else said


@contextmanager
def stub_model() -> Iterator[StubModel]:
    """Serves until left."""
    stub = StubModel()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): text for name, text in self.headers.items()}
            said = stub.next(Request(self.path, headers, json.loads(body), time.monotonic()))
            stub.ended.wait(said.pause_seconds)
            self.close_connection = said.length is not None
            with suppress(OSError):
                self._send(said)

        def _send(self, said: Said) -> None:
            if not said.drip_seconds:
                self.connection.sendall(said.raw())
                return
            for byte in said.raw():
                if stub.ended.wait(said.drip_seconds):
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
    """An address where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
