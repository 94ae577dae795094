"""The form of the text that a request asks for."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from rest_framework import serializers

from map_project.api.errors import ValidationFailed
from map_project.openai_api.errors import UnsupportedParameter
from tools.serializers import SchemaField

# What the mode `json_object` promises.
_ANY_OBJECT = {"type": "object"}
_NAME = re.compile("[A-Za-z0-9_-]{1,64}")


class Format(NamedTuple):
    """The output schema of a run, or None for that of the agent, and its name in the request."""

    schema: Mapping[str, Any] | None = None
    name: str = ""


def of_response(value: Any) -> Format:
    """Return the format in the field `text` of a request for a response. Raises ApiError."""
    if not isinstance(value, dict):
        raise _invalid("text", "Expected an object.")
    return _format(value.get("format"), "text.format", "text.format")


def of_chat(value: Any) -> Format:
    """Return the `response_format` of a chat completion. Raises ApiError."""
    path = "response_format"
    return _format(value, path, f"{path}.json_schema", nested="json_schema")


def _format(value: Any, path: str, schema_path: str, nested: str = "") -> Format:
    if value is None:
        return Format()
    if not isinstance(value, dict):
        raise _invalid(path, "Expected an object.")
    match value.get("type"):
        case "text":
            return Format()
        case "json_object":
            return Format(_ANY_OBJECT)
        case "json_schema":
            return _json_schema(value.get(nested) if nested else value, schema_path)
    raise UnsupportedParameter(
        "The formats are text, json_object and json_schema.", param=f"{path}.type"
    )


def _json_schema(value: Any, path: str) -> Format:
    if not isinstance(value, dict):
        raise _invalid(path, "Expected an object.")
    name = value.get("name")
    if not (isinstance(name, str) and _NAME.fullmatch(name)):
        raise _invalid(f"{path}.name", "Expected 1 to 64 letters, digits, underscores or hyphens.")
    try:
        schema = SchemaField().run_validation(value.get("schema"))
    except serializers.ValidationError as error:
        raise ValidationFailed(fields={f"{path}.schema": [*map(str, error.detail)]}) from None
    return Format(schema, name)


def _invalid(path: str, sentence: str) -> ValidationFailed:
    return ValidationFailed(fields={path: [sentence]})
