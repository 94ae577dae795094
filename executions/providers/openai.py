"""Chat Completions, by OpenAI's own SDK, at any address that speaks it: OpenAI, vLLM, Ollama, LiteLLM,
Groq, Mistral, the compatible endpoints of Gemini and Anthropic.

Importing this imports the SDK, which takes a second and 40 MB: nobody does before a row uses it.
"""

import logging
import re
import time
import weakref
from collections import OrderedDict
from http.cookiejar import CookieJar, DefaultCookiePolicy
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal, cast

import httpx2
import openai
import orjson
from django.core.exceptions import ImproperlyConfigured
from openai.types.chat import ChatCompletion

from executions.providers import (
    Message,
    ModelError,
    ModelTimeout,
    Question,
    Reply,
    ToolCall,
    ToolDefinition,
)
from executions.providers.bounded import BoundedTransport, bounds
from map_project.api import secrets

if TYPE_CHECKING:
    from agents.language_models import KnownModel

NAME = "openai"
# It tells the address of every request.
logging.getLogger("httpx2").setLevel(logging.WARNING)

_BASE_URL = "https://api.openai.com/v1"
# Local servers want none, and take any.
_NO_CREDENTIAL = "none"
_CLIENTS = 32
_CONNECT_SECONDS = 10.0
_MAX_TOKENS = 2**31 - 1  # what the database's integers hold
# In one answer; each gets a step, even where it is not made.
_MAX_CALLS = 500
_FITS = re.compile(r"[A-Za-z0-9_-]{1,64}")


class OpenAI:
    """The provider `openai`."""

    def stays_here(self, question: Question) -> bool:
        return False

    def ask(self, question: Question) -> Reply:
        if question.deadline <= time.monotonic():
            raise ModelTimeout("no time was left to ask", provider=NAME)
        bounds.run_deadline = question.deadline
        seconds = float(question.model.timeout_seconds)
        timeout = httpx2.Timeout(seconds, connect=min(seconds, _CONNECT_SECONDS))
        try:
            completions = _client(question.model).chat.completions
            answer: object = completions.create(**_asked(question), timeout=timeout)
        except ModelError:
            raise
        except Exception as error:
            # What the provider sent may stand in its message, and must not reach the log.
            raise _failure(error) from None
        return _reply(answer)


class _Client(openai.OpenAI):
    """The SDK's client, which does not sleep beyond the end of the run before it tries again."""

    def _sleep_for_retry(
        self, *, retries_taken: int, max_retries: int, options: Any, response: Any
    ) -> None:
        headers = response.headers if response is not None else None
        seconds = self._calculate_retry_timeout(max_retries - retries_taken, options, headers)
        if seconds >= bounds.seconds_left():
            if response is None:
                raise ModelTimeout("no time was left to try again", provider=NAME)
            raise _status_error(response.status_code)
        time.sleep(seconds)


def _failure(error: Exception) -> ModelError:
    match error:
        case openai.APITimeoutError():
            return ModelTimeout("there was no whole answer in time", provider=NAME)
        case openai.APIConnectionError():
            text = f"no whole answer came: {type(error.__cause__).__name__}"
            return ModelError(text, provider=NAME, status=None, retryable=True)
        case openai.APIStatusError():
            return _status_error(error.status_code)
    text = f"it could not be asked, or its answer not be read: {type(error).__name__}"
    return ModelError(text, provider=NAME, status=None, retryable=False)


def _status_error(status: int) -> ModelError:
    retryable = status in {408, 409, 429} or status >= 500
    return ModelError(f"status {status}", provider=NAME, status=status, retryable=retryable)


# Clients, the one used last at the end.
_clients: OrderedDict[tuple[str, str, int], _Client] = OrderedDict()
_lock = Lock()


def _client(model: "KnownModel") -> _Client:
    """The client for this address, credential and number of retries; with it, connections are kept."""
    key = (model.base_url, model.credential_token, model.max_retries)
    with _lock:
        if key not in _clients:
            _clients[key] = _made(*key)
        _clients.move_to_end(key)
        while len(_clients) > _CLIENTS:
            # Who still uses it goes on; its connections are closed once nobody does.
            _clients.popitem(last=False)
        return _clients[key]


def _made(base_url: str, credential_token: str, max_retries: int) -> _Client:
    http_client = httpx2.Client(
        transport=BoundedTransport(),
        follow_redirects=False,
        headers={"Accept-Encoding": "identity"},
        # One run is not told what another was, and nothing grows.
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
    )
    client = _Client(
        api_key=_credential(credential_token),
        base_url=base_url or _BASE_URL,
        max_retries=max_retries,
        http_client=http_client,
    )
    # Of the environment's, which may be meant for another address.
    client.organization = client.project = None
    weakref.finalize(client, http_client.close)
    return client


def _credential(token: str) -> str:
    try:
        return secrets.decrypt(token) if token else _NO_CREDENTIAL
    except (secrets.Unreadable, ImproperlyConfigured) as error:
        text = f"the credential cannot be read: {error}"
        raise ModelError(text, provider=NAME, status=None, retryable=False) from None


def _asked(question: Question) -> dict[str, Any]:
    """The request, in the API's words."""
    model = question.model
    asked: dict[str, Any] = {
        "model": model.upstream_name or model.name,
        "messages": [
            {"role": "system", "content": question.system_prompt},
            *map(_message, question.messages),
        ],
    }
    if question.tools:
        asked["tools"] = [_tool(tool) for tool in question.tools]
    if question.temperature is not None:
        asked["temperature"] = question.temperature
    if question.max_output_tokens is not None:
        # OpenAI's newest models refuse the old name, other servers know no other.
        name = "max_tokens" if model.base_url else "max_completion_tokens"
        asked[name] = question.max_output_tokens
    return asked


def _message(message: Message) -> dict[str, Any]:
    told: dict[str, Any] = {"role": message.role, "content": message.text}
    if message.tool_call_id:
        told["tool_call_id"] = message.tool_call_id
    if message.tool_calls:
        told["content"] = message.text or None
        told["tool_calls"] = [_call(call) for call in message.tool_calls]
    return told


def _call(call: ToolCall) -> dict[str, Any]:
    """As the model wrote it, unless servers would refuse to read it again."""
    name = call.name if _FITS.fullmatch(call.name) else "unknown"
    arguments = call.arguments if _is_object(call.arguments) else "{}"
    function = {"name": name, "arguments": arguments}
    return {"id": call.id, "type": "function", "function": function}


def _is_object(text: str) -> bool:
    try:
        return isinstance(orjson.loads(text), dict)
    except orjson.JSONDecodeError:
        return False


def _tool(tool: ToolDefinition) -> dict[str, Any]:
    function = {
        "name": tool.name,
        "description": tool.description,
        "parameters": dict(tool.parameters),
    }
    return {"type": "function", "function": function}


def _reply(answer: object) -> Reply:
    """What the answer says. The SDK does not look whether a field is what its type says."""
    try:
        if not isinstance(answer, ChatCompletion):
            raise TypeError
        choice, usage = answer.choices[0], answer.usage
        message = choice.message
        return Reply(
            text=_text(message.content) or _text(message.refusal),
            tool_calls=_tool_calls(message.tool_calls or ()),
            finish_reason=_finish_reason(choice.finish_reason),
            input_tokens=_tokens(getattr(usage, "prompt_tokens", None)),
            output_tokens=_tokens(getattr(usage, "completion_tokens", None)),
        )
    except (TypeError, AttributeError, LookupError, RecursionError):
        text = "the answer is no chat completion"
        raise ModelError(text, provider=NAME, status=200, retryable=False) from None


def _text(content: object) -> str:
    """Some servers answer in parts."""
    if isinstance(content, list):
        return "".join(_text(cast(Any, part)["text"]) for part in content)
    if content is not None and not isinstance(content, str):
        raise TypeError
    return content or ""


def _tool_calls(calls: Any) -> tuple[ToolCall, ...]:
    if len(calls) > _MAX_CALLS:
        text = f"the answer asks for {len(calls)} calls"
        raise ModelError(text, provider=NAME, status=200, retryable=False)
    return tuple(_tool_call(call) for call in calls)


def _tool_call(call: Any) -> ToolCall:
    name, arguments = call.function.name, call.function.arguments
    if not isinstance(name, str):
        raise TypeError
    if not isinstance(arguments, str):
        # As some servers have it.
        arguments = orjson.dumps(arguments or {}).decode()
    return ToolCall(call.id if isinstance(call.id, str) else "", name, arguments)


def _finish_reason(reason: object) -> Literal["stop", "length", "content_filter"]:
    """Of all the words that servers have for it, these two make a difference."""
    return cast(Any, reason) if reason in {"length", "content_filter"} else "stop"


def _tokens(count: object) -> int | None:
    """None for what is no count."""
    is_count = isinstance(count, int) and not isinstance(count, bool)
    return cast(int, count) if is_count and 0 <= cast(int, count) <= _MAX_TOKENS else None
