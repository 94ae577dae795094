"""The output in the text of a response."""

import json
from typing import Any

import pytest

from executions.output import MAX_OUTPUT_BYTES, OutputError, read_output

ANY: dict[str, Any] = {"type": "object"}
STRICT: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{}", {}),
        (' \n{"a": null}\t', {"a": None}),
        ('```json\n{"a": 1}\n```', {"a": 1}),
        ('\n```JSON \r\n{"a": 1}\r\n```\n', {"a": 1}),
        ('```\n{"a": "```"}\n```', {"a": "```"}),
        ('{"a": "\\u0000\\ud83d\\ude00"}', {"a": "\0😀"}),
        ('{"a": [18446744073709551615, -9223372036854775808, 0.1]}', {"a": [2**64 - 1, -(2**63), 0.1]}),
        ('{"a": {"b": 1}, "c": {"b": 1}}', {"a": {"b": 1}, "c": {"b": 1}}),
    ],
)  # fmt: skip
def test_the_value_of_a_response(text: str, expected: Any) -> None:
    assert read_output(text, ANY) == expected


def test_the_order_of_properties_is_that_of_the_response() -> None:
    assert [*read_output('{"b": 1, "a": 2}', ANY)] == ["b", "a"]


def test_a_whole_number_is_an_integer_where_the_schema_says_so() -> None:
    output = read_output('{"city": "Oslo", "days": 3.0}', STRICT)
    assert json.dumps(output) == '{"city": "Oslo", "days": 3}'


def nested(depth: int) -> str:
    return '{"a":' * depth + "1" + "}" * depth


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "no text"),
        (" \n", "no text"),
        ("It is sunny.", "not JSON"),
        ('{"city": "Oslo"', "not JSON"),
        ('{"city": "Oslo"} {}', "not JSON"),
        ('Here it is:\n```json\n{"city": "Oslo"}\n```', "not JSON"),
        ('```python\n{"city": "Oslo"}\n```', "not JSON"),
        ("{'city': 'Oslo'}", "not JSON"),
        ('{"city": NaN}', "not JSON"),
        ('{"city": Infinity}', "not JSON"),
        ('{"city": "\\ud800"}', "not JSON"),
        (nested(2_000), "not JSON"),
        (nested(65), "nested deeper than 64 levels"),
        ("null", "not a JSON object"),
        ("[{}]", "not a JSON object"),
        ('"{}"', "not a JSON object"),
        ('{"city": 18446744073709551616}', "cannot be represented exactly"),
        ('{"city": 1' + "0" * 5_000 + "}", "not JSON: number is infinity"),
        ('{"city": "Oslo", "city": "Rome"}', "The property 'city' is repeated in an object."),
        ('{"a": {"b": [{"c": 1, "c": 1}]}}', "The property 'c' is repeated in an object."),
        ('{"' + "x" * 9_000 + '": 1, "' + "x" * 9_000 + '": 1}', "is repeated"),
        ('{"city": "' + "x" * MAX_OUTPUT_BYTES + '"}', "too long: 262,156 bytes (maximum 262,144)"),
        ('{"city": [' + "{}," * 9_999 + "{}]}", "too many values: 10,002 (maximum 10,000)"),
        ("{}", '"city" is a required property'),
        ('{"city": null}', 'city: the value is not of type "string"'),
        ('{"city": "Oslo", "day": 1}', "Unknown property 'day'. Did you mean 'days'?"),
        ('{"city": "Oslo", "a": 1, "b": 1}', "Unknown properties 'a', 'b'."),
    ],
)
def test_an_invalid_response_has_short_errors(text: str, expected: str) -> None:
    with pytest.raises(OutputError) as raised:
        read_output(text, STRICT)
    assert 1 <= len(raised.value.errors) <= 5
    assert all(len(error) < 350 for error in raised.value.errors)
    assert expected in " ".join(raised.value.errors)


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ({"type": "integer"}, 'x\\[0\\]: the value is not of type "integer"'),
        (
            {"anyOf": [{"type": "integer"}, {"type": "null"}]},
            "The output is not valid by the schema",
        ),
    ],
)
def test_a_large_value_with_many_errors_has_one(items: Any, expected: str) -> None:
    """Building all errors would take seconds."""
    schema = {"type": "object", "additionalProperties": {"items": items}}
    with pytest.raises(OutputError, match=expected) as raised:
        read_output(json.dumps({"x": [{}] * 5_000}), schema)
    assert len(raised.value.errors) == 1
