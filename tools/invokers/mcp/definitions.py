"""The definitions of the tools of an MCP server, and whether they are still those that were imported."""

import hashlib
import time
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from tools.invokers.base import TOOL_CHANGED, ToolError
from tools.invokers.mcp.client import Client, Server
from tools.invokers.mcp.messages import dumps, unusable

MAX_TOOLS = 256
MAX_PAGES = 20
MAX_NAME_CHARACTERS = 128
MAX_CURSOR_CHARACTERS = 4_096
# How long a server is assumed to have the revision that it had.
REVISION_SECONDS = 600.0
MAX_REVISIONS = 128


@dataclass(frozen=True, slots=True)
class Definition:
    """A tool of a server. `schema` is that of its arguments; it may be anything that a server sends."""

    name: str
    description: str
    schema: Any = field(repr=False)

    def fingerprint(self) -> str:
        """Return a hash of name, description and schema. Raises ToolError."""
        content = [self.name, self.description, self.schema]
        return hashlib.sha256(dumps(content, sorted_keys=True)).hexdigest()


class Revisions:
    """The revisions of the servers that this process used last. Times are of `time.monotonic`."""

    def __init__(self) -> None:
        # With the times until which they are assumed.
        self._revisions: OrderedDict[bytes, tuple[str | None, float]] = OrderedDict()
        self._lock = Lock()

    def get(self, server: Server) -> str | None:
        """Return the revision of a server, or None if it is not known."""
        with self._lock:
            revision, until = self._revisions.get(_key(server), (None, 0.0))
        return revision if time.monotonic() < until else None

    def store(self, server: Server, revision: str | None) -> None:
        """Store the revision that a server has now."""
        with self._lock:
            self._revisions[_key(server)] = revision, time.monotonic() + REVISION_SECONDS
            self._revisions.move_to_end(_key(server))
            if len(self._revisions) > MAX_REVISIONS:
                self._revisions.popitem(last=False)

    def forget(self, server: Server) -> None:
        """Remove the revision of a server."""
        with self._lock:
            self._revisions.pop(_key(server), None)


def _key(server: Server) -> bytes:
    """Return a key that differs for other credentials. It contains none of them."""
    origin = server.origin
    content = [origin.scheme, origin.host, origin.port, server.path, sorted(server.headers)]
    return hashlib.sha256(dumps(content)).digest()


def list_tools(client: Client) -> list[Definition]:
    """Return the tools of a server. Raises ServerError, ToolError and OutboundError.

    A result is never used again, even if the server allows it: a definition may change at any time.
    """
    definitions: list[Definition] = []
    for page in _pages(client):
        tools = page.get("tools")
        if not isinstance(tools, list):
            raise unusable("the list of tools is not an array")
        definitions += map(_definition, tools)
        if len(definitions) > MAX_TOOLS:
            raise unusable(f"it lists more than {MAX_TOOLS} tools")
    return definitions


def _pages(client: Client) -> Iterator[dict[str, Any]]:
    cursor: str | None = None
    for _ in range(MAX_PAGES):
        page = client.request("tools/list", {} if cursor is None else {"cursor": cursor})
        yield page
        cursor = page.get("nextCursor")
        if cursor is None:
            return
        if not isinstance(cursor, str) or len(cursor) > MAX_CURSOR_CHARACTERS:
            raise unusable("the cursor of the list of tools is not valid")
    raise unusable(f"the list of tools has more than {MAX_PAGES} pages")


def _definition(tool: object) -> Definition:
    if not isinstance(tool, dict):
        raise unusable("a tool is not an object")
    name, description = tool.get("name"), tool.get("description") or tool.get("title") or ""
    if not isinstance(name, str) or not 1 <= len(name) <= MAX_NAME_CHARACTERS:
        raise unusable("the name of a tool is not valid")
    if not isinstance(description, str):
        raise unusable("the description of a tool is not text")
    return Definition(name, description, tool.get("inputSchema"))


def changed() -> ToolError:
    """Return the error of a call whose tool has another definition than the one that was imported."""
    return ToolError(
        TOOL_CHANGED,
        f"{TOOL_CHANGED}: The definition of this tool on its server differs from the one that was imported, "
        "so the tool was not called. Its owner has to refresh it.",
    )
