"""The errors of jsonschema-rs as sentences for models and tenants."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import jsonschema_rs

from map_project.api.fields import similar_name

_MAX_MESSAGE_CHARACTERS = 200
_MAX_PLACE_CHARACTERS = 100
# Each comparison of names takes time.
_MAX_COMPARED = 100
_MAX_HINTS = 5


def sentence(error: Any, schema: object = None, *, part: str = "argument") -> str:
    """Return an error as a sentence. With the schema, that of an unknown argument names a similar one.

    `part` is the word for an argument or a property.
    """
    path = [*getattr(error, "instance_path", ())]
    schema_path = [*getattr(error, "schema_path", ())]
    kind = getattr(error, "kind", None)
    if isinstance(kind, jsonschema_rs.ValidationErrorKind.AdditionalProperties):
        known = _at(schema, [*schema_path[:-1], "properties"])
        return _place(path) + _unknown_parts(part, kind.unexpected, known, error.instance)
    if schema_path[-2:] == ["additionalProperties", "not"] and _at(schema, schema_path) == {}:
        # As some generators write `false`.
        known = _at(schema, [*schema_path[:-2], "properties"])
        return _place(path[:-1]) + _unknown_parts(part, [path[-1]], known, ())
    if isinstance(kind, jsonschema_rs.ValidationErrorKind.FalseSchema):
        return f"{_place(path)}The schema does not allow a value here."
    return f"{_place(path)}{_shortened(str(getattr(error, 'message', error)))}."


def _place(path: Sequence[str | int]) -> str:
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    place = "".join(parts).removeprefix(".")[:_MAX_PLACE_CHARACTERS]
    return f"{place}: " if place else ""


def _shortened(text: str) -> str:
    is_long = len(text) > _MAX_MESSAGE_CHARACTERS
    return f"{text[:_MAX_MESSAGE_CHARACTERS]}…" if is_long else text


def _unknown_parts(part: str, names: Sequence[str], known: object, given: Collection[str]) -> str:
    quoted = _shortened(", ".join(f"'{name}'" for name in names))
    parts = part if len(names) == 1 else "properties" if part == "property" else f"{part}s"
    text = f"Unknown {parts} {quoted}."
    hints = [f"'{hint}'" for hint in dict.fromkeys(_similar(names, known, given))]
    return f"{text} Did you mean {', '.join(hints)}?" if hints else text


def _similar(names: Sequence[str], known: object, given: Collection[str]) -> Iterator[str]:
    if isinstance(known, Mapping) and len(known) <= _MAX_COMPARED:
        missing = known.keys() - set(given)
        for name in names[:_MAX_HINTS]:
            if hint := similar_name(name, sorted(missing)):
                yield hint


def _at(schema: object, path: Sequence[str | int]) -> object:
    """Return the value at a path in a schema, or None."""
    for part in path:
        if isinstance(schema, Mapping):
            schema = schema.get(part)
        elif isinstance(schema, list) and isinstance(part, int) and part < len(schema):
            schema = schema[part]
        else:
            return None
    return schema
