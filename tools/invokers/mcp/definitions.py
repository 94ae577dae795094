"""The definitions of the tools of an MCP server, and whether they are still those that were imported."""

import hashlib
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping
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
# A server may allow its definitions to be cached for longer.
MAX_CACHE_SECONDS = 10.0
# How long a server is assumed to have the revision that it had.
REVISION_SECONDS = 600.0
MAX_CACHED_SERVERS = 128


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


@dataclass(frozen=True, slots=True)
class Listing:
    """The tools of a server, and for how many seconds it allows to cache them."""

    definitions: list[Definition]
    cache_seconds: float


@dataclass(frozen=True, slots=True)
class _Entry:
    revision: str | None
    revision_until: float
    # By name.
    fingerprints: Mapping[str, str]
    fingerprints_until: float


class ServerCache:
    """What this process knows of the servers that were used last. Times are of `time.monotonic`."""

    def __init__(self) -> None:
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()
        self._lock = Lock()

    def revision(self, server: Server) -> str | None:
        """Return the revision of a server, or None if it is not known."""
        entry = self._entry(server)
        return entry.revision if entry and time.monotonic() < entry.revision_until else None

    def fingerprints(self, server: Server) -> Mapping[str, str] | None:
        """Return the fingerprints of the tools of a server, or None if they are not known."""
        entry = self._entry(server)
        is_known = entry and time.monotonic() < entry.fingerprints_until
        return entry.fingerprints if entry and is_known else None

    def store(self, server: Server, revision: str | None, listing: Listing) -> Mapping[str, str]:
        """Store what a server has sent, and return the fingerprints. Raises ToolError."""
        now = time.monotonic()
        fingerprints = {each.name: each.fingerprint() for each in listing.definitions}
        is_cached = listing.cache_seconds > 0
        entry = _Entry(
            revision,
            now + REVISION_SECONDS,
            fingerprints if is_cached else {},
            now + listing.cache_seconds,
        )
        with self._lock:
            self._entries[_key(server)] = entry
            self._entries.move_to_end(_key(server))
            if len(self._entries) > MAX_CACHED_SERVERS:
                self._entries.popitem(last=False)
        return fingerprints

    def forget(self, server: Server) -> None:
        """Remove what is known of a server."""
        with self._lock:
            self._entries.pop(_key(server), None)

    def _entry(self, server: Server) -> _Entry | None:
        with self._lock:
            return self._entries.get(_key(server))


def _key(server: Server) -> bytes:
    """Return a key that differs for other credentials. It contains none of them."""
    origin = server.origin
    content = [origin.scheme, origin.host, origin.port, server.path, sorted(server.headers)]
    return hashlib.sha256(dumps(content)).digest()


def list_tools(client: Client) -> Listing:
    """Return the tools of a server. Raises ServerError, ToolError and OutboundError."""
    definitions: list[Definition] = []
    cache_seconds = MAX_CACHE_SECONDS
    for page in _pages(client):
        tools = page.get("tools")
        if not isinstance(tools, list):
            raise unusable("the list of tools is not an array")
        definitions += map(_definition, tools)
        if len(definitions) > MAX_TOOLS:
            raise unusable(f"it lists more than {MAX_TOOLS} tools")
        cache_seconds = min(cache_seconds, _cache_seconds(page))
    return Listing(definitions, cache_seconds)


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


def _cache_seconds(page: Mapping[str, Any]) -> float:
    """Return for how long a page may be cached: not at all unless the server says so."""
    milliseconds = page.get("ttlMs")
    return milliseconds / 1000 if isinstance(milliseconds, int | float) else 0.0


def changed() -> ToolError:
    """Return the error of a call whose tool has another definition than the one that was imported."""
    return ToolError(
        TOOL_CHANGED,
        f"{TOOL_CHANGED}: The definition of this tool on its server differs from the one that was imported, "
        "so the tool was not called. Its owner has to refresh it.",
    )
