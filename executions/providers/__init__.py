"""Model providers: one module per kind, all behind the protocol `Provider`.

A provider takes a `ModelRequest` and returns a `ModelResponse`, or raises `ModelError`. It can also stream
the text of the response. It uses no database and no tenant. The setting `MODEL_PROVIDERS` maps the names of
the providers to their classes.
"""

import uuid
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast

import orjson
from django.conf import settings
from django.utils.module_loading import import_string

if TYPE_CHECKING:
    # It imports Django models, which this package does not need at run time.
    from agents.language_models import KnownModel

# "truncated": by this platform, at the maximum size of a response.
FinishReason = Literal["stop", "length", "content_filter", "truncated"]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call requested by a model.

    `name` should be the name of a definition, and `arguments` JSON. Both are as the model wrote them and
    not validated. `extra` are fields of the server's own, which it expects back unchanged.
    """

    id: str
    name: str
    arguments: str
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Message:
    """A message of the conversation.

    One of the assistant may request tool calls. One of a tool holds the result of the call `tool_call_id` of
    the function `name`. `extra` are further fields of the server's own, such as the model's reasoning.
    """

    role: Literal["user", "assistant", "tool"]
    text: str
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""
    name: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ToolDefinition:
    """A tool that the model may call by `name`, which every provider accepts."""

    name: str
    tool_name: str  # the name that the tenant gave it
    description: str
    parameters: Mapping[str, Any]  # a JSON Schema


@dataclass(frozen=True, slots=True)
class AgentProfile:
    """The agent that makes a request. `tools` are the names of all its tools, by code point."""

    agent_id: uuid.UUID
    name: str
    role: str
    tools: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """A request to a model.

    Settings that are None are left to the provider. `deadline` is a value of `time.monotonic`.
    `output_schema` is a JSON Schema that the text of the response, as JSON, should satisfy.
    """

    model: "KnownModel"
    agent: AgentProfile
    system_prompt: str
    messages: tuple[Message, ...]
    tools: tuple[ToolDefinition, ...] = ()
    temperature: float | None = None
    max_output_tokens: int | None = None
    deadline: float = float("inf")
    output_schema: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class ModelResponse:
    """The response of a model. Token counts are None if the provider does not report them.

    `extra` are fields of a message with tool calls that the server expects back.
    """

    text: str
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: FinishReason = "stop"
    input_tokens: int | None = None
    output_tokens: int | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


class ModelError(Exception):
    """A request to a model failed.

    `status` is the HTTP status of the provider, None without a response. `retryable` is true if the same
    request may succeed later. `reason` is one of the codes in docs/troubleshoot.md, and `output` the part
    of the model's text that arrived. `identifiers` are the provider's `code`, `type` and `param`, and `tool`,
    the name of the tool that it refused. `provider_message` is the provider's message for operators, without
    secrets. The text is logged, so it must not contain text of the provider or the tenant.
    """

    error_code = "MODEL_ERROR"

    def __init__(
        self,
        text: str,
        *,
        provider: str,
        status: int | None,
        retryable: bool,
        reason: str = "model_error",
        output: str = "",
        identifiers: Mapping[str, str] | None = None,
        provider_message: str = "",
    ) -> None:
        super().__init__(text)
        self.provider = provider
        self.status = status
        self.retryable = retryable
        self.reason = reason
        self.output = output
        self.identifiers = dict(identifiers or {})
        self.provider_message = provider_message


class ModelTimeout(ModelError):
    """The model did not respond in time."""

    error_code = "MODEL_TIMEOUT"

    def __init__(self, text: str, *, provider: str, output: str = "") -> None:
        super().__init__(
            text,
            provider=provider,
            status=None,
            retryable=True,
            reason="model_timeout",
            output=output,
        )


def is_json_object(text: str) -> bool:
    """Return whether the text is JSON and an object, as the arguments of a call should be."""
    try:
        return isinstance(orjson.loads(text), dict)
    except orjson.JSONDecodeError:
        return False


class Provider(Protocol):
    """The interface of a provider."""

    def is_local(self, request: ModelRequest) -> bool:
        """Return whether this process responds immediately and without tool calls.

        Such a run is stored once it is over, with one statement.
        """

    def complete(self, request: ModelRequest) -> ModelResponse:
        """Return the response of the model. Raises ModelError."""

    def stream(self, request: ModelRequest) -> Generator[str, None, ModelResponse]:
        """Yield the text of the response as it arrives, and return the response. Raises ModelError.

        No piece is empty, and together they are `ModelResponse.text`. Closing the generator ends the request.
        """


@cache
def get_provider(name: str) -> Provider:
    """Return the provider with this name in `MODEL_PROVIDERS`.

    The first call imports its module. That may take a second, so `executions.background` makes this call
    for the providers of all active models before a run does.
    """
    try:
        return cast(Provider, import_string(settings.MODEL_PROVIDERS[name])())
    except ImportError as error:
        return UnavailableProvider(name, f"{error.name or name} is not installed")


@dataclass(frozen=True, slots=True)
class UnavailableProvider:
    """Takes the place of a provider that cannot be imported, so that its runs are stored as failed."""

    name: str
    reason: str

    def is_local(self, request: ModelRequest) -> bool:
        return False

    def complete(self, request: ModelRequest) -> ModelResponse:
        raise ModelError(
            self.reason,
            provider=self.name,
            status=None,
            retryable=False,
            reason="not_available",
        )

    def stream(self, request: ModelRequest) -> Generator[str, None, ModelResponse]:
        yield from ()
        return self.complete(request)
