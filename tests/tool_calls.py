"""Calls of http tools in this process, for tests."""

import base64
import json
import time
import uuid
from typing import Any

from map_project.api import secrets
from tools.invokers import CallableTool, ToolResult, call, http_config

ANY = {"type": "object", "properties": {}}


def callable_tool(
    url: str, *, parameters: Any = ANY, secret_values: dict[str, str] | None = None, **config: Any
) -> CallableTool:
    complete = http_config.validate_config(
        {"method": "GET", "timeout_seconds": 5, **config, "url": url}
    )
    token = secrets.encrypt(json.dumps(secret_values)) if secret_values else ""
    return CallableTool(uuid.uuid4(), "t", "d", parameters, "http", complete, token)


def call_tool(tool: CallableTool, arguments: Any = None) -> ToolResult:
    text = arguments if isinstance(arguments, str) else json.dumps(arguments or {})
    return call(tool, text, deadline=time.monotonic() + 10)


def echoed_request(tool: CallableTool, arguments: Any = None) -> Any:
    """Return the request that the server received."""
    result = call_tool(tool, arguments)
    assert result.error is None, result
    return json.loads(result.text)


def result_of(
    base: str, body: bytes = b"", status: int = 200, headers: Any = (), **tool: Any
) -> ToolResult:
    """Return the result of a call to which the server sends this response. `headers` are pairs."""
    lines = [f"HTTP/1.1 {status} X", *(f"{name}: {value}" for name, value in headers), "", ""]
    response = "\r\n".join(lines).encode("latin-1") + body
    return call_tool(
        callable_tool(f"{base}/raw", method="POST", **tool),
        {"response": base64.b64encode(response).decode()},
    )
