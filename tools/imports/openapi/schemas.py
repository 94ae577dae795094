"""Schemas of OpenAPI documents as JSON Schemas of tools.

References are replaced by what they refer to, as deep as the size of a tool's schema allows. Where a schema
is cut, it accepts more, never less: `oneOf` becomes `anyOf`, and keywords that restrict by what does not
match (`not`, `if`) are left out. The server validates the rest.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from tools.imports.openapi.document import Document, UnsupportedOperation

MAX_BYTES = 16 * 1024
MAX_DESCRIPTION_CHARACTERS = 1_000
MAX_FORMAT_CHARACTERS = 50
MAX_EXAMPLE_BYTES = 300
MAX_ENUM_BYTES = 4_096
MAX_PATTERN_CHARACTERS = 1_000
MAX_REQUIRED = 1_000
MAX_NESTED_REFERENCES = 50
# The levels of the schema and the characters of descriptions that are tried, until it is small enough.
_ATTEMPTS = ((8, MAX_DESCRIPTION_CHARACTERS), (5, MAX_DESCRIPTION_CHARACTERS), (3, 300), (1, 100))
# The size of a schema or a property, besides its name and its keywords.
_NODE_BYTES = 10

_TYPES = {"string", "number", "integer", "boolean", "object", "array", "null"}
_NUMBERS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
_COUNTS = (
    *("minLength", "maxLength", "minItems", "maxItems"),
    *("minProperties", "maxProperties"),
)
_ANNOTATIONS = ("description", "default", "example", "examples")
_RESTRICTIONS = (
    *("type", "format", "enum", "const", *_NUMBERS, *_COUNTS, "multipleOf", "uniqueItems"),
    "pattern",
)
_SCHEMA_MAPS = ("properties", "patternProperties")
_SCHEMA_LISTS = ("allOf", "anyOf", "oneOf", "prefixItems")
_SCHEMAS = ("items", "additionalProperties", "propertyNames")
# The keywords beside `$ref` that restrict the schema that it refers to.
_SIBLINGS = (*_RESTRICTIONS, *_SCHEMA_MAPS, "required", *_SCHEMA_LISTS, *_SCHEMAS)


@dataclass(frozen=True, slots=True)
class Argument:
    """An argument of a tool: a parameter of the operation, or its body."""

    name: str
    schema: Any
    description: str = ""
    is_required: bool = False


def parameters_schema(
    document: Document, arguments: list[Argument], *, keeps_patterns: bool = True
) -> dict[str, Any]:
    """Return the schema of the arguments. Raises UnsupportedOperation."""
    for depth, max_characters in _ATTEMPTS:
        converter = _Converter(document, max_characters, keeps_patterns=keeps_patterns)
        try:
            properties = {
                argument.name: converter.argument(argument, depth) for argument in arguments
            }
        except _TooLarge:
            continue
        required = [argument.name for argument in arguments if argument.is_required]
        return {
            "type": "object",
            "properties": properties,
            **({"required": required} if required else {}),
            "additionalProperties": False,
        }
    raise UnsupportedOperation(f"The schema of its arguments has more than {MAX_BYTES} bytes.")


class _TooLarge(Exception):
    pass


class _Converter:
    """Converts schemas, whose sizes together are limited."""

    def __init__(self, document: Document, max_characters: int, *, keeps_patterns: bool) -> None:
        self._document = document
        self._max_characters = max_characters
        self._keeps_patterns = keeps_patterns
        self._bytes_left = MAX_BYTES

    def argument(self, argument: Argument, depth: int) -> Any:
        """Return the schema of an argument. Raises _TooLarge, and UnsupportedOperation."""
        schema = self._schema(argument.schema, depth, frozenset())
        self._count(argument.name)
        if not isinstance(schema, dict) or not argument.description:
            return schema
        return {**schema, **self._leaves({"description": argument.description})}

    def _count(self, *values: Any) -> None:
        self._document.count_schema()
        self._bytes_left -= _NODE_BYTES + sum(len(orjson.dumps(value)) for value in values)
        if self._bytes_left < 0:
            raise _TooLarge

    def _schema(self, node: Any, depth: int, references: frozenset[str]) -> Any:
        """Convert a schema. `references` are those that lead to it."""
        if not isinstance(node, dict):
            return node if isinstance(node, bool) else {}
        if isinstance(reference := node.get("$ref"), str):
            schema = self._referenced(reference, depth, references)
            rest = {key: node[key] for key in _SIBLINGS if key in node}
            if rest:
                schema = {"allOf": [schema, self._schema(rest, depth, references)]}
            if not isinstance(schema, dict):
                return schema
            schema |= self._leaves({key: node[key] for key in _ANNOTATIONS if key in node})
            return _nullable(schema) if node.get("nullable") is True else schema
        schema = self._leaves(node)
        if depth > 0:
            schema |= self._subschemas(node, depth - 1, references)
        schema = _without_single_all_of(schema)
        return _nullable(schema) if node.get("nullable") is True else schema

    def _referenced(self, reference: str, depth: int, references: frozenset[str]) -> Any:
        target = self._document.target(reference)
        if reference in references or len(references) >= MAX_NESTED_REFERENCES:
            is_schema = isinstance(target, dict) and "$ref" not in target
            return self._leaves(target) if is_schema else {}
        return self._schema(target, depth, references | {reference})

    def _leaves(self, node: Mapping[str, Any]) -> dict[str, Any]:
        leaves = dict(_leaves(node, self._max_characters))
        if not self._keeps_patterns:
            leaves.pop("pattern", None)
        self._count(leaves)
        return leaves

    def _subschemas(
        self, node: Mapping[str, Any], depth: int, references: frozenset[str]
    ) -> dict[str, Any]:
        schema: dict[str, Any] = {}
        if isinstance(node.get("properties"), dict):
            schema |= self._properties(node, depth, references)
        if has_patterns := isinstance(node.get("patternProperties"), dict):
            patterns = node["patternProperties"] if self._keeps_patterns else {}
            schema["patternProperties"] = dict(self._children(patterns, depth, references))
        for keyword in _SCHEMA_LISTS:
            if isinstance(node.get(keyword), list) and node[keyword]:
                found = [self._schema(child, depth, references) for child in node[keyword]]
                # Where a schema is cut, more than one of the alternatives may match.
                name = "anyOf" if keyword == "oneOf" else keyword
                schema[name] = [*schema.get(name, []), *found]
        for keyword in _SCHEMAS:
            if keyword == "additionalProperties" and has_patterns and not self._keeps_patterns:
                continue
            if isinstance(node.get(keyword), dict | bool):
                schema[keyword] = self._schema(node[keyword], depth, references)
        return schema

    def _properties(
        self, node: Mapping[str, Any], depth: int, references: frozenset[str]
    ) -> dict[str, Any]:
        """Return the keywords for properties, without those that only responses have."""
        properties = {
            name: schema
            for name, schema in self._children(node["properties"], depth, references)
            if not self._is_read_only(node["properties"][name])
        }
        required = node.get("required")
        names = required[:MAX_REQUIRED] if isinstance(required, list) else []
        kept = [name for name in names if isinstance(name, str) and name in properties]
        self._count(kept)
        return {"properties": properties, **({"required": [*dict.fromkeys(kept)]} if kept else {})}

    def _children(
        self, schemas: Mapping[str, Any], depth: int, references: frozenset[str]
    ) -> Iterator[tuple[str, Any]]:
        for name, child in schemas.items():
            self._count(name)
            yield name, self._schema(child, depth, references)

    def _is_read_only(self, node: Any) -> bool:
        if isinstance(node, dict) and isinstance(node.get("$ref"), str):
            node = self._document.target(node["$ref"])
        return isinstance(node, dict) and node.get("readOnly") is True


def _leaves(node: Mapping[str, Any], max_characters: int) -> Iterator[tuple[str, Any]]:
    """Yield the keywords without subschemas whose values are valid."""
    if types := _types(node.get("type")):
        yield "type", types
    text = node.get("description")
    if isinstance(text, str) and (description := shortened(text, max_characters)):
        yield "description", description
    if isinstance(name := node.get("format"), str):
        yield "format", shortened(name, MAX_FORMAT_CHARACTERS)
    pattern = node.get("pattern")
    if isinstance(pattern, str) and len(pattern) <= MAX_PATTERN_CHARACTERS:
        yield "pattern", pattern
    if isinstance(values := node.get("enum"), list) and values and _fits(values, MAX_ENUM_BYTES):
        yield "enum", values
    if "const" in node and _fits(node["const"], MAX_ENUM_BYTES):
        yield "const", node["const"]
    yield from _limits(node)
    if "default" in node and _fits(node["default"], MAX_EXAMPLE_BYTES):
        yield "default", node["default"]
    examples = node["examples"] if "examples" in node else [node.get("example")]
    if isinstance(examples, list) and examples != [None] and _fits(examples, MAX_EXAMPLE_BYTES):
        yield "examples", examples


def _types(value: Any) -> str | list[str] | None:
    """Return the value of the keyword `type`, or None if it is not valid."""
    if isinstance(value, list) and len(value) <= len(_TYPES):
        types = [each for each in value if isinstance(each, str) and each in _TYPES]
        return [*dict.fromkeys(types)] or None
    return value if isinstance(value, str) and value in _TYPES else None


def shortened(text: str, max_characters: int) -> str:
    """Return a text for a model, without NUL and with at most `max_characters` characters."""
    start = text[: 5 * max_characters].replace("\0", "").strip()
    if len(start) <= max_characters:
        return start
    return start[: max_characters - 1].rstrip() + "…"


def _limits(node: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for keyword in _NUMBERS:
        # In version 3.0, they are booleans that belong to the other keyword.
        exclusive = f"exclusive{keyword.capitalize()}"
        if _is_number(node.get(keyword)):
            yield (exclusive if node.get(exclusive) is True else keyword), node[keyword]
    for keyword in _COUNTS:
        if type(node.get(keyword)) is int and node[keyword] >= 0:
            yield keyword, node[keyword]
    if _is_number(node.get("multipleOf")) and node["multipleOf"] > 0:
        yield "multipleOf", node["multipleOf"]
    if node.get("uniqueItems") is True:
        yield "uniqueItems", True


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _fits(value: Any, max_bytes: int) -> bool:
    """Return whether a value is JSON of at most `max_bytes` bytes, without NUL."""
    if not _is_small(value, max_bytes):
        return False
    try:
        text = orjson.dumps(value)
    except TypeError:
        return False
    return len(text) <= max_bytes and b"\\u0000" not in text


def _is_small(value: Any, max_size: int) -> bool:
    """Return whether the values and characters are few. Takes no longer for a larger value."""
    pending = [value]
    while pending:
        part = pending.pop()
        max_size -= 1 + (len(part) if isinstance(part, str | list | dict) else 0)
        if max_size < 0:
            return False
        if isinstance(part, dict):
            pending += part.values()
        elif isinstance(part, list):
            pending += part
    return True


def _without_single_all_of(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema in which `allOf` with one schema, and no other restrictions, is that schema."""
    parts = schema.get("allOf")
    if not parts or len(parts) > 1 or not isinstance(parts[0], dict):
        return schema
    rest = {keyword: value for keyword, value in schema.items() if keyword != "allOf"}
    return schema if rest.keys() & parts[0].keys() - {*_ANNOTATIONS} else {**parts[0], **rest}


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema that also accepts null: `nullable` of version 3.0."""
    kind = schema.get("type")
    alternatives = {"allOf", "anyOf", "const"} & schema.keys()
    if isinstance(kind, str) and not alternatives:
        enum = {"enum": [*schema["enum"], None]} if None not in schema.get("enum", [None]) else {}
        return {**schema, "type": [kind, "null"], **enum}
    if isinstance(kind, list) or not schema:
        return schema
    annotations = {key: schema[key] for key in _ANNOTATIONS if key in schema}
    rest = {key: value for key, value in schema.items() if key not in annotations}
    return {**annotations, "anyOf": [rest, {"type": "null"}]} if rest else schema
