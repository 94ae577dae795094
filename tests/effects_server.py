"""An HTTP server for tools with side effects: it stores each request that it receives."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.http_server import http_server


@dataclass
class EffectsServer:
    """`effects` are the path and the `Idempotency-Key` of each request, in order.

    A response is sent `delay_seconds` after its request has been stored.
    """

    port: int
    effects: list[tuple[str, str]] = field(default_factory=list)
    delay_seconds: float = 0.0

    def config(self, method: str = "POST", path: str = "/") -> dict[str, Any]:
        """Return the configuration of a tool that sends a request to this server."""
        return {
            "method": method,
            "url": f"http://127.0.0.1:{self.port}{path}",
            "arguments_in": "query" if method == "GET" else "body",
            "headers": {},
            "timeout_seconds": 30,
        }


@contextmanager
def effects_server() -> Iterator[EffectsServer]:
    """Run the server in a thread."""

    class Handler(BaseHTTPRequestHandler):
        def respond(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            effects.effects.append((self.path, self.headers.get("Idempotency-Key", "")))
            time.sleep(effects.delay_seconds)
            with suppress(OSError):
                self.send_response(200)
                self.send_header("Content-Type", "text/plain")
                self.send_header("Content-Length", "4")
                self.end_headers()
                self.wfile.write(b"done")

        do_GET = do_POST = respond  # noqa: N815  http.server's names

        def log_message(self, *_: object) -> None:
            pass

    with http_server(Handler) as port:
        effects = EffectsServer(port)
        yield effects
