"""A client of `/mcp` for tests, in both forms of the protocol."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.api import Answer, Api

MODERN, OLD = "2026-07-28", "2025-11-25"
META = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientInfo": {"name": "tests", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}


@dataclass(frozen=True)
class McpClient:
    """Sends requests of one revision."""

    api: Api
    revision: str = MODERN

    def call(
        self,
        method: str,
        params: Mapping[str, Any] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        **changes: Any,
    ) -> Answer:
        """Send a request. `changes` are other fields of the message."""
        message = self.message(method, params or {})
        sent = {**self.headers(message), **(headers or {})}
        return self.api.post("/mcp", message | changes, headers=sent)

    def tool(self, name: str, prompt: str = "What is new?", **more: Any) -> Answer:
        """Call a tool."""
        return self.call("tools/call", {"name": name, "arguments": {"prompt": prompt}}, **more)

    def message(self, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """Return a request."""
        sent = {"_meta": META, **params} if self.revision == MODERN else dict(params)
        return {"jsonrpc": "2.0", "id": 1, "method": method, "params": sent}

    def headers(self, message: Mapping[str, Any]) -> dict[str, str]:
        """Return the headers of a request."""
        found = {
            "MCP-Protocol-Version": self.revision,
            "Accept": "application/json, text/event-stream",
        }
        if self.revision == MODERN:
            found["Mcp-Method"] = message["method"]
            if "name" in message["params"]:
                found["Mcp-Name"] = message["params"]["name"]
        return found


def result_of(answer: Answer) -> dict[str, Any]:
    """Check that a response has a result and return it."""
    assert answer.status == 200, answer.content
    assert answer.headers["content-type"] == "application/json"
    assert answer.json.keys() == {"jsonrpc", "id", "result"}, answer.content
    result: dict[str, Any] = answer.json["result"]
    return result


def error_of(answer: Answer) -> dict[str, Any]:
    """Check that a response has an error of JSON-RPC and return it."""
    assert answer.headers["content-type"] == "application/json"
    assert answer.json.keys() == {"jsonrpc", "id", "error"}, answer.content
    error: dict[str, Any] = answer.json["error"]
    assert error["message"]
    return error


def failure_of(answer: Answer) -> dict[str, Any]:
    """Check that the result of a tool call is an error and return that, in the form of `/api/v1`."""
    result = result_of(answer)
    assert result["isError"] is True
    assert "structuredContent" not in result
    failure: dict[str, Any] = result["_meta"]["map/error"]
    (content,) = result["content"]
    assert content["text"].startswith(f"{failure['error_code']}: {failure['message']}")
    return failure
