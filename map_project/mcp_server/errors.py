"""Errors of the protocol, and errors of `/api/v1` in the forms of the protocol.

A refused or failed run is the result of its tool call, which the model of the client reads. Other errors are
errors of JSON-RPC.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
INTERNAL_ERROR = -32603
# The name in `_meta` under which an error is as in `/api/v1`.
ERROR_KEY = "map/error"
# Errors of a tool call that are not about the run.
_PROTOCOL_STATUSES = {401, 403, 404, 405, 413, 415, 500}
_PROTOCOL_CODES = {"MALFORMED_JSON", "BAD_REQUEST"}


class RpcError(Exception):
    """An error of JSON-RPC. `status` is the HTTP status, in the old revisions `old_status`."""

    code: ClassVar[int]
    status: ClassVar[int] = 400
    old_status: ClassVar[int] = 400

    def __init__(self, message: str, **data: Any) -> None:
        super().__init__(message)
        self.data = data

    def body(self) -> dict[str, Any]:
        """Return the field `error`."""
        return {
            "code": self.code,
            "message": str(self),
            **({"data": self.data} if self.data else {}),
        }


class InvalidRequest(RpcError):
    """The body is no message."""

    code = INVALID_REQUEST


class MethodNotFound(RpcError):
    """The revision has no such method, or this server does not have it."""

    code = -32601
    status = 404
    old_status = 200


class InvalidParams(RpcError):
    """The parameters are not those of the method, or name an unknown tool."""

    code = -32602
    old_status = 200


class HeaderMismatch(RpcError):
    """A header is missing, or has another value than the body."""

    code = -32020


class UnsupportedProtocolVersion(RpcError):
    """The server does not have this revision."""

    code = -32022

    def __init__(self, requested: str, supported: Sequence[str]) -> None:
        super().__init__(
            "This protocol version is not supported.", supported=[*supported], requested=requested
        )


def protocol_error(status: int, body: Mapping[str, Any]) -> dict[str, Any]:
    """Return an error body of `/api/v1` as an error of JSON-RPC."""
    code = INTERNAL_ERROR if status >= 500 else INVALID_REQUEST
    if body["error_code"] == "MALFORMED_JSON":
        code = PARSE_ERROR
    data = {"error_code": body["error_code"], "details": body["details"]}
    return {"code": code, "message": body["message"], "data": data}


def is_of_run(status: int, body: Mapping[str, Any]) -> bool:
    """Return whether an error of a tool call is the result of the call."""
    return status not in _PROTOCOL_STATUSES and body["error_code"] not in _PROTOCOL_CODES


def tool_error(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return an error body of `/api/v1` as the result of a tool call."""
    details = body["details"]
    sentences = [f"{body['error_code']}: {body['message']}", *details.get("errors", ())]
    sentences += (f"{name}: {' '.join(texts)}" for name, texts in details.get("fields", {}).items())
    return {
        "content": [{"type": "text", "text": "\n".join(sentences)}],
        "isError": True,
        "_meta": {ERROR_KEY: body},
    }
