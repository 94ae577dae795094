"""Arguments that are also sent as headers: parameters whose schema has `x-mcp-header`."""

import base64
import re
from collections.abc import Iterator, Mapping
from typing import Any

from tools.schema_analysis import subschemas

KEYWORD = "x-mcp-header"
PREFIX = "Mcp-Param-"
TYPES = ("string", "integer", "boolean")

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
_PLAIN = re.compile(r"[\x20-\x7e]*")
_ENCODED = re.compile(r"=\?base64\?.*\?=")

Path = tuple[str, ...]


def header_errors(schema: Mapping[str, Any]) -> list[str]:
    """Return why the annotations of a schema are not valid, as sentences. The schema itself is valid."""
    annotated = list(_annotated(dict(schema)))
    names = [str(child[KEYWORD]).lower() for _, child in annotated]
    if any(not path for path, _ in annotated):
        return [f"{KEYWORD} is allowed only in a property, not within another keyword."]
    if not all(_is_valid(child) for _, child in annotated):
        return [f"{KEYWORD} must be the name of a header, in a string, an integer or a boolean."]
    if len(set(names)) != len(names):
        return [f"{KEYWORD} names a header twice."]
    return []


def parameter_headers(
    schema: Mapping[str, Any], arguments: Mapping[str, Any]
) -> list[tuple[str, str]]:
    """Return the headers for the arguments of a call. `schema` has no `header_errors`."""
    headers = []
    for path, child in _annotated(dict(schema)):
        value = _value(arguments, path)
        if path and _is_valid(child) and isinstance(value, str | int):
            text = str(value).lower() if isinstance(value, bool) else str(value)
            headers.append((f"{PREFIX}{child[KEYWORD]}", header_value(text)))
    return headers


def header_value(text: str) -> str:
    """Return the text as the value of a header, in base64 if it is not plain ASCII."""
    is_plain = _PLAIN.fullmatch(text) and text == text.strip() and not _ENCODED.fullmatch(text)
    return text if is_plain else f"=?base64?{base64.b64encode(text.encode()).decode()}?="


def _annotated(schema: dict[str, Any]) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield the subschemas with the annotation. The path is empty if it is not one of properties alone."""
    waiting: list[tuple[Path, bool, Any]] = [((), True, schema)]
    while waiting:
        path, is_property, child = waiting.pop()
        if not isinstance(child, dict):
            continue
        if KEYWORD in child:
            yield (path if is_property else ()), child
        properties = child.get("properties")
        if is_property and isinstance(properties, dict):
            waiting += [((*path, name), True, value) for name, value in properties.items()]
            child = {name: value for name, value in child.items() if name != "properties"}
        waiting += [((), False, other) for other in subschemas(child)]


def _is_valid(child: Mapping[str, Any]) -> bool:
    name = child[KEYWORD]
    return (
        isinstance(name, str)
        and _TOKEN.fullmatch(name) is not None
        and isinstance(child.get("type"), str)
        and child["type"] in TYPES
    )


def _value(arguments: Any, path: Path) -> Any:
    for name in path:
        arguments = arguments.get(name) if isinstance(arguments, dict) else None
    return arguments
