"""Minimal values of JSON Schemas."""

import json
from pathlib import Path
from typing import Any

import pytest

from executions.providers.instances import MAX_CHARACTERS, MAX_WORK, minimal_instance
from tools.schemas import output_errors, schema_errors

NODE = {
    "type": "object",
    "properties": {"value": {"enum": [3, 4]}, "next": {"anyOf": [{"$ref": "#/$defs/n"}, {}]}},
    "required": ["value", "next"],
}


def of(schema: Any, **more: Any) -> dict[str, Any]:
    """Return the schema of an object with the property `x`."""
    return {"type": "object", "properties": {"x": schema}, "required": ["x"], **more}


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({}, None),
        (True, None),
        ({"type": "string"}, ""),
        ({"type": "string", "minLength": 3}, "xxx"),
        ({"minLength": 2}, "xx"),
        ({"type": "string", "format": "date"}, "1970-01-01"),
        ({"type": "string", "format": "unknown"}, ""),
        ({"type": "boolean"}, False),
        ({"type": "null"}, None),
        ({"type": ["integer", "null"]}, 0),
        ({"const": {"a": 1}}, {"a": 1}),
        ({"enum": ["b", "a"]}, "b"),
        ({"type": "integer"}, 0),
        ({"type": "integer", "minimum": 3}, 3),
        ({"type": "integer", "exclusiveMinimum": 3}, 4),
        ({"type": "integer", "minimum": 0, "exclusiveMinimum": 0}, 1),
        ({"type": "integer", "minimum": 0.5}, 1),
        ({"type": "integer", "maximum": 0}, 0),
        ({"type": "integer", "maximum": -2}, -2),
        ({"type": "integer", "exclusiveMaximum": -5, "multipleOf": 3}, -6),
        ({"type": "integer", "exclusiveMaximum": 0, "minimum": -9}, -1),
        ({"type": "number", "minimum": 0.25}, 0.25),
        ({"type": "number", "exclusiveMinimum": 0, "maximum": 1}, 0.5),
        ({"type": "number", "minimum": 0.7, "multipleOf": 0.5}, 1.0),
        ({"type": "array"}, []),
        ({"type": "array", "minItems": 2, "items": {"type": "integer"}}, [0, 0]),
        ({"type": "array", "minItems": 2, "prefixItems": [{"const": 1}]}, [1, None]),
        ({"type": "object", "properties": {"y": {}}}, {}),
        ({"minProperties": 2, "properties": {"y": {"const": 1}}}, {"y": 1, "property_1": None}),
        ({"type": "object", "required": ["b", "a"], "properties": {"a": {}}}, {"a": None, "b": None}),
        ({"allOf": [{"type": "string"}, {"minLength": 2}, {"minLength": 1}]}, "xx"),
        (
            {
                "properties": {"a": {"type": "string"}},
                "allOf": [{"required": ["a"], "properties": {"a": {"minLength": 2}}}],
            },
            {"a": "xx"},
        ),
        ({"anyOf": [False, {"type": "integer"}]}, 0),
        ({"anyOf": [{"minimum": 2}, {}], "type": "integer"}, 2),
        ({"oneOf": [{"type": "object", "required": ["k"]}, {"type": "null"}]}, {"k": None}),
        ({"anyOf": [{"$ref": "#"}, {"type": "null"}]}, None),
        ({"$ref": "#/$defs/n"}, {"value": 3, "next": None}),
        ({"$ref": "#/$defs/n", "type": "object"}, {"value": 3, "next": None}),
    ],
)  # fmt: skip
def test_the_value_is_minimal_and_valid(schema: Any, expected: Any) -> None:
    whole = of(schema, **{"$defs": {"n": NODE}})
    assert schema_errors(whole) == []
    value = minimal_instance(whole)
    assert value == {"x": expected}
    assert output_errors(whole, value) == []
    # Equal numbers may have different types.
    assert type(value["x"]) is type(expected)


def test_properties_have_the_order_of_the_schema() -> None:
    schema = {"properties": {"b": {}, "a": {}, "c": {}}, "required": ["c", "a", "b"]}
    assert [*minimal_instance(schema)] == ["b", "a", "c"]


def test_items_before_draft_2020_12() -> None:
    tuple_schema = {"type": "array", "items": [{"const": 1}], "additionalItems": {"const": 2}}
    schema = of(
        {**tuple_schema, "minItems": 3}, **{"$schema": "http://json-schema.org/draft-07/schema#"}
    )
    assert minimal_instance(schema) == {"x": [1, 2, 2]}  # fmt: skip
    assert output_errors(schema, minimal_instance(schema)) == []


BRANCHES = {
    f"d{n}": {"anyOf": [of({"$ref": f"#/$defs/d{n + 1}"}), of({"$ref": f"#/$defs/d{n + 1}"})]}
    for n in range(11)
}


@pytest.mark.parametrize(
    "schema",
    [
        of({"type": "array", "minItems": MAX_WORK + 1}),
        of({"type": "array", "minItems": 10**18}),
        of({"type": "array", "minItems": 1e300}),
        of({"type": "array", "minItems": 100, "items": {"type": "array", "minItems": 100}}),
        of({"type": "object", "minProperties": 10**18}),
        of({"type": "string", "minLength": MAX_CHARACTERS + 1}),
        of({"type": "string", "minLength": 1e300}),
        of({"type": "number", "minimum": 1e300, "multipleOf": 1e-300}),
        of(False),
        of({"$ref": "#"}),
        of({"$ref": "#/$defs/d0"}, **{"$defs": {**BRANCHES, "d11": False}}),
    ],
)
def test_without_a_value_within_the_limits_it_is_empty(schema: Any) -> None:
    assert schema_errors(schema) == []
    assert minimal_instance(schema) == {}


TOOLS = json.loads((Path(__file__).parents[2] / "data/tool_schemas.json").read_text())


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: f"{tool['source']}: {tool['name']}")
def test_the_values_of_real_schemas_are_valid(tool: Any) -> None:
    schema = tool["parameters"]
    errors = output_errors(schema, minimal_instance(schema))
    assert all("does not match" in error for error in errors), errors
