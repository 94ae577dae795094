"""A scripted MCP server in a thread. It stores the requests, and checks them as its revision requires."""

import json
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.http_server import http_server

MODERN = "2026-07-28"
SESSIONS = "2025-11-25"
SESSION_ID = "session-1"
ECHO = {
    "name": "echo",
    "description": "Repeats a text.",
    "inputSchema": {
        "type": "object",
        "properties": {"text": {"type": "string"}},
        "required": ["text"],
    },
}


@dataclass(frozen=True)
class Received:
    """A request. Header names are in lower case; `body` is None for DELETE."""

    http_method: str
    path: str
    headers: dict[str, str]
    body: Any

    @property
    def method(self) -> str:
        return str(self.body["method"]) if self.body else self.http_method


@dataclass
class McpServer:
    """What the server has and does.

    `results` are those of tools by name, else each repeats its argument `text`. `override` responds to a
    request itself if it returns true. `notifications` are sent as events before an answer.
    """

    port: int
    revision: str = MODERN
    # Another one for each server: ports are used again, and what is known of a server is cached.
    path: str = field(default_factory=lambda: f"mcp-{uuid.uuid4()}")
    tools: list[Any] = field(default_factory=lambda: [ECHO])
    results: dict[str, Any] = field(default_factory=dict)
    page_size: int = 100
    sends_events: bool = False
    notifications: list[Any] = field(default_factory=list)
    list_fields: dict[str, Any] = field(default_factory=dict)
    override: "Callable[[Handler, Any], bool] | None" = None
    received: list[Received] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/{self.path}"

    def methods(self) -> list[str]:
        """Return the methods of the requests so far, and forget these."""
        methods = [request.method for request in self.received]
        self.received.clear()
        return methods


class Handler(BaseHTTPRequestHandler):
    """Responds to one request."""

    protocol_version = "HTTP/1.1"
    script: McpServer

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self._store(body)
        with suppress(OSError):
            if self.script.override is None or not self.script.override(self, body):
                self._respond(body)

    def do_DELETE(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self._store(None)
        self.reply(b"", 200)

    def log_message(self, *_: object) -> None:
        pass

    def reply(self, content: bytes, status: int = 200, **headers: str) -> None:
        """Send a response. It is JSON by default."""
        self.send_response(status)
        for name, value in {"Content_Type": "application/json", **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def fail(self, body: Any, code: int, status: int = 400, **data: Any) -> None:
        """Send a JSON-RPC error."""
        error = {"code": code, "message": "No.", "data": data}
        self.reply(
            json.dumps({"jsonrpc": "2.0", "id": body.get("id"), "error": error}).encode(), status
        )

    def answer(self, body: Any, result: Any, **headers: str) -> None:
        """Send a result, as JSON or as an event after the notifications."""
        message = {"jsonrpc": "2.0", "id": body["id"], "result": result}
        if not self.script.sends_events:
            self.reply(json.dumps(message).encode(), 200, **headers)
            return
        messages = [*self.script.notifications, message]
        events = "".join(f"event: message\r\ndata: {json.dumps(each)}\r\n\r\n" for each in messages)
        headers["Content_Type"] = "text/event-stream"
        self.reply((": hello\r\n\r\n" + events).encode(), 200, **headers)

    def _store(self, body: Any) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.script.received.append(Received(self.command, self.path, headers, body))

    def _respond(self, body: Any) -> None:
        if self.script.revision == MODERN:
            self._check_modern(body)
        elif body["method"] == "initialize":
            result = {"protocolVersion": self.script.revision, "capabilities": {}, "serverInfo": {}}
            self.answer(body, result, Mcp_Session_Id=SESSION_ID)
        elif self.headers.get("Mcp-Session-Id") != SESSION_ID:
            self.fail(body, -32000)
        elif body["method"] == "notifications/initialized":
            self.reply(b"", 202)
        else:
            assert self.headers["MCP-Protocol-Version"] == self.script.revision
            assert "_meta" not in body["params"]
            self.serve(body)

    def _check_modern(self, body: Any) -> None:
        meta = body.get("params", {}).get("_meta", {})
        version = meta.get("io.modelcontextprotocol/protocolVersion")
        name = body["params"].get("name")
        if version != MODERN or "io.modelcontextprotocol/clientCapabilities" not in meta:
            self.fail(body, -32022, supported=[MODERN], requested=version)
        elif (
            self.headers.get("MCP-Protocol-Version") != version
            or self.headers.get("Mcp-Method") != body["method"]
            or (name is not None and self.headers.get("Mcp-Name") != name)
        ):
            self.fail(body, -32020)
        else:
            self.serve(body)

    def serve(self, body: Any) -> None:
        """Respond to a request that is valid in its revision."""
        params = body["params"]
        if body["method"] == "tools/list":
            self.answer(body, self._page(int(params.get("cursor", 0))))
        elif body["method"] == "tools/call":
            text = {"content": [{"type": "text", "text": params["arguments"].get("text", "")}]}
            self.answer(body, self.script.results.get(params["name"], text))
        else:
            self.fail(body, -32601, 404)

    def _page(self, start: int) -> dict[str, Any]:
        end = start + self.script.page_size
        more = {"nextCursor": str(end)} if end < len(self.script.tools) else {}
        return {"tools": self.script.tools[start:end], **more, **self.script.list_fields}


@contextmanager
def mcp_server(**fields: Any) -> Iterator[McpServer]:
    """Run the server in a thread."""

    class BoundHandler(Handler):
        @property
        def script(self) -> McpServer:  # type: ignore[override]
            return script

    with http_server(BoundHandler) as port:
        script = McpServer(port, **fields)
        yield script
