"""The JSON Schema of a tool as strict model servers accept it."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, unquote

# Keywords whose values are a schema, a list of schemas, or schemas by name. Others, such as `default`, `enum`
# and `const`, contain data.
_SCHEMA = {
    *("items", "additionalItems", "additionalProperties", "contains", "not", "if", "then", "else"),
    *("propertyNames", "unevaluatedItems", "unevaluatedProperties"),
}
_SCHEMA_LISTS = {"allOf", "anyOf", "oneOf", "prefixItems", "items"}
_SCHEMA_MAPS = {
    *("properties", "patternProperties", "$defs", "definitions"),
    *("dependentSchemas", "dependencies"),
}


# The dialect and the identifier.
_NOT_SENT = {"$schema", "$id", "id"}
# The keywords of a tuple have other names before draft 2020-12.
_TUPLE_NAMES = {"items": "prefixItems", "additionalItems": "items"}


def sent_parameters(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of a tool for a request.

    It is of draft 2020-12, without the dialect and the identifier. An object has `properties` and an array
    has `items`, without which some servers refuse the request.
    """
    sent: dict[str, Any] = _completed(parameters, parameters)
    return sent


def _completed(schema: Any, root: Mapping[str, Any]) -> Any:
    if not isinstance(schema, Mapping):
        return schema
    # Before draft 2020-12, `prefixItems` is no keyword.
    not_sent = _NOT_SENT | ({"prefixItems"} if isinstance(schema.get("items"), list) else set())
    completed = {
        _sent_name(name, schema): _completed_value(name, value, root)
        for name, value in schema.items()
        if name not in not_sent
    }
    kinds = schema.get("type")
    kinds = kinds if isinstance(kinds, list) else [kinds]
    if "object" in kinds:
        completed.setdefault("properties", {})
    if "array" in kinds:
        completed.setdefault("items", {})
    return completed


def _completed_value(keyword: str, value: Any, root: Mapping[str, Any]) -> Any:
    if keyword in _SCHEMA_LISTS and isinstance(value, list):
        return [_completed(part, root) for part in value]
    if keyword in _SCHEMA_MAPS and isinstance(value, Mapping):
        return {key: _completed(part, root) for key, part in value.items()}
    if keyword == "$ref" and isinstance(value, str):
        return _sent_reference(value, root)
    return _completed(value, root) if keyword in _SCHEMA else value


def _sent_name(keyword: str, schema: Mapping[str, Any]) -> str:
    is_tuple = isinstance(schema.get("items"), list)
    return _TUPLE_NAMES.get(keyword, keyword) if is_tuple else keyword


def _sent_reference(reference: str, root: Mapping[str, Any]) -> str:
    """Return a reference to the same subschema, whose keywords may have other names in what is sent."""
    parts = unquote(reference.removeprefix("#")).split("/")
    sent_parts = parts[:1]
    node: Any = root
    is_schema = True
    for part in parts[1:]:
        sent_parts.append(
            _sent_name(part, node) if is_schema and isinstance(node, Mapping) else part
        )
        node = _child(node, part)
        # The children of a list or a map of schemas are schemas, whatever their names are.
        is_schema = not is_schema or not (part in _SCHEMA_MAPS or isinstance(node, list))
    return reference if sent_parts == parts else f"#{quote('/'.join(sent_parts), safe='/~$')}"


def _child(node: Any, part: str) -> Any:
    if isinstance(node, list):
        return dict(zip(map(str, range(len(node))), node, strict=True)).get(part)
    name = part.replace("~1", "/").replace("~0", "~")
    return node.get(name) if isinstance(node, Mapping) else None
