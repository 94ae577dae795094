"""The provider `openai`: Chat Completions through OpenAI's SDK, at any address that implements the API.

Examples are OpenAI, vLLM, Ollama, LiteLLM, Groq, Mistral, and the compatible endpoints of Gemini and
Anthropic. Importing this module imports the SDK, which takes 0.5 s and 40 MB, so `MODEL_PROVIDERS` names it
by a path that is imported when a row first uses it.
"""

import logging
import random
import re
import time
from collections.abc import Generator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any

import httpx2
import openai
from django.core.exceptions import ImproperlyConfigured

from executions.providers import (
    Message,
    ModelError,
    ModelRequest,
    ModelResponse,
    ModelTimeout,
    ToolCall,
    ToolDefinition,
    is_json_object,
)
from executions.providers.completions import read_completion
from executions.providers.failures import (
    NAME,
    ReportedError,
    model_error,
    refused_tool,
    remove_secrets,
)
from map_project.api import secrets
from tools.outbound import Interrupted, OutboundTransport, original_errors, pause

BASE_URL = "https://api.openai.com/v1"
MAX_RESPONSE_BYTES = 32 * 1024 * 1024
CONNECT_SECONDS = 10.0
# The SDK's own policy for retries.
INITIAL_RETRY_SECONDS = 0.5
MAX_RETRY_SECONDS = 8.0
MAX_RETRY_AFTER_SECONDS = 120.0
# The SDK requires a key. Local servers need none and accept any.
NO_CREDENTIAL = "none"

_FUNCTION_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_UNSUPPORTED = re.compile("unsupported|not supported|unrecognized|unknown|unexpected|extra")
_FILTER_CODES = {
    *("content_filter", "content_policy_violation", "responsibleaipolicyviolation"),
    *("data_inspection_failed", "moderation_blocked"),
}
# By base URL, once a server has refused the other name.
_learned_limit_names: dict[str, tuple[str, str]] = {}

# httpx2 logs the URL of each request.
logging.getLogger("httpx2").setLevel(logging.WARNING)

# One for all rows: connections carry no credential, and idle ones are reused by origin.
_http_client = httpx2.Client(
    transport=OutboundTransport(
        max_response_bytes=MAX_RESPONSE_BYTES, is_guarded=False, max_idle_connections=100
    ),
    headers={"Accept-Encoding": "identity"},
    # Stores no cookie: a run must not receive the session of another.
    cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
)


class OpenAI:
    """The provider `openai`."""

    def is_local(self, request: ModelRequest) -> bool:
        return False

    @original_errors()
    def complete(self, request: ModelRequest) -> ModelResponse:
        """Request a completion, again after failures that may be temporary. Raises ModelError."""
        attempt = 0
        failure: ModelError
        headers: Mapping[str, str]
        while True:
            try:
                return _completion(request)
            except ModelError as error:
                failure, headers = error, {}
            except Interrupted:
                raise
            except Exception as error:
                # Its message may quote the provider's response, which must not reach the log.
                failure, headers = model_error(error), _response_headers(error)
            if tool := refused_tool(failure, request.tools):
                failure.identifiers["tool"] = tool.tool_name
            token = request.model.credential_token
            remove_secrets(failure, _credential(token) if token else "")
            if attempt >= request.model.max_retries or not _should_retry(failure, headers):
                raise failure
            delay_seconds = _retry_delay_seconds(attempt, headers)
            if time.monotonic() + delay_seconds >= request.deadline:
                raise failure if failure.status else ModelTimeout("no time to retry", provider=NAME)
            pause(delay_seconds)
            attempt += 1

    def stream(self, request: ModelRequest) -> Generator[str, None, ModelResponse]:
        response = self.complete(request)
        if response.text:
            yield response.text
        return response


def _completion(request: ModelRequest) -> ModelResponse:
    """Make one attempt, and another one if the server refuses the name of the token limit."""
    body = _request_body(request)
    name, other = _token_limit_names(request.model.base_url)
    try:
        return _response(request, body)
    except openai.APIStatusError as error:
        is_refusal = error.status_code in {400, 422} and name in body
        if not is_refusal or not _is_unsupported(name, other, error):
            raise
    body[other] = body.pop(name)
    response = _response(request, body)
    _learned_limit_names[request.model.base_url] = other, name
    return response


def _response(request: ModelRequest, body: dict[str, Any]) -> ModelResponse:
    try:
        return read_completion(_create(request, body))
    except openai.APIStatusError as error:
        is_refusal = error.status_code in {400, 403, 422}
        if is_refusal and ReportedError(error.body).codes & _FILTER_CODES:
            return ModelResponse("", finish_reason="content_filter")
        raise


def _create(request: ModelRequest, body: dict[str, Any]) -> object:
    seconds_left = request.deadline - time.monotonic()
    if seconds_left <= 0:
        raise ModelTimeout("no time left for a request", provider=NAME)
    seconds = min(float(request.model.timeout_seconds), seconds_left)
    timeout = httpx2.Timeout(seconds, connect=min(seconds, CONNECT_SECONDS))
    client = _client(request.model.base_url, request.model.credential_token)
    completion: object = client.chat.completions.create(**body, timeout=timeout)
    return completion


@lru_cache(maxsize=32)
def _client(base_url: str, credential_token: str) -> openai.OpenAI:
    client = openai.OpenAI(
        api_key=_credential(credential_token),
        base_url=base_url or BASE_URL,
        max_retries=0,
        http_client=_http_client,
    )
    # The SDK takes them from the environment, which may mean another account.
    client.organization = client.project = None
    return client


def _credential(token: str) -> str:
    try:
        return secrets.decrypt(token) if token else NO_CREDENTIAL
    except (secrets.Unreadable, ImproperlyConfigured) as error:
        text = f"the credential cannot be read: {error}"
        raise ModelError(text, provider=NAME, status=None, retryable=False, reason="auth") from None


def _token_limit_names(base_url: str) -> tuple[str, str]:
    """Return the name of the field for the maximum number of output tokens, and its alternative.

    OpenAI's newest models refuse the old name `max_tokens`; many other servers accept only that.
    """
    host = httpx2.URL(base_url or BASE_URL).host
    is_new = host.endswith((".openai.com", ".azure.com"))
    names = (
        ("max_completion_tokens", "max_tokens")
        if is_new
        else ("max_tokens", "max_completion_tokens")
    )
    return _learned_limit_names.get(base_url, names)


def _is_unsupported(name: str, other: str, error: openai.APIStatusError) -> bool:
    """Return whether the server refuses the name and not the value."""
    reported = ReportedError(error.body)
    text = reported.searched_text
    return (
        other in text
        or reported.identifiers.get("code") == "unsupported_parameter"
        or (name in text and _UNSUPPORTED.search(text) is not None)
    )


def _response_headers(error: Exception) -> Mapping[str, str]:
    return error.response.headers if isinstance(error, openai.APIStatusError) else {}


def _should_retry(failure: ModelError, headers: Mapping[str, str]) -> bool:
    if (_retry_after_seconds(headers) or 0) > MAX_RETRY_AFTER_SECONDS:
        return False
    # Not a standard header: OpenAI's servers send it, and the SDK obeys it.
    match headers.get("x-should-retry"):
        case "true":
            return True
        case "false":
            return False
    return failure.retryable


def _retry_delay_seconds(attempt: int, headers: Mapping[str, str]) -> float:
    """Return the delay that the server requests, or an exponential backoff with jitter."""
    requested = _retry_after_seconds(headers)
    if requested is not None and requested > 0:
        return requested
    backoff = min(INITIAL_RETRY_SECONDS * 2.0**attempt, MAX_RETRY_SECONDS)
    return backoff * random.uniform(0.75, 1)  # noqa: S311  jitter


def _retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """Return the delay in `retry-after-ms` or `retry-after`, of which the latter may be a date."""
    with suppress(KeyError, ValueError):
        return float(headers["retry-after-ms"]) / 1000
    with suppress(KeyError, ValueError):
        return float(headers["retry-after"])
    with suppress(KeyError, ValueError, TypeError):
        return (parsedate_to_datetime(headers["retry-after"]) - datetime.now(UTC)).total_seconds()
    return None


def _request_body(request: ModelRequest) -> dict[str, Any]:
    model = request.model
    body: dict[str, Any] = {
        "model": model.upstream_name or model.name,
        "messages": [
            {"role": "system", "content": request.system_prompt},
            *map(_message, request.messages),
        ],
    }
    if request.tools:
        body["tools"] = [_tool(tool) for tool in request.tools]
    if request.temperature is not None:
        body["temperature"] = request.temperature
    if request.max_output_tokens is not None:
        body[_token_limit_names(model.base_url)[0]] = request.max_output_tokens
    return body


def _message(message: Message) -> dict[str, Any]:
    body: dict[str, Any] = {"role": message.role, "content": message.text}
    if message.tool_call_id:
        body |= {"tool_call_id": message.tool_call_id, "name": _function_name(message.name)}
    if message.tool_calls:
        body["content"] = message.text or None
        body["tool_calls"] = [_call(call) for call in message.tool_calls]
    # Its content may be in parts.
    return {**body, **message.extra}


def _call(call: ToolCall) -> dict[str, Any]:
    """Return the call as the model wrote it, unless a server would refuse it."""
    arguments = call.arguments if is_json_object(call.arguments) else "{}"
    function = {"name": _function_name(call.name), "arguments": arguments}
    function = {**call.extra.get("function", {}), **function}
    return {**call.extra, "id": call.id, "type": "function", "function": function}


def _function_name(name: str) -> str:
    return name if _FUNCTION_NAME.fullmatch(name) else "unknown"


def _tool(tool: ToolDefinition) -> dict[str, Any]:
    function = {
        "name": tool.name,
        "description": tool.description,
        "parameters": dict(tool.parameters),
    }
    return {"type": "function", "function": function}
