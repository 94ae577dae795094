"""Schemas of real tools: those of public MCP servers, of OpenAPI documents, and of generators.

tests/data/tool_schemas.json has their structure. The descriptions are shortened.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from executions.providers.tool_schemas import sent_parameters
from tests.api import Api
from tests.arguments import Examples
from tests.contract.writes import TOOL
from tools.integers import with_integers
from tools.schemas import argument_errors, schema_errors

DATA = Path(__file__).parents[2] / "data"
TOOLS = json.loads((DATA / "tool_schemas.json").read_text())
REFUSED = json.loads((DATA / "refused_tool_schemas.json").read_text())


def name_of(tool: Any) -> str:
    return f"{tool['source']}: {tool['name']}"


all_tools = pytest.mark.parametrize("tool", TOOLS, ids=name_of)


def test_the_data_has_what_generators_write() -> None:
    assert len(TOOLS) >= 100
    assert len({tool["source"] for tool in TOOLS}) >= 40
    text = json.dumps(TOOLS)
    for part in (
        *("draft-07/schema#", "draft/2020-12/schema", '"$defs"', '"definitions"', '"$ref"'),
        *('"anyOf"', '"oneOf"', '"allOf"', '"const"', '"format"', '"pattern"', '"title"'),
        *('"default": null', '"prefixItems"', '"propertyNames"', '"exclusiveMinimum"'),
        *('"additionalProperties": false', '"additionalProperties": {}', '"nullable"', '"example"'),
        *('"uniqueItems"', '"minItems"', '["integer", "null"]', '"discriminator"'),
    ):
        assert part in text, part


def test_they_are_saved_as_they_are(api: Api) -> None:
    for number, tool in enumerate(TOOLS):
        body = {**TOOL, "name": f"{tool['name']} {number}", "parameters": tool["parameters"]}
        created = api.post("tools", body)
        assert created.status == 201, (name_of(tool), created.content)
        assert created.json["parameters"] == tool["parameters"]


@all_tools
def test_their_arguments_are_validated(tool: Any) -> None:
    schema = tool["parameters"]
    assert schema_errors(schema) == []
    examples = Examples(schema)
    for is_full in (True, False):
        arguments = examples.valid(is_full=is_full)
        assert argument_errors(schema, arguments) == [], arguments
        assert with_integers(schema, arguments) == arguments
    for name, arguments in examples.invalid():
        errors = argument_errors(schema, arguments)
        assert name in " ".join(errors), (name, arguments)


@all_tools
def test_their_integers_are_sent_as_integers(tool: Any) -> None:
    schema = tool["parameters"]
    arguments = Examples(schema).valid(is_full=True)
    floats = with_floats(arguments)
    if argument_errors(schema, floats) == []:
        converted = with_integers(schema, floats)
        for path, name in integer_properties(schema):
            assert type(value_at(converted, [*path, name])) is int
        assert converted == arguments


@all_tools
def test_what_is_sent_suits_strict_providers(tool: Any) -> None:
    schema = tool["parameters"]
    sent = sent_parameters(schema)
    for part in subschemas(sent):
        kinds = part.get("type")
        kinds = kinds if isinstance(kinds, list) else [kinds]
        assert not {"$schema", "$id", "id", "additionalItems"} & part.keys()
        assert "properties" in part or "object" not in kinds
        assert isinstance(part.get("items", {}), dict | bool)
        assert "items" in part or "array" not in kinds
    # It is valid without its dialect, accepts the same arguments, and is complete.
    assert schema_errors(sent) == []
    assert sent_parameters(sent) == sent
    assert [*sent["properties"]] == [*schema.get("properties", {})]
    assert sent.get("required") == schema.get("required")
    examples = Examples(schema)
    for is_full in (True, False):
        assert argument_errors(sent, examples.valid(is_full=is_full)) == []
    for _, arguments in examples.invalid():
        assert argument_errors(sent, arguments) != []


@pytest.mark.parametrize("tool", REFUSED, ids=name_of)
def test_some_are_refused_for_a_reason(api: Api, tool: Any) -> None:
    assert tool["reason"]
    response = api.post("tools", {**TOOL, "parameters": tool["parameters"]})
    assert response.status == 400
    assert tool["message"] in " ".join(response.fields["parameters"])


def with_floats(value: Any) -> Any:
    if type(value) is int:
        return float(value)
    if isinstance(value, dict):
        return {name: with_floats(child) for name, child in value.items()}
    return [with_floats(child) for child in value] if isinstance(value, list) else value


def integer_properties(schema: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[Any, str]]:
    """Yield the plain integers among the properties, at any depth."""
    for name, child in schema.get("properties", {}).items():
        if isinstance(child, dict) and child.get("type") in ("integer", ["integer", "null"]):
            yield path, name
        elif isinstance(child, dict) and child.get("type") == "object":
            yield from integer_properties(child, (*path, name))


def value_at(value: Any, path: list[str]) -> Any:
    for name in path:
        value = value[name]
    return value


def subschemas(schema: Any) -> Iterator[dict[str, Any]]:
    """Yield all subschemas."""
    if not isinstance(schema, dict):
        return
    yield schema
    for keyword, value in schema.items():
        if keyword in {"properties", "$defs", "definitions", "patternProperties"}:
            children = list(value.values())
        elif keyword in {"anyOf", "oneOf", "allOf", "prefixItems"}:
            children = value
        elif keyword in {"items", "additionalProperties", "propertyNames", "not"}:
            children = [value]
        else:
            continue
        for child in children:
            yield from subschemas(child)
