"""Calls of tools. Each kind of callable tool has a module here, listed in `INVOKERS`.

A call needs no database connection: `CallableTool` holds what it needs of a row.
"""

import logging
import time
import traceback
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError
from django.db.models.functions import Now

from map_project.api import secrets
from map_project.api.numbers import inexact_number, loads
from tools import schemas
from tools.integers import with_integers
from tools.invokers import http, mcp
from tools.invokers.base import TOOL_CHANGED, CallableTool, ConfigError, Invoker, ToolError
from tools.models import Tool
from tools.redaction import SecretRedactor

__all__ = [
    "INVOKERS",
    "CallableTool",
    "ConfigError",
    "ToolError",
    "ToolResult",
    "call",
    "decrypt_secrets",
    "invoker",
]

logger = logging.getLogger("map.tools")

INVOKERS: dict[str, Invoker] = {"http": http, "mcp": mcp}

MAX_ARGUMENT_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class ToolResult:
    """The result of a call, or its failure. `text` is sent to the model and contains no secret of the tool.

    `error` is None or a code such as `bad_arguments`, `timeout` or `http_500`.
    """

    text: str
    error: str | None
    latency_ms: int


def invoker(kind: str) -> Invoker:
    """Return the module of a kind in `INVOKERS`."""
    return INVOKERS[kind]


def call(
    tool: CallableTool, arguments_json: str, *, deadline: float, idempotency_key: str = ""
) -> ToolResult:
    """Call the tool with the arguments that a model wrote.

    `deadline` is a value of `time.monotonic`. `idempotency_key` is sent to the tool, so that it can recognise
    a repeated call. A failure is a result, not an exception.
    """
    started = time.monotonic()
    error: str | None = None
    try:
        text = _call(tool, arguments_json, deadline, idempotency_key)
    except ToolError as failure:
        error, text = failure.code, failure.text
        if error == TOOL_CHANGED and not tool.is_changed:
            _mark_changed(tool)
        if error == "refused":
            logger.warning("the address of tool %s is not allowed", tool.id)
    except Exception as failure:
        # The traceback without the message, which may quote a secret.
        logger.error(
            "a tool call raised %s\n%s",
            type(failure).__name__,
            "".join(traceback.format_tb(failure.__traceback__)),
        )
        error, text = "internal", "The call failed because of an internal error in the platform."
    # PostgreSQL cannot store NUL.
    text = text.replace("\0", "\N{REPLACEMENT CHARACTER}")
    return ToolResult(text, error, round((time.monotonic() - started) * 1000))


def _mark_changed(tool: CallableTool) -> None:
    """Store that the definition differs, unless it was refreshed since the tool was read."""
    rows = Tool.objects.filter(pk=tool.id, definition_hash=tool.definition_hash)
    try:
        rows.update(state=Tool.State.CHANGED, updated_at=Now())
    except DatabaseError:
        # The next call finds it again.
        logger.warning("the state of tool %s could not be stored", tool.id)


def _call(tool: CallableTool, arguments_json: str, deadline: float, idempotency_key: str) -> str:
    if tool.kind not in INVOKERS:
        raise ToolError("not_callable", "This is a declared tool, which cannot be called.")
    arguments = _parse_arguments(arguments_json)
    if problems := schemas.argument_errors(tool.parameters, arguments):
        raise ToolError("bad_arguments", "The arguments are not valid: " + " ".join(problems))
    values = decrypt_secrets(tool.id, tool.secrets_token)
    return invoker(tool.kind).call(
        tool,
        with_integers(tool.parameters, arguments),
        values,
        redactor=SecretRedactor(values.values()),
        deadline=deadline,
        idempotency_key=idempotency_key,
    )


def _parse_arguments(text: str) -> dict[str, Any]:
    """Return the arguments. Some models write an empty text or `null` for no arguments."""
    if len(text) > MAX_ARGUMENT_BYTES:
        message = f"The arguments have more than {MAX_ARGUMENT_BYTES} characters."
        raise ToolError("bad_arguments", message)
    try:
        arguments = loads(text) if text.strip() not in {"", "null"} else {}
    except orjson.JSONDecodeError as error:
        raise ToolError("bad_arguments", f"The arguments are not valid JSON: {error}.") from None
    if not isinstance(arguments, dict):
        raise ToolError("bad_arguments", "The arguments are not a JSON object.")
    if number := inexact_number(arguments):
        raise ToolError("bad_arguments", f"The arguments are not valid: {number}")
    return arguments


def decrypt_secrets(tool_id: UUID, token: str) -> dict[str, str]:
    """Return the values of a tool's secrets by name. Raises ToolError."""
    if not token:
        return {}
    try:
        values: dict[str, str] = orjson.loads(secrets.decrypt(token))
    except (secrets.Unreadable, ImproperlyConfigured):
        logger.error("no key decrypts the secrets of tool %s", tool_id)
        message = "The secrets of the tool cannot be decrypted. Set them again."
        raise ToolError("secrets_unreadable", message) from None
    return values
