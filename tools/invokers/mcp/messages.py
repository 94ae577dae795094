"""The messages of MCP servers: JSON-RPC responses, as JSON or as server-sent events."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from map_project.api.numbers import InexactNumber, loads
from tools.invokers.base import ToolError
from tools.outbound import ToolResponse
from tools.outbound.sse import events

MAX_MESSAGE_CHARACTERS = 2_000
# Of the body of a failed request.
MAX_FAILURE_BYTES = 64 * 1024


class ServerError(Exception):
    """The server rejected a request, with a JSON-RPC error, another HTTP status than 2xx, or both.

    `code` is that of the JSON-RPC error, or None. `body` is the body of the response if there is no code.
    """

    def __init__(
        self, response: ToolResponse, *, error: Mapping[str, Any] | None = None, body: bytes = b""
    ) -> None:
        super().__init__()
        self.response = response
        self.body = body
        error = error or {}
        code = error.get("code")
        self.code = code if type(code) is int else None
        self.message = str(error.get("message", ""))[:MAX_MESSAGE_CHARACTERS]
        self.data = error.get("data")


@dataclass(frozen=True, slots=True)
class Answer:
    """The result of a request, and the headers of the response."""

    result: dict[str, Any]
    headers: Mapping[str, str] = field(repr=False)


def unusable(reason: str) -> ToolError:
    """Return the error for a response that is not MCP."""
    return ToolError("bad_answer", f"The response of the MCP server cannot be used: {reason}.")


def read_answer(response: ToolResponse, request_id: int) -> Answer:
    """Return the answer to a request. Raises ServerError, ToolError and OutboundError.

    Reads server-sent events up to the answer; the server may send notifications before it.
    """
    if not 200 <= response.status < 300:
        raise _failure(response)
    media_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type == "text/event-stream":
        message = _from_events(response, request_id)
    elif media_type == "application/json":
        message = _message(b"".join(response.chunks))
        if not _answers(message, request_id):
            raise unusable("it does not answer the request")
    else:
        raise unusable("it is neither JSON nor a stream of server-sent events")
    if "error" in message:
        raise ServerError(response, error=_object(message["error"]))
    return Answer(_object(message.get("result")), response.headers)


def dumps(value: Any, *, sorted_keys: bool = False) -> bytes:
    """Return a JSON value of a message as text, with its numbers as they were. Raises ToolError."""
    try:
        return orjson.dumps(
            value, default=_number, option=orjson.OPT_SORT_KEYS if sorted_keys else None
        )
    except TypeError:
        raise unusable("it is nested too deeply") from None


def _number(value: object) -> Any:
    if isinstance(value, InexactNumber):
        return orjson.Fragment(value.text)
    raise TypeError


def _failure(response: ToolResponse) -> ServerError:
    body = bytearray()
    for chunk in response.chunks:
        body += chunk
        if len(body) > MAX_FAILURE_BYTES:
            break
    try:
        message = loads(bytes(body))
    except orjson.JSONDecodeError:
        message = None
    if isinstance(message, dict) and isinstance(message.get("error"), dict):
        return ServerError(response, error=message["error"])
    return ServerError(response, body=bytes(body))


def _from_events(response: ToolResponse, request_id: int) -> dict[str, Any]:
    for message in _event_messages(response):
        if _answers(message, request_id):
            return message
    raise unusable("the stream ended before the answer")


def _event_messages(response: ToolResponse) -> Iterator[dict[str, Any]]:
    for name, data in events(response.chunks):
        if name in {b"", b"message"}:
            yield _message(data)


def _message(text: bytes) -> dict[str, Any]:
    try:
        return _object(loads(text))
    except orjson.JSONDecodeError:
        raise unusable("it is not valid JSON") from None


def _object(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise unusable("it is not an object where MCP requires one")
    return value


def _answers(message: Mapping[str, Any], request_id: int) -> bool:
    """Return whether a message is the answer to the request. The id of an error may be null."""
    if "error" in message and message.get("id") is None:
        return True
    return message.get("id") == request_id and ("result" in message or "error" in message)
