"""Joins the parts in which a server streams a value."""

from collections.abc import Iterable
from typing import Any

# Fields that each part repeats.
_REPEATED = {"type", "id", "index", "format", "role", "name", "object"}
_IDENTITY = ("type", "index", "id")


def folded(parts: list[Any]) -> Any:
    """Return the value whose parts these are, in order: strings and lists are joined, other values replaced.

    Items of lists with the same type, index and id are parts of one item.
    """
    kinds = {type(part) for part in parts}
    if kinds == {str}:
        return "".join(parts)
    if kinds == {dict}:
        return _folded_object(parts)
    if kinds == {list}:
        return _folded_items(item for part in parts for item in part)
    return parts[-1]


def _folded_object(parts: list[dict[str, Any]]) -> dict[str, Any]:
    values: dict[str, list[Any]] = {}
    for part in parts:
        for name, value in part.items():
            if value is not None:
                values.setdefault(name, []).append(value)
    return {
        name: found[-1] if name in _REPEATED else folded(found) for name, found in values.items()
    }


def _folded_items(items: Iterable[Any]) -> list[Any]:
    groups: list[list[Any]] = []
    current: dict[object, list[Any]] = {}
    identity, run = None, 0
    for item in items:
        fields = item if isinstance(item, dict) else {}
        previous, identity = identity, [repr(fields.get(name)) for name in _IDENTITY]
        run += identity != previous
        # Without an index, the parts of an item follow each other.
        key = (*identity, run if fields.get("index") is None else None)
        # Items that are no objects are whole, and a signature is the end of its item.
        if fields and key in current and not current[key][-1].get("signature"):
            current[key].append(item)
        else:
            groups.append([item])
            current[key] = groups[-1]
    return [folded(group) for group in groups]
