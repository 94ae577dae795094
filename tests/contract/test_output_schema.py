"""The field `output_schema` of agents and runs."""

import json
from typing import Any

import pytest

from agents.models import Agent
from executions.models import Execution
from map_project.tenants.models import Tenant
from tests.api import Api
from tests.contract.writes import AGENT, RUN
from tests.factories import AgentFactory

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"reasoning": {"type": "string"}, "answer": {"type": "integer"}, "a": {}},
    "required": ["reasoning", "answer"],
    "additionalProperties": False,
}
OTHER: dict[str, Any] = {"type": "object", "properties": {"city": {"type": "string"}}}


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object"}
    for _ in range(depth):
        schema = {"type": "object", "properties": {"x": schema}}
    return schema


def doubled(count: int) -> dict[str, Any]:
    """Return a schema whose references multiply."""
    definitions: dict[str, Any] = {f"d{count}": {"type": "string"}}
    for number in range(count):
        reference = {"$ref": f"#/$defs/d{number + 1}"}
        definitions[f"d{number}"] = {"allOf": [reference, reference]}
    return {"type": "object", "$ref": "#/$defs/d0", "$defs": definitions}


INVALID: dict[str, tuple[Any, str]] = {
    "a text": ("{}", "object"),
    "a list": ([], "object"),
    "a boolean": (True, "object"),
    "a number": (1, "object"),
    "no type": ({}, '"type": "object"'),
    "another type": ({"type": "array"}, '"type": "object"'),
    "two types": ({"type": ["object", "null"]}, '"type": "object"'),
    "an unknown type": ({"type": "object", "properties": {"x": {"type": "date"}}}, "date"),
    "a dialect": (
        {"type": "object", "$schema": "http://json-schema.org/draft-04/schema#"},
        "draft",
    ),
    "a remote reference": ({"type": "object", "$ref": "http://127.0.0.1/x"}, "$ref"),
    "a dynamic reference": ({"type": "object", "$dynamicRef": "#x"}, "$dynamicRef"),
    "an invalid pattern": ({"type": "object", "properties": {"x": {"pattern": "("}}}, "regex"),
    "a long pattern": ({"type": "object", "properties": {"x": {"pattern": "a" * 1001}}}, "pattern"),
    "a large pattern": (
        {"type": "object", "properties": {"x": {"pattern": "((((a{9}){9}){9}){9}){9}"}}},
        "regex",
    ),
    "too long": ({"type": "object", "description": "x" * 40_000}, "too long"),
    "too deep": (nested(40), "deeper"),
    "far too deep": (nested(400), "deep"),
    "exponential references": (doubled(40), "complex"),
    "a circular reference": ({"type": "object", "allOf": [{"$ref": "#"}]}, "circular"),
    "a huge number": ({"type": "object", "maxProperties": 10**30}, "64 bits"),
    "NUL": ({"type": "object", "title": "\0"}, "NUL"),
}


@pytest.fixture
def agent(tenant: Tenant) -> Agent:
    return AgentFactory.create(tenant=tenant)


@pytest.mark.parametrize("route", ["PATCH", "run"])
@pytest.mark.parametrize(("sent", "expected"), INVALID.values(), ids=INVALID)
def test_an_invalid_schema_is_refused(
    api: Api, agent: Agent, route: str, sent: Any, expected: str
) -> None:
    if route == "run":
        response = api.post(f"agents/{agent.pk}/run", {**RUN, "output_schema": sent})
    else:
        response = api.patch(f"agents/{agent.pk}", {"output_schema": sent})
    assert response.status == 400, response.content
    assert list(response.fields) == ["output_schema"]
    (sentence,) = response.fields["output_schema"]
    assert expected in sentence
    assert sentence.endswith((".", "name", "/x"))
    assert len(sentence) < 400
    assert not Execution.objects.filter(tenant=agent.tenant).exists()


def test_the_schema_of_an_agent_is_kept_as_it_is(api: Api) -> None:
    created = api.post("agents", {**AGENT, "output_schema": SCHEMA})
    assert (created.status, created.json["output_schema"]) == (201, SCHEMA)
    path = f"agents/{created.json['id']}"
    for shown in (created.json, api.get(path).json, api.get("agents").json["items"][0]):
        # Models write the properties in the order of the schema.
        assert json.dumps(shown["output_schema"]) == json.dumps(SCHEMA)
    assert api.patch(path, {"role": "new"}).json["output_schema"] == SCHEMA
    assert api.put(path, AGENT).json["output_schema"] == SCHEMA
    assert api.patch(path, {"output_schema": OTHER}).json["output_schema"] == OTHER
    assert api.patch(path, {"output_schema": None}).json["output_schema"] is None
    assert api.get(path).json["output_schema"] is None


@pytest.mark.parametrize(
    ("of_agent", "sent", "stored"),
    [
        (None, {}, None),
        (None, {"output_schema": None}, None),
        (None, {"output_schema": SCHEMA}, SCHEMA),
        (SCHEMA, {}, SCHEMA),
        (SCHEMA, {"output_schema": None}, SCHEMA),
        (SCHEMA, {"output_schema": OTHER}, OTHER),
    ],
)
@pytest.mark.parametrize("background", [False, True])
def test_the_schema_of_the_run_replaces_that_of_the_agent(
    *, api: Api, agent: Agent, of_agent: Any, sent: Any, stored: Any, background: bool
) -> None:
    path = f"agents/{agent.pk}"
    assert api.patch(path, {"output_schema": of_agent}).status == 200
    api.post(f"{path}/run", {**RUN, **sent, "background": background})
    execution = Execution.objects.get(tenant=agent.tenant)
    shown = api.get(f"history/{execution.pk}").json
    assert json.dumps(shown["output_schema"]) == json.dumps(stored)


def test_a_run_has_no_output_without_a_schema(api: Api, agent: Agent) -> None:
    run = api.post(f"agents/{agent.pk}/run", RUN).json
    assert run["output"] is None
    assert api.get(f"history/{run['execution_id']}").json["output"] is None


@pytest.mark.parametrize("name", ["response_format", "json_schema", "output_shema"])
def test_other_names_have_a_hint(api: Api, agent: Agent, name: str) -> None:
    for path, body in ((f"agents/{agent.pk}/run", RUN), ("agents", AGENT)):
        fields = api.post(path, {**body, name: SCHEMA}).fields
        assert fields == {name: ["Unknown field. Did you mean output_schema?"]}
