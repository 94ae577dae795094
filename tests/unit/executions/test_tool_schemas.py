"""The schema that a provider receives: valid without its dialect, with the same meaning."""

from typing import Any

import pytest

from executions.providers.tool_schemas import sent_parameters
from tools.schemas import argument_errors, schema_errors

DRAFT_07 = "http://json-schema.org/draft-07/schema#"
TEXT = {"type": "string"}


def draft_07(properties: Any, **more: Any) -> dict[str, Any]:
    return {"$schema": DRAFT_07, "type": "object", "properties": properties, **more}


def test_subschemas_of_dependencies_are_prepared() -> None:
    tags = {"type": "array", "items": [TEXT], "additionalItems": False}
    schema = draft_07({}, dependencies={"a": ["b"], "c": {"properties": {"tags": tags}}, "d": True})
    assert schema_errors(schema) == []
    sent = sent_parameters(schema)
    assert sent["dependencies"]["a"] == ["b"]
    assert sent["dependencies"]["c"]["properties"]["tags"] == {
        "type": "array",
        "prefixItems": [TEXT],
        "items": False,
    }
    for arguments in ({"a": 1}, {"c": 1, "tags": [1]}, {"c": 1, "tags": ["x", "y"]}):
        assert argument_errors(schema, arguments)
        assert argument_errors(sent, arguments)
    for arguments in ({"a": 1, "b": 1}, {"c": 1, "tags": ["x"]}):
        assert argument_errors(schema, arguments) == argument_errors(sent, arguments) == []


TUPLE = {"type": "array", "items": [TEXT, {"type": "integer"}], "additionalItems": {"minimum": 5}}
REFERENCES = {
    "#/properties/t/items/1": "#/properties/t/prefixItems/1",
    "#/properties/t/additionalItems": "#/properties/t/items",
    "#/properties/%74/additionalItem%73": "#/properties/t/items",
    "#/definitions/a~1b%20c/items/1": "#/definitions/a~1b%20c/prefixItems/1",
    "#/dependencies/d/properties/t/additionalItems": "#/dependencies/d/properties/t/items",
    # Names, and keywords that keep their names.
    "#/properties/items/properties/0": "#/properties/items/properties/0",
    "#/definitions/additionalItems": "#/definitions/additionalItems",
    "#/properties/list/items": "#/properties/list/items",
    "#/properties/list/allOf/0": "#/properties/list/allOf/0",
}


@pytest.mark.parametrize(("reference", "sent_reference"), REFERENCES.items())
def test_references_into_renamed_keywords_are_renamed(reference: str, sent_reference: str) -> None:
    number = {"type": "integer", "minimum": 5}
    schema = draft_07(
        {
            "t": TUPLE,
            "items": {"properties": {"0": number}},
            "list": {"items": number, "allOf": [number]},
            "x": {"allOf": [{"$ref": reference}, {"minimum": 5}]},
        },
        definitions={"a/b c": TUPLE, "additionalItems": number},
        dependencies={"d": {"properties": {"t": TUPLE}}},
    )
    sent = sent_parameters(schema)
    assert sent["properties"]["x"]["allOf"][0] == {"$ref": sent_reference}
    assert schema_errors(schema) == schema_errors(sent) == []
    assert argument_errors(schema, {"x": 7}) == argument_errors(sent, {"x": 7}) == []
    assert argument_errors(schema, {"x": 3})
    assert argument_errors(sent, {"x": 3})


def test_nested_dialects_are_not_sent_and_names_are_kept() -> None:
    part = {"$schema": DRAFT_07, **TEXT}
    schema = draft_07(
        {"a": part, "$schema": part, "b": {"const": {"$schema": 1}}, "$id": TEXT},
        definitions={"c": part},
        dependencies={"a": {"$schema": DRAFT_07, "required": ["b"]}},
    )
    assert schema_errors(schema) == []
    sent = sent_parameters(schema)
    assert sent["properties"] == {
        "a": TEXT,
        "$schema": TEXT,
        "b": {"const": {"$schema": 1}},
        "$id": TEXT,
    }
    assert sent["definitions"] == {"c": TEXT}
    assert sent["dependencies"] == {"a": {"required": ["b"]}}
    assert argument_errors(sent, {"a": "x"})


@pytest.mark.parametrize("names", [("items", "prefixItems"), ("prefixItems", "items")])
def test_only_the_keyword_of_the_dialect_describes_a_tuple(names: tuple[str, str]) -> None:
    keywords = {"items": [TEXT], "prefixItems": [{"type": "integer"}]}
    schema = draft_07({"a": {"type": "array", **{name: keywords[name] for name in names}}})
    sent = sent_parameters(schema)
    for arguments, is_valid in (({"a": ["x"]}, True), ({"a": [1]}, False)):
        assert (argument_errors(schema, arguments) == []) == is_valid
        assert (argument_errors(sent, arguments) == []) == is_valid
