"""The JSON Schema of an output as Anthropic's API takes it."""

from collections.abc import Iterator, Mapping
from typing import Any

import anthropic

from executions.providers.tool_schemas import sent_parameters

_MAX_DEPTH = 10


def output_format(schema: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the format of the output, or None if the API cannot guarantee the schema.

    The SDK closes objects, and moves keywords that the API does not support to the descriptions.
    """
    sent = sent_parameters(schema)
    if not _is_supported(sent, 0):
        return None
    try:
        transformed = anthropic.transform_schema(sent)
    except (ValueError, TypeError, AttributeError, AssertionError):
        return None
    return {"type": "json_schema", "schema": transformed}


def _is_supported(schema: Any, depth: int) -> bool:
    """Return whether no object has properties without names, and no keyword would be lost."""
    if not isinstance(schema, dict) or depth > _MAX_DEPTH:
        return False
    if schema.get("additionalProperties", False) is not False or "patternProperties" in schema:
        return False
    if sum(name in schema for name in ("anyOf", "oneOf", "allOf", "$ref")) > 1:
        return False
    return all(_is_supported(part, depth + 1) for part in _parts(schema))


def _parts(schema: dict[str, Any]) -> Iterator[Any]:
    for name in ("properties", "$defs", "definitions"):
        yield from schema.get(name, {}).values()
    for name in ("anyOf", "oneOf", "allOf", "prefixItems"):
        yield from schema.get(name, ())
    if "items" in schema:
        yield schema["items"]
