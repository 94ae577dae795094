"""Integers in arguments and outputs: a model that writes 5.0 where the schema says integer means 5.

For JSON Schema both are integers, but not for most servers.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

# The keywords whose subschemas apply to the same value. `not` and `if` do not restrict it.
_SCHEMA_LISTS = ("allOf", "anyOf", "oneOf")
_SCHEMAS = ("then", "else")
_SCHEMA_MAPS = ("dependentSchemas", "dependencies")

_Schemas = dict[int, Mapping[str, Any]]


def with_integers(schema: Mapping[str, Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return valid arguments in which whole floats are integers where the schema says integer.

    If several alternatives of the schema may apply, one that says so is enough.
    """
    places = _Places(schema)
    converted: dict[str, Any] = places.converted(places.of([schema]), arguments)
    return converted


@dataclass(slots=True)
class _Place:
    """The schemas that apply to one value. `keys` are the properties and items that have their own schema."""

    schemas: _Schemas
    is_integer: bool
    choices: set[int]
    keys: set[str | int]
    children: dict[str | int | None, "_Place"] = field(default_factory=dict)


class _Places:
    """The places of a schema. Each is examined once, however often it occurs in the arguments."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._places: dict[frozenset[int], _Place] = {}

    def converted(self, place: _Place, value: Any) -> Any:
        if isinstance(value, float):
            is_integer = value.is_integer() and -(2.0**63) <= value < 2.0**64
            is_integer = is_integer and (place.is_integer or value in place.choices)
            return int(value) if is_integer else value
        if isinstance(value, dict):
            return {
                name: self.converted(self._child(place, name), child)
                for name, child in value.items()
            }
        if isinstance(value, list):
            return [
                self.converted(self._child(place, index), child)
                for index, child in enumerate(value)
            ]
        return value

    def of(self, schemas: Iterable[Any]) -> _Place:
        """Return the place of a value to which the schemas apply."""
        found = self._applicable(schemas)
        key = frozenset(found)
        if key not in self._places:
            self._places[key] = _place(found)
        return self._places[key]

    def _child(self, place: _Place, key: str | int) -> _Place:
        kind = key if key in place.keys else None if isinstance(key, str) else -1
        if kind not in place.children:
            of_child = _of_property if isinstance(key, str) else _of_item
            place.children[kind] = self.of(
                child for schema in place.schemas.values() for child in of_child(schema, key)
            )
        return place.children[kind]

    def _applicable(self, schemas: Iterable[Any]) -> _Schemas:
        """Return the schemas, and all that they apply to the same value, by identity."""
        found: _Schemas = {}
        pending = list(schemas)
        while pending:
            schema = pending.pop()
            if not isinstance(schema, Mapping) or id(schema) in found:
                continue
            found[id(schema)] = schema
            if "$ref" in schema:
                pending.append(reference_target(self._root, schema["$ref"]))
            pending += [part for name in _SCHEMA_LISTS for part in schema.get(name, ())]
            pending += [schema.get(name) for name in _SCHEMAS]
            pending += [part for name in _SCHEMA_MAPS for part in schema.get(name, {}).values()]
        return found


def _place(schemas: _Schemas) -> _Place:
    place = _Place(schemas, is_integer=False, choices=set(), keys=set())
    for schema in schemas.values():
        types = schema.get("type")
        types = types if isinstance(types, list) else [types]
        place.is_integer |= "integer" in types and "number" not in types
        choices = [*schema.get("enum", ()), schema.get("const")]
        place.choices.update(choice for choice in choices if type(choice) is int)
        place.keys.update(schema.get("properties", ()), range(len(_first_items(schema))))
    return place


def reference_target(root: Any, reference: str) -> Any:
    """Return the subschema that a reference within the schema names."""
    node = root
    for part in unquote(reference.removeprefix("#")).split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        node = node[int(key)] if isinstance(node, list) else node[key]
    return node


def _of_property(schema: Mapping[str, Any], name: Any) -> Iterator[Any]:
    if name in schema.get("properties", {}):
        yield schema["properties"][name]
    else:
        # Not matched with the name: that needs the bounded regular expressions of the validator.
        yield from schema.get("patternProperties", {}).values()
        yield schema.get("additionalProperties")


def _of_item(schema: Mapping[str, Any], index: Any) -> Iterator[Any]:
    first = _first_items(schema)
    if index < len(first):
        yield first[index]
    else:
        yield schema.get("additionalItems" if isinstance(schema.get("items"), list) else "items")


def _first_items(schema: Mapping[str, Any]) -> list[Any]:
    """Return the schemas of the first items: `prefixItems`, or a list of `items` before draft 2020-12."""
    items = schema.get("items")
    found: list[Any] = items if isinstance(items, list) else schema.get("prefixItems", [])
    return found
