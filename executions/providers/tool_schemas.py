"""The JSON Schema of a tool as strict model servers accept it."""

import re
from collections.abc import Mapping
from typing import Any

# Keywords whose values are a schema, a list of schemas, or schemas by name. Others, such as `default`, `enum`
# and `const`, contain data.
_SCHEMA = {
    *("items", "additionalItems", "additionalProperties", "contains", "not", "if", "then", "else"),
    *("propertyNames", "unevaluatedItems", "unevaluatedProperties"),
}
_SCHEMA_LISTS = {"allOf", "anyOf", "oneOf", "prefixItems", "items"}
_ITEM_OF_TUPLE = re.compile("/items/([0-9]+)")
_SCHEMA_MAPS = {
    *("properties", "patternProperties", "$defs", "definitions"),
    *("dependentSchemas", "dependencies"),
}


def sent_parameters(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of a tool for a request.

    It is of draft 2020-12, without the dialect and the identifier. An object has `properties` and an array
    has `items`, without which some servers refuse the request.
    """
    sent = _completed(parameters)
    return {name: value for name, value in sent.items() if name not in {"$id", "id"}}


def _completed(schema: Any) -> Any:
    if not isinstance(schema, Mapping):
        return schema
    completed: dict[str, Any] = {}
    for name, value in schema.items():
        if name == "$schema":
            continue
        if name in _SCHEMA_LISTS and isinstance(value, list):
            completed[name] = [_completed(part) for part in value]
        elif name in _SCHEMA_MAPS and isinstance(value, Mapping):
            completed[name] = {key: _completed(part) for key, part in value.items()}
        else:
            completed[name] = _completed(value) if name in _SCHEMA else value
    if isinstance(schema.get("$ref"), str):
        # See `_update_tuple`.
        completed["$ref"] = _ITEM_OF_TUPLE.sub(r"/prefixItems/\1", schema["$ref"])
    if isinstance(schema.get("items"), list):
        _update_tuple(completed)
    kinds = schema.get("type")
    kinds = kinds if isinstance(kinds, list) else [kinds]
    if "object" in kinds:
        completed.setdefault("properties", {})
    if "array" in kinds:
        completed.setdefault("items", {})
    return completed


def _update_tuple(schema: dict[str, Any]) -> None:
    """Rename the keywords of a tuple, which has other names before draft 2020-12."""
    schema["prefixItems"] = schema.pop("items")
    if "additionalItems" in schema:
        schema["items"] = schema.pop("additionalItems")
