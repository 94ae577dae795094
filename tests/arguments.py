"""Arguments for a JSON Schema, for tests: valid ones, and ones with a single error."""

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

# Texts that match the patterns in tests/data/tool_schemas.json.
_TEXTS = [
    *("text", "Text1", "42", "2026-01-31", "2026-01-01to2026-01-31", "1:2", "a.png", "example.com"),
    *("AB", "AB-1", "2026-01-31T12:00:00Z", "00000000-0000-0000-0000-000000000000"),
]
_MAX_DEPTH = 6


class Examples:
    """Values for the subschemas of one schema."""

    def __init__(self, schema: Any) -> None:
        self._root = schema

    def valid(self, *, is_full: bool) -> dict[str, Any]:
        """Return arguments with all properties, or with the required ones only."""
        found: dict[str, Any] = self._value(self._root, 0 if is_full else _MAX_DEPTH)
        return found

    def invalid(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield arguments with one error, and the name of the property that has it."""
        yield from self._wrong_objects(self._root, 0)

    def resolved(self, schema: Any) -> Any:
        """Return the target of a reference, with the keywords beside it."""
        if not isinstance(schema, dict) or "$ref" not in schema:
            return schema
        node = self._root
        for part in unquote(schema["$ref"]).split("/")[1:]:
            node = node[int(part)] if isinstance(node, list) else node[part]
        return self.resolved({**node, **{key: schema[key] for key in schema if key != "$ref"}})

    def _value(self, schema: Any, depth: int) -> Any:
        schema = self.resolved(schema)
        if not isinstance(schema, dict):
            return "text"
        for keyword in ("anyOf", "oneOf", "allOf"):
            if parts := schema.get(keyword):
                rest = {key: value for key, value in schema.items() if key != keyword}
                return self._value({**rest, **self.resolved(parts[0])}, depth)
        choices = [schema["const"]] if "const" in schema else schema.get("enum")
        if choices:
            return choices[0]
        kind = _type(schema)
        if kind == "object":
            return self._object(schema, depth)
        return self._array(schema, depth) if kind == "array" else _scalar(schema, kind)

    def _object(self, schema: dict[str, Any], depth: int) -> dict[str, Any]:
        properties = schema.get("properties", {})
        names = properties if depth < _MAX_DEPTH else schema.get("required", ())
        return {name: self._value(properties.get(name), depth + 1) for name in names}

    def _array(self, schema: dict[str, Any], depth: int) -> list[Any]:
        items = schema.get("items", {})
        first = items if isinstance(items, list) else schema.get("prefixItems", [])
        values = [self._value(item, depth + 1) for item in first]
        length = max(schema.get("minItems", 0), 1 if depth < _MAX_DEPTH else 0)
        missing = max(length - len(values), 0)
        return values + [self._value(items, depth + 1)] * missing

    def _wrong_objects(self, schema: Any, depth: int) -> Iterator[tuple[str, dict[str, Any]]]:
        valid = self._object(schema, depth)
        for name in schema.get("required", ()):
            yield name, {key: value for key, value in valid.items() if key != name}
        for name, child in schema.get("properties", {}).items():
            yield from ((name, {**valid, name: wrong}) for wrong in self._wrong(child, depth + 1))
        if schema.get("additionalProperties") is False:
            yield "no_such_property", {**valid, "no_such_property": 1}

    def _wrong(self, schema: Any, depth: int) -> Iterator[Any]:
        """Yield values with an error, for the schemas whose errors are certain."""
        schema = self.resolved(schema)
        is_union = isinstance(schema, dict) and {"anyOf", "oneOf", "allOf"} & schema.keys()
        if not isinstance(schema, dict) or is_union or depth > _MAX_DEPTH:
            return
        if "enum" in schema or "const" in schema:
            yield "none of these values"
        if isinstance(schema.get("type"), str):
            yield {"wrong": 1} if schema["type"] != "object" else "wrong"
        match schema.get("type"):
            case "integer":
                yield from (1.5, "1", True)
            case "array" if isinstance(schema.get("items"), dict):
                yield from ([wrong] for wrong in self._wrong(schema["items"], depth + 1))
            case "object":
                yield from (value for _, value in self._wrong_objects(schema, depth))
        yield from _out_of_bounds(schema)


def _out_of_bounds(schema: dict[str, Any]) -> Iterator[Any]:
    if "minimum" in schema:
        yield schema["minimum"] - 1
    if schema.get("maximum", 2**64) < 2**63:
        yield schema["maximum"] + 1
    if schema.get("minLength"):
        yield ""
    if "maxLength" in schema:
        yield "x" * (schema["maxLength"] + 1)


def _type(schema: dict[str, Any]) -> Any:
    types = schema.get("type", "object" if "properties" in schema else "string")
    return next(kind for kind in types if kind != "null") if isinstance(types, list) else types


def _scalar(schema: dict[str, Any], kind: str) -> Any:
    match kind:
        case "integer" | "number":
            return _number(schema)
        case "boolean":
            return True
        case "null":
            return None
    return _text(schema)


def _number(schema: dict[str, Any]) -> Any:
    number = max(schema.get("minimum", 1), schema.get("exclusiveMinimum", 0) + 1)
    number = min(number, schema.get("maximum", number))
    return int(number) if number == int(number) else number


def _text(schema: dict[str, Any]) -> str:
    if "pattern" in schema:
        return next(text for text in _TEXTS if re.search(schema["pattern"], text))
    return "text".ljust(schema.get("minLength", 0), "x")[: schema.get("maxLength", 4)]
