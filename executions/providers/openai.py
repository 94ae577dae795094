"""The provider `openai`: Chat Completions through OpenAI's SDK, at any address that implements the API.

Examples are OpenAI, vLLM, Ollama, LiteLLM, Groq, Mistral, and the compatible endpoints of Gemini and
Anthropic. Importing this module imports the SDK, which takes 0.5 s and 40 MB, so `MODEL_PROVIDERS` names it
by a path that is imported when a row first uses it.
"""

import logging
import random
import re
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, Literal, cast

import httpx2
import openai
import orjson
from django.core.exceptions import ImproperlyConfigured
from openai.types.chat import ChatCompletion

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
from map_project.api import secrets
from tools.outbound import OutboundError, OutboundTransport

NAME = "openai"
BASE_URL = "https://api.openai.com/v1"
MAX_RESPONSE_BYTES = 32 * 1024 * 1024
# In one response. Each call becomes a step, also if it is not made.
MAX_TOOL_CALLS = 500
MAX_TOKENS = 2**31 - 1  # PostgreSQL's integer
CONNECT_SECONDS = 10.0
# The SDK's own policy for retries.
INITIAL_RETRY_SECONDS = 0.5
MAX_RETRY_SECONDS = 8.0
MAX_RETRY_AFTER_SECONDS = 120.0
# The SDK requires a key. Local servers need none and accept any.
NO_CREDENTIAL = "none"

_FUNCTION_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")

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

    def complete(self, request: ModelRequest) -> ModelResponse:
        """Request a completion, again after failures that may be temporary. Raises ModelError."""
        attempt = 0
        while True:
            try:
                return _response(_completion(request))
            except ModelError:
                raise
            except Exception as error:
                # Its message may quote the provider's response, which must not reach the log.
                failure, headers = _failure(error), _response_headers(error)
            if attempt >= request.model.max_retries or not _should_retry(failure, headers):
                raise failure
            delay_seconds = _retry_delay_seconds(attempt, headers)
            if time.monotonic() + delay_seconds >= request.deadline:
                raise failure if failure.status else ModelTimeout("no time to retry", provider=NAME)
            time.sleep(delay_seconds)
            attempt += 1


def _completion(request: ModelRequest) -> object:
    """Make one attempt."""
    seconds_left = request.deadline - time.monotonic()
    if seconds_left <= 0:
        raise ModelTimeout("no time left for a request", provider=NAME)
    seconds = min(float(request.model.timeout_seconds), seconds_left)
    timeout = httpx2.Timeout(seconds, connect=min(seconds, CONNECT_SECONDS))
    client = _client(request.model.base_url, request.model.credential_token)
    completion: object = client.chat.completions.create(**_request_body(request), timeout=timeout)
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
        raise ModelError(text, provider=NAME, status=None, retryable=False) from None


def _failure(error: Exception) -> ModelError:
    """Return the error of an attempt, without the text of the provider's response."""
    match error:
        case OutboundError(code="timeout"):
            return ModelTimeout("no complete response in time", provider=NAME)
        case OutboundError():
            text, retryable = f"no complete response: {error.code}", error.code != "bad_request"
            return ModelError(text, provider=NAME, status=None, retryable=retryable)
        case openai.APIStatusError():
            status = error.status_code
            retryable = status in {408, 409, 429} or status >= 500
            return ModelError(f"status {status}", provider=NAME, status=status, retryable=retryable)
    text = f"the request or its response is not valid: {type(error).__name__}"
    return ModelError(text, provider=NAME, status=None, retryable=False)


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
        # OpenAI's newest models refuse the old name; other servers accept only that.
        name = "max_tokens" if model.base_url else "max_completion_tokens"
        body[name] = request.max_output_tokens
    return body


def _message(message: Message) -> dict[str, Any]:
    body: dict[str, Any] = {"role": message.role, "content": message.text}
    if message.tool_call_id:
        body["tool_call_id"] = message.tool_call_id
    if message.tool_calls:
        body["content"] = message.text or None
        body["tool_calls"] = [_call(call) for call in message.tool_calls]
    return body


def _call(call: ToolCall) -> dict[str, Any]:
    """Return the call as the model wrote it, unless a server would refuse it."""
    name = call.name if _FUNCTION_NAME.fullmatch(call.name) else "unknown"
    arguments = call.arguments if is_json_object(call.arguments) else "{}"
    function = {"name": name, "arguments": arguments}
    return {"id": call.id, "type": "function", "function": function}


def _tool(tool: ToolDefinition) -> dict[str, Any]:
    function = {
        "name": tool.name,
        "description": tool.description,
        "parameters": dict(tool.parameters),
    }
    return {"type": "function", "function": function}


def _response(completion: object) -> ModelResponse:
    """Return the reply in a completion. The SDK does not validate the types of its fields."""
    try:
        if not isinstance(completion, ChatCompletion):
            raise TypeError
        choice, usage = completion.choices[0], completion.usage
        message = choice.message
        return ModelResponse(
            text=_text(message.content) or _text(message.refusal),
            tool_calls=_tool_calls(message.tool_calls or ()),
            finish_reason=_finish_reason(choice.finish_reason),
            input_tokens=_tokens(getattr(usage, "prompt_tokens", None)),
            output_tokens=_tokens(getattr(usage, "completion_tokens", None)),
        )
    except (TypeError, AttributeError, LookupError, RecursionError):
        text = "the response is not a chat completion"
        raise ModelError(text, provider=NAME, status=200, retryable=False) from None


def _text(content: object) -> str:
    """Return the text of a message, which some servers send in parts."""
    if isinstance(content, list):
        return "".join(_text(cast(Any, part)["text"]) for part in content)
    if content is not None and not isinstance(content, str):
        raise TypeError
    return content or ""


def _tool_calls(calls: Any) -> tuple[ToolCall, ...]:
    if len(calls) > MAX_TOOL_CALLS:
        text = f"the response has {len(calls)} tool calls"
        raise ModelError(text, provider=NAME, status=200, retryable=False)
    return tuple(_tool_call(call) for call in calls)


def _tool_call(call: Any) -> ToolCall:
    name, arguments = call.function.name, call.function.arguments
    if not isinstance(name, str):
        raise TypeError
    if not isinstance(arguments, str):
        # Some servers send an object instead of its JSON.
        arguments = orjson.dumps(arguments or {}).decode()
    return ToolCall(call.id if isinstance(call.id, str) else "", name, arguments)


def _finish_reason(reason: object) -> Literal["stop", "length", "content_filter"]:
    """Servers use many words; only these two have a consequence."""
    return cast(Any, reason) if reason in {"length", "content_filter"} else "stop"


def _tokens(count: object) -> int | None:
    """Return a valid count, or None."""
    is_count = isinstance(count, int) and not isinstance(count, bool)
    return cast(int, count) if is_count and 0 <= cast(int, count) <= MAX_TOKENS else None
