"""Structured output: the value of a response, as JSON that is valid by a schema."""

import json
import re
from collections.abc import Mapping
from typing import Any

import orjson

from map_project.api.numbers import inexact_number, loads
from tools.integers import with_integers
from tools.schemas import MAX_VALUE_DEPTH, output_errors, value_count

MAX_OUTPUT_BYTES = 256 * 1024
MAX_OUTPUT_VALUES = 10_000
# Models write it around JSON although they should not.
_CODE_BLOCK = re.compile(r"```(?:json)?[ \t]*\r?\n(.*)\n[ \t]*```", re.DOTALL | re.IGNORECASE)
_MAX_SHOWN_CHARACTERS = 100


class OutputError(Exception):
    """A response is no valid output. `errors` are sentences, at most five."""

    def __init__(self, *errors: str) -> None:
        super().__init__(*errors)
        self.errors = errors


def read_output(text: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the value of a response. Raises OutputError.

    The text is JSON, or one Markdown code block with JSON.
    """
    value = _parsed(without_code_block(text))
    if errors := output_errors(schema, value):
        raise OutputError(*errors)
    return with_integers(schema, value)


def response_errors(text: str, schema: Mapping[str, Any]) -> list[str]:
    """Return why a response is no valid output, in at most five sentences."""
    try:
        read_output(text, schema)
    except OutputError as error:
        return [*error.errors]
    return []


def is_output(text: str, schema: Mapping[str, Any] | None) -> bool:
    """Return whether a text is a valid output, which any text is without a schema."""
    return schema is None or not response_errors(text, schema)


def repair_request(schema: Mapping[str, Any], errors: tuple[str, ...]) -> str:
    """Return the message to the model after an invalid response.

    It has the schema, because some model servers ignore that of the request.
    """
    lines = "\n".join(f"- {error}" for error in errors)
    return (
        f"Your response is not valid:\n{lines}\n\n"
        "Respond again with one JSON object that is valid by this JSON Schema, and with nothing else:\n"
        f"{orjson.dumps(schema).decode()}"
    )


def without_code_block(text: str) -> str:
    """Return the content of a Markdown code block, or the text if it is none."""
    text = text.strip()
    block = _CODE_BLOCK.fullmatch(text)
    return block[1] if block else text


def _parsed(text: str) -> dict[str, Any]:
    if not text:
        raise OutputError("The response has no text.")
    size = len(text.encode())
    if size > MAX_OUTPUT_BYTES:
        raise OutputError(
            f"The response is too long: {size:,} bytes (maximum {MAX_OUTPUT_BYTES:,})."
        )
    try:
        value = loads(text)
    except orjson.JSONDecodeError as error:
        raise OutputError(f"The response is not JSON: {error}.") from None
    if not isinstance(value, dict):
        raise OutputError("The response is not a JSON object.")
    count = value_count(value)
    if count is None:
        raise OutputError(f"The response is nested deeper than {MAX_VALUE_DEPTH} levels.")
    if count > MAX_OUTPUT_VALUES:
        raise OutputError(
            f"The response has too many values: {count:,} (maximum {MAX_OUTPUT_VALUES:,})."
        )
    if number := inexact_number(value):
        raise OutputError(str(number))
    # Parsers differ in which value they use.
    json.loads(text, object_pairs_hook=_unique_names)
    return value


def _unique_names(pairs: list[tuple[str, Any]]) -> None:
    names = set()
    for name, _ in pairs:
        if name in names:
            raise OutputError(
                f"The property '{name[:_MAX_SHOWN_CHARACTERS]}' is repeated in an object."
            )
        names.add(name)
