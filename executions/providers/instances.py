"""A minimal value for a JSON Schema, for the mock."""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from tools.integers import reference_target

MAX_WORK = 10_000
MAX_CHARACTERS = 10_000
_FORMATS = {
    "date-time": "1970-01-01T00:00:00Z",
    "date": "1970-01-01",
    "time": "00:00:00Z",
    "duration": "PT0S",
    "email": "user@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-0000-0000-000000000000",
}
# The types of schemas without `type`, by their keywords.
_KEYWORDS = {
    "object": ("properties", "required", "additionalProperties", "minProperties"),
    "array": ("items", "prefixItems", "minItems"),
    "string": ("minLength", "maxLength", "pattern", "format"),
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
}


def minimal_instance(schema: Mapping[str, Any]) -> Any:
    """Return a value with the required parts only, the same for the same schema.

    Some keywords are ignored (`pattern`, `not`, `if`, `contains`, `uniqueItems`, ...), so a schema may not
    accept its value. Without one within the limits of this module, the value is {}.
    """
    try:
        return _Builder(schema).build(schema)
    except (_NoValueError, _TooLargeError, OverflowError):
        return {}


class _NoValueError(Exception):
    """This alternative has no finite value."""


class _TooLargeError(Exception):
    """The value has too many parts."""


@dataclass(slots=True)
class _Builder:
    root: Mapping[str, Any]
    # Values, and properties of their schemas.
    work_left: int = MAX_WORK
    characters_left: float = MAX_CHARACTERS
    # The references that are being followed. A minimal value follows none within itself.
    _open: set[str] = field(default_factory=lambda: {"#"})

    def build(self, schema: Any) -> Any:
        if schema is False:
            raise _NoValueError
        if not isinstance(schema, Mapping):
            schema = {}
        self.work_left -= 1 + len(schema.get("properties", ()))
        if self.work_left < 0:
            raise _TooLargeError
        if "$ref" in schema:
            with self._following(schema["$ref"]) as target:
                return self.build(_merged(_without(schema, "$ref"), target))
        if schema.get("allOf"):
            first, *others = schema["allOf"]
            rest = {"allOf": others} if others else {}
            return self.build(_merged(_without(schema, "allOf") | rest, first))
        for keyword in ("anyOf", "oneOf"):
            if schema.get(keyword):
                rest = _without(schema, keyword)
                return self._first(_merged(rest, option) for option in schema[keyword])
        return self._of_types(schema)

    @contextmanager
    def _following(self, reference: str) -> Iterator[Any]:
        if reference in self._open:
            raise _NoValueError
        self._open.add(reference)
        try:
            yield reference_target(self.root, reference)
        finally:
            self._open.remove(reference)

    def _first(self, schemas: Iterator[Any]) -> Any:
        """Return the value of the first schema that has one."""
        for schema in schemas:
            try:
                return self.build(schema)
            except _NoValueError:
                continue
        raise _NoValueError

    def _of_types(self, schema: Mapping[str, Any]) -> Any:
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return next(iter(schema["enum"]), None)
        types = schema.get("type", _implied_type(schema))
        if isinstance(types, list):
            return self._first({**schema, "type": each} for each in types)
        builders: dict[str, Callable[[Any], Any]] = {
            "object": self._object,
            "array": self._array,
            "string": self._string,
            "number": _number,
            "integer": partial(_number, is_integer=True),
            "boolean": lambda schema: False,
        }
        return builders[types](schema) if types in builders else None

    def _object(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        properties, required = schema.get("properties", {}), {*schema.get("required", ())}
        count = self._count(schema, "minProperties")
        names = [name for name in properties if name in required]
        names += sorted(required - properties.keys())
        names += [name for name in properties if name not in required][: max(count - len(names), 0)]
        names += [f"property_{number}" for number in range(len(names), count)]
        others = schema.get("additionalProperties", {})
        return {name: self.build(properties.get(name, others)) for name in names}

    def _array(self, schema: Mapping[str, Any]) -> list[Any]:
        items = schema.get("items", {})
        # Before draft 2020-12, a list of `items` is what `prefixItems` is now.
        first = items if isinstance(items, list) else schema.get("prefixItems", [])
        others = schema.get("additionalItems", {}) if isinstance(items, list) else items
        count = self._count(schema, "minItems")
        return [self.build(first[at] if at < len(first) else others) for at in range(count)]

    def _string(self, schema: Mapping[str, Any]) -> str:
        text = _FORMATS.get(schema.get("format", ""), "")
        self.characters_left -= schema.get("minLength", 0)
        if self.characters_left < 0:
            raise _TooLargeError
        return text.ljust(int(schema.get("minLength", 0)), "x")

    def _count(self, schema: Mapping[str, Any], keyword: str) -> int:
        count = schema.get(keyword, 0)
        if count > self.work_left:
            raise _TooLargeError
        return int(count)


def _without(schema: Mapping[str, Any], keyword: str) -> dict[str, Any]:
    return {name: value for name, value in schema.items() if name != keyword}


def _merged(schema: Mapping[str, Any], other: Any) -> Any:
    """Return a schema for what both accept, as far as their keywords can be joined."""
    if not isinstance(other, Mapping):
        return schema if other is not False else False
    merged = {**schema, **other}
    if "properties" in schema and "properties" in other:
        merged["properties"] = schema["properties"] | {
            name: _merged({"allOf": [schema["properties"][name]]}, each)
            if name in schema["properties"]
            else each
            for name, each in other["properties"].items()
        }
    for keyword in ("required", "allOf"):
        if keyword in schema and keyword in other:
            merged[keyword] = [*schema[keyword], *other[keyword]]
    for keyword in ("anyOf", "oneOf"):
        if keyword in schema and keyword in other:
            merged[keyword] = other[keyword]
            merged["allOf"] = [*merged.get("allOf", ()), {keyword: schema[keyword]}]
    for keyword in ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"):
        if keyword in schema and keyword in other:
            merged[keyword] = max(schema[keyword], other[keyword])
    return merged


def _implied_type(schema: Mapping[str, Any]) -> str:
    implied = (kind for kind, names in _KEYWORDS.items() if any(name in schema for name in names))
    return next(implied, "null")


def _number(schema: Mapping[str, Any], *, is_integer: bool = False) -> float:
    """Return 0, or the number in the range that is nearest to it."""
    step = schema.get("multipleOf", 0)
    step = max(step, 1) if is_integer else step
    low = max(schema.get("minimum", -math.inf), schema.get("exclusiveMinimum", -math.inf))
    high = min(schema.get("maximum", math.inf), schema.get("exclusiveMaximum", math.inf))
    if low < 0 and (high > 0 or schema.get("exclusiveMaximum") != high == 0):
        return 0
    if low < 0:
        return -_above(-high, -low, step, is_open=schema.get("exclusiveMaximum") == high)
    return _above(low, high, step, is_open=schema.get("exclusiveMinimum") == low)


def _above(low: float, high: float, step: float, *, is_open: bool) -> float:
    """Return the lowest multiple of `step` from `low` on, or any number without a step."""
    if step:
        count = math.ceil(low / step)
        return (count + (is_open and count * step == low)) * step
    return (low + min(high, low + 2)) / 2 if is_open else low
