"""The revisions of the protocol, and what each requires of a request besides its method.

Since 2026-07-28 a request names its revision and its client itself. Before, clients send `initialize` first;
this server keeps nothing of it.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any

from map_project import VERSION
from map_project.mcp_server.errors import (
    HeaderMismatch,
    InvalidParams,
    UnsupportedProtocolVersion,
)
from map_project.mcp_server.messages import Message

MODERN = "2026-07-28"
OLD = ("2025-11-25", "2025-06-18")
SUPPORTED = (MODERN, *OLD)
SERVER_INFO = {"name": "mini-agent-platform", "title": "Mini Agent Platform", "version": VERSION}

VERSION_HEADER, METHOD_HEADER, NAME_HEADER = "MCP-Protocol-Version", "Mcp-Method", "Mcp-Name"
_VERSION_KEY = "io.modelcontextprotocol/protocolVersion"
_CAPABILITIES_KEY = "io.modelcontextprotocol/clientCapabilities"
_SERVER_INFO_KEY = "io.modelcontextprotocol/serverInfo"
# The parameter that is also in the header `Mcp-Name`, of methods that this server has.
_NAMED_METHODS = {"tools/call": "name"}
# Of a header value that is not visible ASCII.
_BASE64 = re.compile(r"=\?base64\?(.*)\?=")


def check_revision(message: Message, headers: Mapping[str, str]) -> bool:
    """Return whether a message is of the newest revision. Raises RpcError.

    A message without a revision is of an old one.
    """
    requested, stated = headers.get(VERSION_HEADER, "").strip(), message.meta.get(_VERSION_KEY)
    if message.is_notification or stated is None:
        if requested and requested not in SUPPORTED:
            raise UnsupportedProtocolVersion(requested, SUPPORTED)
        is_modern = requested == MODERN
        if is_modern and not message.is_notification:
            raise _missing(_VERSION_KEY)
        return is_modern
    if _CAPABILITIES_KEY not in message.meta:
        raise _missing(_CAPABILITIES_KEY)
    _check_headers(message, headers, {VERSION_HEADER: stated, METHOD_HEADER: message.method})
    if stated != MODERN:
        raise UnsupportedProtocolVersion(stated, SUPPORTED)
    return True


def as_result(result: Mapping[str, Any], *, is_modern: bool) -> Mapping[str, Any]:
    """Return a result with what the newest revision adds to all of them."""
    if not is_modern:
        return result
    meta = {**result.get("_meta", {}), _SERVER_INFO_KEY: SERVER_INFO}
    return {"resultType": "complete", **result, "_meta": meta}


def _check_headers(
    message: Message, headers: Mapping[str, str], expected: Mapping[str, Any]
) -> None:
    parameter = _NAMED_METHODS.get(message.method)
    if parameter is not None and parameter in message.params:
        expected = {**expected, NAME_HEADER: message.params[parameter]}
    for name, value in expected.items():
        header = headers.get(name)
        if header is None or _decoded(header.strip()) != value:
            raise HeaderMismatch(f"The header {name} is missing or differs from the body.")


def _decoded(header: str) -> str | None:
    """Return the value of a header, which may be in Base64, or None if that is malformed."""
    encoded = _BASE64.fullmatch(header)
    if encoded is None:
        return header
    try:
        return base64.b64decode(encoded[1], validate=True).decode()
    except (binascii.Error, ValueError):
        return None


def _missing(key: str) -> InvalidParams:
    return InvalidParams(f"params._meta must have the field {key}.")
