"""Errors of OpenAI's SDK and of its transport as `ModelError`, without text of the provider."""

import re

import openai

from executions.providers import ModelError, ModelTimeout
from tools.outbound import OutboundError

NAME = "openai"

_IDENTIFIER = re.compile(r"[A-Za-z0-9_.\[\]-]{1,80}")
_CONTEXT_LENGTH = re.compile(
    "context.?(length|window|size)|maximum context|prompt is too long|too many (input )?tokens"
)
_STATUS_REASONS = {
    401: "auth",
    403: "auth",
    402: "quota",
    404: "not_found",
    408: "model_timeout",
    413: "context_length",
    429: "rate_limited",
}


def unreadable_response() -> ModelError:
    """Return the error for a response with the status 200 that is not a chat completion."""
    text = "the response is not a chat completion"
    return ModelError(text, provider=NAME, status=200, retryable=True, reason="bad_answer")


def status_reason(status: int) -> str:
    """Return the reason code for an HTTP status of at least 400."""
    return _STATUS_REASONS.get(status, "server_error" if status >= 500 else "bad_request")


def is_retryable(status: int) -> bool:
    """Return whether the same request may succeed later."""
    return status in {408, 409, 429} or status >= 500


def model_error(error: Exception) -> ModelError:
    """Return the error of an attempt, without the text of the provider's response."""
    match error:
        case OutboundError(code="timeout"):
            return ModelTimeout("no complete response in time", provider=NAME)
        case OutboundError():
            text, retryable = f"no complete response: {error.code}", error.code != "bad_request"
            return ModelError(
                text, provider=NAME, status=None, retryable=retryable, reason=error.code
            )
        case openai.APIStatusError():
            return _status_error(error)
        case UnicodeEncodeError():
            pass  # of the request
        case ValueError() | RecursionError():
            return unreadable_response()
    text = f"the request or its response is not valid: {type(error).__name__}"
    return ModelError(text, provider=NAME, status=None, retryable=False, reason="bad_request")


def _status_error(error: openai.APIStatusError) -> ModelError:
    status = error.status_code
    reason = status_reason(status)
    if status in {400, 413, 422} and _CONTEXT_LENGTH.search(error_text(error)):
        reason = "context_length"
    return ModelError(
        f"status {status}",
        provider=NAME,
        status=status,
        retryable=is_retryable(status),
        reason=reason,
        identifiers=identifiers(error),
    )


def identifiers(error: openai.APIStatusError) -> dict[str, str]:
    """Return the provider's `code`, `type` and `param`, if they look like identifiers and not like text."""
    body = error.body if isinstance(error.body, dict) else {}
    found = {name: body.get(name) for name in ("code", "type", "param")}
    return {
        name: value
        for name, value in found.items()
        if isinstance(value, str) and _IDENTIFIER.fullmatch(value)
    }


def error_text(error: openai.APIStatusError) -> str:
    """Return the beginning of the provider's error, which is searched and not shown."""
    return str(error.body)[:10_000].lower()
