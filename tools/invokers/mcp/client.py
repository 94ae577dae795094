"""A client of MCP servers: Streamable HTTP, the revisions 2026-07-28 and 2025-11-25.

The earlier revisions with `initialize` work too. Requests, responses and notifications of the server are
dictionaries: the models of the package `mcp-types` take 26 MB and half a second to import.
"""

import re
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import orjson

from map_project import VERSION
from tools.invokers.base import ToolError
from tools.invokers.mcp.messages import Answer, ServerError, read_answer, unusable
from tools.outbound import Origin, OutboundError, opened, tool_transport

MODERN = "2026-07-28"
# The revisions with `initialize`, the newest first.
SESSION_REVISIONS = ("2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05")
MAX_END_SECONDS = 1.0

_CLIENT = {"name": "mini-agent-platform", "version": VERSION}
_META = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientInfo": _CLIENT,
    "io.modelcontextprotocol/clientCapabilities": {},
}
_SESSION_ID = re.compile(r"[\x21-\x7e]{1,1000}")
# The errors of the revision 2026-07-28: header mismatch, missing capability, unsupported revision.
_MODERN_ERRORS = {-32020, -32021, -32022}
_UNSUPPORTED_REVISION = -32022
_METHOD_NOT_FOUND = -32601
_REPEATABLE_METHODS = {"tools/list"}
# Statuses that another revision would not change.
_FINAL_STATUSES = {301, 302, 303, 307, 308, 401, 402, 403, 407, 429}

Headers = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Server:
    """An MCP server, and the headers that a tenant sends to it. `path` includes the query and is ASCII."""

    origin: Origin
    path: str = field(repr=False)
    headers: Sequence[tuple[str, str]] = field(repr=False)


class Client:
    """Requests to one server, on one connection, until the deadline. A context manager.

    `revision` is that of the server, or None if it is not known. The methods raise ServerError, ToolError and
    OutboundError.
    """

    def __init__(self, server: Server, *, deadline: float, revision: str | None = None) -> None:
        self.revision = revision
        self._server = server
        self._deadline = deadline
        self._transport = tool_transport(max_idle_connections=1)
        self._session_id = ""
        self._is_initialized = False
        self._requests = 0

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if self._session_id and error_type in {None, ServerError}:
                self._end_session()
        finally:
            self._transport.close()

    def request(
        self, method: str, params: Mapping[str, Any], headers: Sequence[tuple[str, str]] = ()
    ) -> dict[str, Any]:
        """Return the result of a request. `headers` are those of the revision 2026-07-28.

        If the revision is not known, or the server has another one now, a request that may be repeated finds
        it.
        """
        if self.revision in SESSION_REVISIONS and self._has_session():
            return self._session_request(method, params)
        try:
            result = self._modern_request(method, params, headers)
        except ServerError as error:
            if method not in _REPEATABLE_METHODS or not _may_be_older(error):
                raise
            self._initialize_after(error)
            return self._session_request(method, params)
        self.revision = MODERN
        return result

    def _has_session(self) -> bool:
        """Begin a session if there is none. Return False if the server may have no sessions any more."""
        try:
            self._initialize()
        except ServerError as error:
            if error.response.status in _FINAL_STATUSES:
                raise
            return False
        return True

    def _initialize_after(self, error: ServerError) -> None:
        """Begin a session. If the server has none, this error is raised."""
        try:
            self._initialize()
        except ServerError as failure:
            raise (error if failure.code == _METHOD_NOT_FOUND else failure) from None

    def _session_request(self, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        return self._post(method, params, self._session_headers()).result

    def _modern_request(
        self, method: str, params: Mapping[str, Any], headers: Sequence[tuple[str, str]]
    ) -> dict[str, Any]:
        modern = [("mcp-protocol-version", MODERN), ("mcp-method", method), *headers]
        return self._post(method, {**params, "_meta": _META}, modern).result

    def _initialize(self) -> None:
        """Begin a session, once for this client."""
        if self._is_initialized:
            return
        params = {
            "protocolVersion": SESSION_REVISIONS[0],
            "capabilities": {},
            "clientInfo": _CLIENT,
        }
        answer = self._post("initialize", params, [])
        revision = answer.result.get("protocolVersion")
        if revision not in SESSION_REVISIONS:
            raise unusable("it has a revision of MCP that is not supported")
        self.revision, self._session_id = revision, _session_id(answer)
        self._is_initialized = True
        body = orjson.dumps({"jsonrpc": "2.0", "method": "notifications/initialized"})
        with self._opened("POST", body, self._session_headers()) as response:
            if not 200 <= response.status < 300:
                raise ServerError(response)
            response.finish()

    def _session_headers(self) -> Headers:
        session = [("mcp-session-id", self._session_id)] if self._session_id else []
        return [("mcp-protocol-version", str(self.revision)), *session]

    def _end_session(self) -> None:
        """Release what the server holds for the session."""
        self._deadline = min(self._deadline, time.monotonic() + MAX_END_SECONDS)
        with suppress(OutboundError), self._opened("DELETE", b"", self._session_headers()):
            pass

    def _post(self, method: str, params: Mapping[str, Any], headers: Headers) -> Answer:
        self._requests += 1
        message = {"jsonrpc": "2.0", "id": self._requests, "method": method, "params": params}
        with self._opened("POST", orjson.dumps(message), headers) as response:
            answer = read_answer(response, self._requests)
            response.finish()
            return answer

    def _opened(self, method: str, body: bytes, headers: Headers) -> Any:
        return opened(
            self._transport,
            self._server.origin,
            method=method,
            path=self._server.path,
            headers=[
                ("user-agent", f"mini-agent-platform/{VERSION}"),
                ("accept", "application/json, text/event-stream"),
                ("content-type", "application/json"),
                *headers,
                *self._server.headers,
            ],
            body=body,
            deadline=self._deadline,
        )


def _may_be_older(error: ServerError) -> bool:
    """Return whether the server that sent the error may have a revision before 2026-07-28.

    The body of an error decides before its status: a server of that revision has errors of its own.
    """
    if error.code == _UNSUPPORTED_REVISION and isinstance(error.data, dict):
        supported = error.data.get("supported")
        return isinstance(supported, list) and any(each in SESSION_REVISIONS for each in supported)
    if error.code in _MODERN_ERRORS:
        return False
    return error.response.status not in _FINAL_STATUSES


def _session_id(answer: Answer) -> str:
    session_id = answer.headers.get("mcp-session-id", "")
    if session_id and not _SESSION_ID.fullmatch(session_id):
        raise ToolError("bad_answer", "The session ID of the MCP server is not valid.")
    return session_id
