"""JSON-RPC 2.0 messages."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from map_project.mcp_server.errors import InvalidRequest

Id = str | int | None


@dataclass(frozen=True, slots=True)
class Message:
    """A request, or a notification, which has no response."""

    id: Id
    method: str
    params: Mapping[str, Any]
    is_notification: bool

    @property
    def meta(self) -> Mapping[str, Any]:
        """The field `_meta` of the parameters."""
        meta = self.params.get("_meta")
        return meta if isinstance(meta, dict) else {}


def message_of(body: Any) -> Message:
    """Return the message in a request body. Raises InvalidRequest."""
    if isinstance(body, list):
        raise InvalidRequest("Batches are not supported. Send one message per request.")
    if not isinstance(body, dict) or body.get("jsonrpc") != "2.0":
        raise InvalidRequest('Expected a JSON-RPC message: an object with "jsonrpc": "2.0".')
    if "id" in body and id_of(body) is None:
        raise InvalidRequest("The id must be a string or an integer.")
    method, params = body.get("method"), body.get("params", {})
    if not isinstance(method, str):
        raise InvalidRequest("The method must be a string.")
    if not isinstance(params, dict):
        raise InvalidRequest("The params must be an object.")
    return Message(id_of(body), method, params, is_notification="id" not in body)


def id_of(body: Any) -> Id:
    """Return the ID of the message in a request body, or None."""
    value = body.get("id") if isinstance(body, dict) else None
    return value if isinstance(value, str) or type(value) is int else None


def result_message(message_id: Id, result: Mapping[str, Any]) -> dict[str, Any]:
    """Return the response to a request."""
    return {"jsonrpc": "2.0", "id": message_id, "result": result}


def error_message(message_id: Id, error: Mapping[str, Any]) -> dict[str, Any]:
    """Return the response to a request that has no result."""
    return {"jsonrpc": "2.0", "id": message_id, "error": error}
