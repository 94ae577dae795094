"""How a tool is called: a file for each kind, named here and nowhere else.

A call needs no database: what it needs of a row is taken before the connection goes back.
"""

import logging
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Protocol, cast
from uuid import UUID

import orjson
from django.core.exceptions import ImproperlyConfigured

from map_project.api import secrets
from tools.blotting import Blotter

logger = logging.getLogger("map.tools")

# Kind: its module, imported when the first tool of it is saved or called.
INVOKERS = {"http": "tools.invokers.http"}

# What a `CallableTool` is made of, by the names of the columns.
COLUMNS = ("id", "name", "description", "parameters", "kind", "config", "secrets_token")
MAX_ARGUMENT_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class CallableTool:
    """A tool as a call needs it. `secrets_token` is encrypted until the call."""

    id: UUID
    name: str
    description: str
    parameters: Mapping[str, Any]
    kind: str
    config: Mapping[str, Any]
    secrets_token: str = field(repr=False)

    @classmethod
    def of(cls, tool: Any) -> "CallableTool":
        return cls(
            id=tool.id,
            name=tool.name,
            description=tool.description,
            parameters=tool.parameters,
            kind=tool.kind,
            config=tool.config or {},
            secrets_token=tool.secrets_token,
        )


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What became of a call. `text` is what the model is told, whether it went well or not; no secret
    of the tool is in it. `error` is None, or a code: `bad_arguments`, `timeout`, `http_500`…
    """

    text: str
    error: str | None
    latency_ms: int


class ToolFailed(Exception):
    """A call went wrong, through the tool or the model: a code, and a sentence for the model."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(code)
        self.code = code
        self.text = text


class Invoker(Protocol):
    """What the module of a kind has."""

    def checked(self, config: object) -> dict[str, Any]:
        """The configuration, whole: what was left out is at its default. Raises `ConfigError`."""

    def crossed(
        self, config: Mapping[str, Any], parameters: Mapping[str, Any], secret_names: list[str]
    ) -> list[str]:
        """What does not fit together between the three, in sentences."""

    def invoke(
        self,
        config: Mapping[str, Any],
        arguments: Mapping[str, Any],
        opened: Mapping[str, str],
        *,
        blotter: Blotter,
        deadline: float,
    ) -> str:
        """Make the call: the result, without secrets. Raises ToolFailed, its text likewise."""


class ConfigError(ValueError):
    """A configuration is refused; `problems` says why, in sentences."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__(" ".join(problems))
        self.problems = problems


def invoker(kind: str) -> Invoker:
    """Of a kind in `INVOKERS`."""
    return cast(Invoker, import_module(INVOKERS[kind]))


def call(tool: CallableTool, arguments_json: str, *, deadline: float) -> ToolResult:
    """Call the tool with what the model wrote; `deadline` is a reading of `time.monotonic`.

    Never raises for what a tool or a model did wrong. Touches no database.
    """
    started = time.monotonic()
    error: str | None = None
    try:
        text = _called(tool, arguments_json, deadline)
    except ToolFailed as failed:
        error, text = failed.code, failed.text
        if error == "refused":
            logger.warning("the tool %s leads where no tool may", tool.id)
    except Exception as unforeseen:
        # Where, but not its message, in which a secret may stand.
        logger.error(
            "a tool call raised %s\n%s",
            type(unforeseen).__name__,
            "".join(traceback.format_tb(unforeseen.__traceback__)),
        )
        error, text = "internal", "The call failed, by a fault of the platform."
    # PostgreSQL keeps no NUL.
    text = text.replace("\0", "\N{REPLACEMENT CHARACTER}")
    return ToolResult(text, error, round((time.monotonic() - started) * 1000))


def _called(tool: CallableTool, arguments_json: str, deadline: float) -> str:
    from tools import schemas

    if tool.kind not in INVOKERS:
        raise ToolFailed("not_callable", "This tool is declared only: nothing can be called.")
    arguments = _arguments(arguments_json)
    if problems := schemas.mismatches(tool.parameters, arguments):
        raise ToolFailed("bad_arguments", "The arguments are wrong: " + " ".join(problems))
    opened = _opened(tool)
    return invoker(tool.kind).invoke(
        tool.config, arguments, opened, blotter=Blotter(opened.values()), deadline=deadline
    )


def _arguments(text: str) -> dict[str, Any]:
    """Nothing at all counts as no arguments, as some models write it."""
    if len(text) > MAX_ARGUMENT_BYTES:
        raise ToolFailed(
            "bad_arguments", f"The arguments are over {MAX_ARGUMENT_BYTES} characters long."
        )
    try:
        arguments = orjson.loads(text) if text.strip() else {}
    except orjson.JSONDecodeError as error:
        raise ToolFailed("bad_arguments", f"The arguments are not valid JSON: {error}.") from None
    if not isinstance(arguments, dict):
        raise ToolFailed("bad_arguments", "The arguments are not a JSON object.")
    return arguments


def _opened(tool: CallableTool) -> dict[str, str]:
    if not tool.secrets_token:
        return {}
    try:
        opened: dict[str, str] = orjson.loads(secrets.decrypt(tool.secrets_token))
    except (secrets.Unreadable, ImproperlyConfigured):
        logger.error("no key opens the secrets of the tool %s", tool.id)
        raise ToolFailed(
            "secrets_unreadable", "The tool's secrets cannot be read; they must be set again."
        ) from None
    return opened
