"""Errors of the providers' servers and of the transport as `ModelError`, without text of the provider."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from executions.providers import ModelError, ModelTimeout, ToolDefinition
from tools.outbound import OutboundError
from tools.redaction import PLACEHOLDER, SecretRedactor

# Groq: the model wrote a call that is not valid. Another attempt often succeeds.
TOOL_USE_FAILED = "tool_use_failed"
# The account has no credit: waiting does not help.
_QUOTA_CODES = {"insufficient_quota", "billing_hard_limit_reached", "insufficient_user_quota"}
_KEY_CODES = {"invalid_api_key", "api_key_invalid", "authentication_error", "unauthenticated"}
# Codes that stand for a status in a response with the status 200: of OpenAI, Anthropic, and Google's RPCs.
_CODE_STATUSES = {
    **dict.fromkeys(("invalid_request_error", "invalid_argument", "failed_precondition"), 400),
    **dict.fromkeys(_KEY_CODES, 401),
    "billing_error": 402,
    **dict.fromkeys(("permission_error", "permission_denied"), 403),
    **dict.fromkeys(("not_found_error", "not_found", "model_not_found"), 404),
    **dict.fromkeys(("rate_limit_exceeded", "rate_limit_error", "resource_exhausted"), 429),
    **dict.fromkeys(("internal", "internal_error", "server_error", "api_error"), 500),
    **dict.fromkeys(("unavailable", "overloaded_error", "service_unavailable"), 503),
    "request_too_large": 413,
    **dict.fromkeys(("deadline_exceeded", "timeout_error"), 504),
}
# Of the provider's message: searched, and shown to operators.
MAX_MESSAGE_CHARACTERS = 10_000
MAX_SHOWN_CHARACTERS = 1_000

_IDENTIFIER = re.compile(r"[A-Za-z0-9_.\[\]-]{1,80}")
_TOOL_POSITION = re.compile(r"tools[.\[]([0-9]{1,3})\b")
_CONTEXT_LENGTH = re.compile(
    "context.?(length|window|size|limit)|maximum (context|prompt|input)|(prompt|input) is too long"
    "|too many (input )?tokens|exceeds the maximum number of (input )?tokens|token count .{0,40}exceeds"
    r"|inputs.? tokens \+"
)
# Anthropic: the account has no credit, or the limit that it has set is reached.
_QUOTA = re.compile("credit balance is too low|specified api usage limits|spend limit")
# Keys of the well-known providers, also if they are masked in part, and tokens in a header.
_KEY = re.compile(
    r"(?<![A-Za-z0-9])(?:sk|pk|rk|gsk|xai|hf|nvapi|r8|key|AIza|gh[opsu]|github_pat)[-_]?[\w*.\-]{8,}"
    r"|(?<![A-Za-z0-9])(?:AKIA|ASIA)[A-Z0-9]{12,}"
    r"|eyJ[\w\-]+\.[\w\-]+\.[\w\-]*"
    r"|(?<=bearer )[^\s\"',;]+",
    re.ASCII | re.IGNORECASE,
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


class StatusError(Exception):
    """A response that is no success. `body` is JSON, or a text."""

    def __init__(self, status: int, body: object, headers: Mapping[str, str]) -> None:
        super().__init__(status)
        self.status = status
        self.body = body
        self.headers = headers


def unreadable_response(provider: str, output: str = "") -> ModelError:
    """Return the error for a response with the status 200 that is not what the API defines, or incomplete."""
    return ModelError(
        "the response cannot be read",
        provider=provider,
        status=200,
        retryable=True,
        reason="bad_answer",
        output=output,
    )


def status_reason(status: int) -> str:
    """Return the reason code for an HTTP status of at least 400."""
    return _STATUS_REASONS.get(status, "server_error" if status >= 500 else "bad_request")


def is_retryable(status: int) -> bool:
    """Return whether the same request may succeed later."""
    return status in {408, 409, 429} or status >= 500


def model_error(provider: str, error: Exception, output: str = "") -> ModelError:
    """Return the error of an attempt, without the text of the provider's response."""
    match error:
        case OutboundError(code="timeout"):
            return ModelTimeout("no complete response in time", provider=provider, output=output)
        case OutboundError():
            text, retryable = f"no complete response: {error.code}", error.code != "bad_request"
            return ModelError(
                text,
                provider=provider,
                status=None,
                retryable=retryable,
                reason=error.code,
                output=output,
                provider_message=error.text,
            )
        case StatusError():
            return _status_error(provider, error)
        case UnicodeEncodeError():
            pass  # of the request
        case ValueError() | RecursionError():
            return unreadable_response(provider, output)
    text = f"the request or its response is not valid: {type(error).__name__}"
    return ModelError(text, provider=provider, status=None, retryable=False, reason="bad_request")


def _status_error(provider: str, error: StatusError) -> ModelError:
    failure = reported_failure(provider, error.status, ReportedError(error.body))
    if error.status < 400:
        location = error.headers.get("Location", "another address")
        failure.reason = "bad_answer"
        failure.provider_message = f"The server redirects to {location}."
    return failure


def reported_failure(
    provider: str, status: int, reported: "ReportedError", output: str = ""
) -> ModelError:
    """Return the failure that a provider reports with this HTTP status.

    With the status 200, a status in the error takes its place, and `output` is the text that came with it.
    """
    text = f"status {status}" if status != 200 else "the response contains an error"
    if status == 200:
        status = reported.status or 200
    reason = "server_error" if status == 200 else status_reason(status)
    retryable = status == 200 or is_retryable(status)
    if status in {200, 400, 413, 422} and _CONTEXT_LENGTH.search(reported.searched_text):
        reason, retryable = "context_length", False
    elif TOOL_USE_FAILED in reported.codes:
        reason, retryable = "bad_answer", True
    elif reported.codes & _QUOTA_CODES or _QUOTA.search(reported.searched_text):
        reason, retryable = "quota", False
    elif status == 400 and reported.codes & _KEY_CODES:
        reason = "auth"
    return ModelError(
        text,
        provider=provider,
        status=status,
        retryable=retryable,
        reason=reason,
        output=output,
        identifiers=reported.identifiers,
        provider_message=reported.message,
    )


class ReportedError:
    """The error in a response of a provider, in any of the forms that servers use.

    `identifiers` are its `code`, `type` and `param` if they look like identifiers and not like text.
    `codes` are all its codes in lower case, also those of Azure's inner error and of Google's details.
    `status` is the HTTP status that it contains or that one of its codes stands for, or None. `message` may
    contain anything, also the credential. `searched_text` is the whole error in lower case.
    """

    def __init__(self, body: object) -> None:
        if isinstance(body, list) and body:  # Gemini
            body = body[0]
        if isinstance(body, dict):
            body = body.get("error") or body
        fields: dict[str, Any] = body if isinstance(body, dict) else {}
        found = {name: fields.get(name) for name in ("code", "type", "param")}
        self.identifiers = {
            name: value
            for name, value in found.items()
            if isinstance(value, str) and _IDENTIFIER.fullmatch(value)
        }
        self.codes = {value.lower() for value in _codes(fields) if isinstance(value, str)}
        self.status = _contained_status(fields) or next(
            (_CODE_STATUSES[code] for code in sorted(self.codes) if code in _CODE_STATUSES), None
        )
        message = fields.get("message") or fields.get("detail") or body or ""
        self.message = str(message)[:MAX_MESSAGE_CHARACTERS]
        self.searched_text = str(body)[:MAX_MESSAGE_CHARACTERS].lower()


def _codes(fields: Mapping[str, Any]) -> Iterator[object]:
    yield from (fields.get(name) for name in ("code", "type", "status"))
    details = fields.get("details")
    parts = [fields.get("innererror"), *(details if isinstance(details, list) else [])]
    for part in parts:
        if isinstance(part, dict):
            yield from (part.get("code"), part.get("reason"))


def _contained_status(fields: Mapping[str, Any]) -> int | None:
    """Return the first field that is an HTTP status of a failure, such as 429, 429.0 or "429"."""
    values = (fields.get(name) for name in ("code", "status", "status_code", "http_status"))
    matches = (re.fullmatch(r"([45][0-9]{2})(\.0)?", str(value)) for value in values)
    return next((int(match[1]) for match in matches if match), None)


def refused_tool(error: ModelError, tools: Sequence[ToolDefinition]) -> ToolDefinition | None:
    """Return the tool that a refusal names by its position or, alone, by its name; else None."""
    if error.reason != "bad_request":
        return None
    position = _TOOL_POSITION.search(error.identifiers.get("param", error.provider_message))
    if position and int(position[1]) < len(tools):
        return tools[int(position[1])]
    words = set(re.findall(r"[\w-]+", error.provider_message, re.ASCII))
    named = [tool for tool in tools if tool.name in words]
    return named[0] if len(named) == 1 else None


def remove_secrets(error: ModelError, credential: str) -> None:
    """Remove the credential, and what looks like one, from what the provider reported.

    The message for operators is redacted and shortened. An identifier, which tenants see, is removed.
    """
    redactor = SecretRedactor([credential] if credential else [])

    def redacted(text: str) -> str:
        return _KEY.sub(PLACEHOLDER, redactor.redact(text))

    error.provider_message = redacted(error.provider_message)[:MAX_SHOWN_CHARACTERS]
    error.identifiers = {
        name: value
        for name, value in error.identifiers.items()
        if name == "tool" or redacted(value) == value
    }
