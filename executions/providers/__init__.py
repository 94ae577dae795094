"""What serves models: each kind of it in a file here, behind one small protocol.

A provider gets a `Question` and gives a `Reply`, or raises a `ModelError`. It knows no database and
no tenant. Which there are stands in one place, the setting `MODEL_PROVIDERS`; the module of one is
imported when the first row that uses it is asked.
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from django.conf import settings
from django.utils.module_loading import import_string

if TYPE_CHECKING:
    # With the models of Django behind it, of which nothing here has need.
    from agents.language_models import KnownModel


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call that a model asks for. `name` is one of the definitions' (or the model's invention);
    `arguments` is JSON, as the model wrote it: nobody has looked whether it is any.
    """

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Message:
    """A part of the conversation. The assistant's may ask for calls; a tool's answers one of them."""

    role: Literal["user", "assistant", "tool"]
    text: str
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""


@dataclass(frozen=True, slots=True)
class ToolDefinition:
    """A tool that the model may ask for by `name`, which is made so that any provider takes it."""

    name: str
    tool_name: str  # the tenant's
    description: str
    parameters: Mapping[str, Any]  # a JSON Schema


@dataclass(frozen=True, slots=True)
class Asker:
    """The agent that asks. `tools` are the names of all its tools, ordered by code point."""

    agent_id: uuid.UUID
    name: str
    role: str
    tools: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Question:
    """All that a model is told. What is None is left to the provider; `deadline` is a reading of
    `time.monotonic`, by which the answer is here or given up.
    """

    model: "KnownModel"
    asker: Asker
    system_prompt: str
    messages: tuple[Message, ...]
    tools: tuple[ToolDefinition, ...] = ()
    temperature: float | None = None
    max_output_tokens: int | None = None
    deadline: float = float("inf")


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model said. Tokens are None where the provider does not tell."""

    text: str
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: Literal["stop", "length", "content_filter"] = "stop"
    input_tokens: int | None = None
    output_tokens: int | None = None


class ModelError(Exception):
    """The provider failed. `status` is its HTTP status, None where there was no answer; `retryable`,
    whether the same question may go well later. The text is for the log: it holds nothing that the
    provider or the tenant sent.
    """

    error_code = "MODEL_ERROR"

    def __init__(self, text: str, *, provider: str, status: int | None, retryable: bool) -> None:
        super().__init__(text)
        self.provider = provider
        self.status = status
        self.retryable = retryable


class ModelTimeout(ModelError):
    """There was no whole answer in time."""

    error_code = "MODEL_TIMEOUT"

    def __init__(self, text: str, *, provider: str) -> None:
        super().__init__(text, provider=provider, status=None, retryable=True)


class Provider(Protocol):
    """What a file here has."""

    def stays_here(self, question: Question) -> bool:
        """Whether this process itself answers, at once, and asks for no call: such a run waits for
        nobody, and is on record once it is over.
        """

    def ask(self, question: Question) -> Reply:
        """The model's answer. Raises ModelError."""


_imported: dict[str, Provider] = {}


def provider(name: str) -> Provider:
    """The provider of this name in `MODEL_PROVIDERS`. The first time it is imported, which may take
    seconds.
    """
    if name not in _imported:
        try:
            _imported[name] = import_string(settings.MODEL_PROVIDERS[name])()
        except ImportError as error:
            _imported[name] = _Missing(name, f"{error.name or name} is not installed")
    return _imported[name]


def is_imported(name: str) -> bool:
    """Whether `provider` answers at once."""
    return name in _imported


@dataclass(frozen=True, slots=True)
class _Missing:
    """Stands in for a provider of which something is not installed here."""

    name: str
    text: str

    def stays_here(self, question: Question) -> bool:
        return False

    def ask(self, question: Question) -> Reply:
        raise ModelError(self.text, provider=self.name, status=None, retryable=False)
