"""The kind `mcp`: a call is one `tools/call` at an MCP server, and its result is the content as text."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tools.invokers import http_response
from tools.invokers.base import CallableTool, ToolError
from tools.invokers.mcp.client import Client, Server
from tools.invokers.mcp.config import (
    cross_field_errors,
    server_of,
    server_problems,
    validate_config,
)
from tools.invokers.mcp.content import result_text, shortened
from tools.invokers.mcp.definitions import Definition, Revisions, changed, list_tools
from tools.invokers.mcp.messages import ServerError
from tools.invokers.mcp.parameters import header_value, parameter_headers
from tools.outbound import OutboundError, Response
from tools.redaction import SecretRedactor

__all__ = [
    "Definition",
    "call",
    "cross_field_errors",
    "definitions",
    "server_problems",
    "validate_config",
]

_revisions = Revisions()


def call(
    tool: CallableTool,
    arguments: Mapping[str, Any],
    secrets: Mapping[str, str],
    *,
    redactor: SecretRedactor,
    deadline: float,
    idempotency_key: str = "",
) -> str:
    """Call the tool. See `tools.invokers.base.Invoker`."""
    if tool.is_changed:
        raise changed()
    config, name = tool.config, tool.config["tool"]
    deadline = min(deadline, time.monotonic() + config["timeout_seconds"])
    server = server_of(config["url"], config["headers"], secrets)
    headers = [("mcp-name", header_value(name)), *parameter_headers(tool.parameters, arguments)]
    if idempotency_key:
        headers.append(("idempotency-key", idempotency_key))
    with _client(server, redactor, deadline) as client:
        found = (each for each in _list_tools(client, server) if each.name == name)
        definition = next(found, None)
        fingerprint = definition.fingerprint() if definition else None
        if tool.definition_hash not in {"", fingerprint}:
            raise changed()
        result = client.request("tools/call", {"name": name, "arguments": arguments}, headers)
    return result_text(result, redactor)


def definitions(
    url: str, headers: Mapping[str, str], secrets: Mapping[str, str], *, deadline: float
) -> list[Definition]:
    """Return the current definitions of the tools of a server. Raises ToolError; no text has a secret."""
    server = server_of(url, headers, secrets)
    redactor = SecretRedactor(secrets.values())
    with _client(server, redactor, deadline) as client:
        return _list_tools(client, server)


def _list_tools(client: Client, server: Server) -> list[Definition]:
    """Return the current definitions, and store the revision that their request has found."""
    found = list_tools(client)
    _revisions.store(server, client.revision)
    return found


@contextmanager
def _client(server: Server, redactor: SecretRedactor, deadline: float) -> Iterator[Client]:
    """Yield a client. Raises ToolError in place of its errors."""
    try:
        with Client(server, deadline=deadline, revision=_revisions.get(server)) as client:
            yield client
    except OutboundError as error:
        raise ToolError(error.code, error.text) from None
    except ServerError as error:
        # The server may have another revision now.
        _revisions.forget(server)
        raise _tool_error(error, redactor) from None


def _tool_error(error: ServerError, redactor: SecretRedactor) -> ToolError:
    if error.code is not None:
        text = f"The MCP server responded with the error {error.code}: {error.message}"
        return ToolError("mcp_error", shortened(text, redactor))
    response = Response(error.response.status, error.response.headers, error.body, False)
    try:
        http_response.result(response, redactor)
    except ToolError as failure:
        return failure
    return ToolError("mcp_error", "The MCP server responded with an error.")
