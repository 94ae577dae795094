"""The JSON Schema of an output as OpenAI's API takes it."""

from collections.abc import Mapping
from typing import Any

from executions.providers.tool_schemas import sent_parameters

# The subset that OpenAI can guarantee. Another keyword, or more of them, would be refused with `strict`.
_KEYWORDS = {
    *("type", "title", "description", "enum", "const", "anyOf", "$ref", "$defs"),
    *("properties", "required", "additionalProperties", "items", "minItems", "maxItems"),
    *("pattern", "format", "multipleOf", "minimum", "maximum"),
    *("exclusiveMinimum", "exclusiveMaximum"),
}
_FORMATS = {
    *("date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"),
}
_MAX_DEPTH = 10


def response_format(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the field `response_format` of a request, strict if the server can guarantee the schema."""
    sent = sent_parameters(schema)
    is_strict = sent.get("type") == "object" and "anyOf" not in sent and _is_strict(sent, 0)
    return {
        "type": "json_schema",
        "json_schema": {"name": "output", "schema": sent, "strict": is_strict},
    }


def _is_strict(schema: Any, depth: int) -> bool:
    if not isinstance(schema, dict) or depth > _MAX_DEPTH or not schema.keys() <= _KEYWORDS:
        return False
    if not schema.keys() & {"type", "anyOf", "$ref"}:
        return False
    if schema.get("format", "date") not in _FORMATS:
        return False
    if "properties" in schema and not _has_exact_properties(schema):
        return False
    parts = [
        *schema.get("properties", {}).values(),
        *schema.get("$defs", {}).values(),
        *schema.get("anyOf", ()),
        *([schema["items"]] if "items" in schema else ()),
    ]
    return all(_is_strict(part, depth + 1) for part in parts)


def _has_exact_properties(schema: Mapping[str, Any]) -> bool:
    """Return whether each property is required and no other is allowed."""
    is_closed = schema.get("additionalProperties") is False
    return is_closed and set(schema["properties"]) == set(schema.get("required", ()))
