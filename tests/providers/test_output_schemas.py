"""Output schemas in requests of the provider `openai`."""

import json
from dataclasses import replace
from typing import Any

import pytest

from executions.providers import ModelRequest, get_provider
from tests.integration.test_providers import TOOL, request_to
from tests.providers.dialects import refused, reply
from tests.stub_model import StubModel, streamed

EXACT = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "enum": ["Oslo", "Bergen"]},
        "days": {"type": ["integer", "null"], "minimum": 1},
        "notes": {"type": "array", "items": {"$ref": "#/$defs/note"}, "maxItems": 3},
    },
    "required": ["city", "days", "notes"],
    "additionalProperties": False,
    "$defs": {"note": {"anyOf": [{"type": "string", "format": "date"}, {"type": "null"}]}},
}


@pytest.fixture
def stub(model_server: StubModel) -> StubModel:
    return model_server.says(reply())


def with_schema(stub: StubModel, schema: dict[str, Any], **changes: Any) -> ModelRequest:
    return replace(request_to(stub, **changes), output_schema=schema)


def complete(request: ModelRequest) -> None:
    get_provider("openai").complete(request)


@pytest.mark.parametrize("is_stream", [False, True])
def test_a_schema_is_sent_as_the_response_format(stub: StubModel, *, is_stream: bool) -> None:
    request = with_schema(
        stub, {"$schema": "https://json-schema.org/draft/2020-12/schema", **EXACT}
    )
    if is_stream:
        stub.says(streamed())
        assert "".join(get_provider("openai").stream(request)) == "Hello."
    else:
        complete(request)
    body = stub.requests[0].body
    assert body["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "output", "schema": EXACT, "strict": True},
    }
    assert body["messages"][0]["content"] == "You are Ada."


def changed(**part: Any) -> dict[str, Any]:
    return {**EXACT, **part}


@pytest.mark.parametrize(
    "schema",
    [
        changed(additionalProperties=True),
        changed(required=["city", "days"]),
        changed(properties={"city": {"type": "string", "minLength": 1}}, required=["city"]),
        changed(properties={"city": {"type": "string", "format": "uri"}}, required=["city"]),
        changed(properties={"city": {}}, required=["city"]),
        changed(properties={"city": True}, required=["city"]),
        changed(properties={"city": {"type": "object"}}, required=["city"]),
        changed(properties={"city": {"type": "array"}}, required=["city"]),
        changed(anyOf=[{"type": "object"}]),
        {"oneOf": [EXACT]},
    ],
)
def test_a_schema_that_cannot_be_guaranteed_is_sent_without_strict(
    stub: StubModel, schema: dict[str, Any]
) -> None:
    complete(with_schema(stub, schema))
    assert stub.requests[0].body["response_format"]["json_schema"]["strict"] is False


@pytest.mark.parametrize(
    "message",
    [
        "'response_format' is not supported with this model.",
        "Unknown parameter: response_format.",
        "This response_format type is unavailable now: json_schema is not supported",
        "json mode cannot be combined with tool calling",
    ],
)
def test_a_format_that_is_refused_is_replaced_by_the_system_prompt(
    stub: StubModel, message: str
) -> None:
    def strict(body: dict[str, Any]) -> Any:
        return refused(400, message=message) if "response_format" in body else reply()

    stub.says(strict)
    request = with_schema(stub, EXACT, name=message)
    for _ in range(2):
        complete(request)
    assert ["response_format" in sent.body for sent in stub.requests] == [True, False, False]
    for sent in stub.requests[1:]:
        text, schema = sent.body["messages"][0]["content"].split(":\n")
        assert text.startswith("You are Ada.\n\nRespond with one JSON object")
        assert json.loads(schema) == EXACT
    # A server may refuse it only with tools, or only without.
    complete(replace(request, tools=(TOOL,)))
    assert "response_format" in stub.requests[3].body


def test_the_refusal_of_one_schema_is_not_remembered(stub: StubModel) -> None:
    def strict(body: dict[str, Any]) -> Any:
        if "response_format" not in body:
            return reply()
        text = "Invalid schema for response_format 'output': 'anyOf' is not permitted."
        return refused(400, message=text)

    stub.says(strict)
    request = with_schema(stub, EXACT, name="refuses one schema")
    for _ in range(2):
        complete(request)
    found = ["response_format" in sent.body for sent in stub.requests]
    assert found == [True, False, True, False]
