"""Errors of `/v1`, and the form of all errors there, which is that of OpenAI's API."""

from collections.abc import Mapping
from typing import Any, Self

from map_project.api.errors import ApiError

CLIENT_TOOLS = "The tools of an agent run on the server. Tools of the client are not supported."
_RESPONSE_ID = "resp_0197a3c277aa7f3bb6a051c3a9d1e004"
# Those of Open Responses, and for 401 and 403, which it does not have, those of OpenAI.
_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found",
    429: "too_many_requests",
    502: "model_error",
    504: "model_error",
}
# Nothing has run when these occur, so a client may try again.
_RETRYABLE = {"redis_unavailable", "too_many_streams"}


class ModelNotFound(ApiError):
    """404. The tenant has no such agent."""

    status_code = 404
    error_code = "MODEL_NOT_FOUND"
    message = "There is no agent with the name 'Researcher'. `GET /v1/models` lists your agents."
    example_details = {"param": "model"}

    @classmethod
    def of(cls, name: str) -> Self:
        """Return the error of a name in the request."""
        return cls(cls.message.replace("Researcher", name[:100]), param="model")


class AgentWithoutModel(ModelNotFound):
    """400. A request at `/v1` names the agent only, so the agent must have a default model."""

    status_code = 400
    message = "The agent 'Researcher' has no default model. Set `model` of the agent."


class ResponseNotFound(ApiError):
    """404."""

    status_code = 404
    error_code = "RESPONSE_NOT_FOUND"
    message = "The response does not exist, or it has been deleted."
    example_details = {"response_id": _RESPONSE_ID}


class UnsupportedParameter(ApiError):
    """400. The request cannot be honoured, and without this parameter it would have another result."""

    status_code = 400
    error_code = "UNSUPPORTED_PARAMETER"
    message = CLIENT_TOOLS
    example_details = {"param": "tools"}


class RunCancelled(ApiError):
    """409. Another request has cancelled the run, so there is no completion."""

    status_code = 409
    error_code = "RUN_CANCELLED"
    message = "The run was cancelled."

    def __init__(self) -> None:
        super().__init__(headers={"x-should-retry": "false"})


class ApprovalRequired(ApiError):
    """409. The run waits for approvals, for which a chat completion has no form."""

    status_code = 409
    error_code = "APPROVAL_REQUIRED"
    message = (
        "The run waits for the approval of a tool call. Decide about it with `POST /v1/responses` or "
        "`/api/v1/approvals`, and read the response of the run."
    )
    example_details = {"response_id": _RESPONSE_ID}

    def __init__(self, **details: Any) -> None:
        super().__init__(headers={"x-should-retry": "false"}, **details)


def openai_error(status: int, body: Mapping[str, Any]) -> dict[str, Any]:
    """Return an error body of `/api/v1` in OpenAI's form."""
    details = body["details"]
    message, param = body["message"], details.get("param")
    if body["error_code"] == "VALIDATION_ERROR":
        fields: dict[str, list[str]] = details["fields"]
        param = next(iter(fields), None)
        sentences = (f"{name}: {' '.join(errors)}" for name, errors in fields.items())
        message = " ".join(sentences) or message
    return error_object(status, message=message, code=body["error_code"].lower(), param=param)


def error_object(
    status: int, *, message: str, code: str, param: str | None = None
) -> dict[str, Any]:
    """Return an error in OpenAI's form. Its type follows from the status."""
    kind = _TYPES.get(status, "invalid_request" if status < 500 else "server_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def may_have_run(status: int, body: Mapping[str, Any]) -> bool:
    """Return whether a run may have called tools before this error. OpenAI's SDKs repeat such requests."""
    return status >= 500 and body["details"].get("reason") not in _RETRYABLE
