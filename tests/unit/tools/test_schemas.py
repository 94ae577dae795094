"""The JSON Schema of a tool's arguments: what is taken for one, and what it says of arguments."""

import time
import tracemalloc
from typing import Any

import pytest

from tools import schemas
from tools.schemas import mismatches, problems


def of(properties: Any, **more: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, **more}


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(levels):
        schema = {"not": schema}
    return of({"a": schema})


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object"},
        of({"city": {"type": "string", "pattern": "^[A-Z]"}}, required=["city"]),
        of({}, additionalProperties=False),
        of({"a": {"$ref": "#/$defs/a~1b"}}, **{"$defs": {"a/b": {"type": "string"}}}),
        of({"tree": {"$ref": "#"}}),
        of({}, **{"$schema": schemas.DIALECT}),
        # Names of properties, no keywords.
        of({"$ref": {"type": "string"}, "$id": {}, "pattern": {}, "$schema": {}}),
        of({"a": {"anyOf": [{"type": ["string", "null"]}, True]}}),
        nested(20),
    ],
)
def test_a_schema_is_taken(schema: Any) -> None:
    assert problems(schema) == []


@pytest.mark.parametrize(
    ("schema", "word"),
    [
        (None, "object"),
        (True, "object"),
        ("{}", "object"),
        ([], "object"),
        ({}, '"type": "object"'),
        ({"type": "string"}, '"type": "object"'),
        ({"type": ["object", "null"]}, '"type": "object"'),
        (of([]), "properties"),
        (of({"a": 1}), "properties.a"),
        (of({"a": {"type": "strng"}}), "strng"),
        (of({"a": {"minLength": -1}}), "minimum"),
        (of({"a": {"required": "b"}}), "array"),
        (of({}, **{"$schema": "http://json-schema.org/draft-07/schema#"}), "$schema"),
        (of({}, **{"$schema": 7}), "$schema"),
        (of({"a": {"$schema": schemas.DIALECT}}), "$schema"),
        (of({}, **{"$id": "https://example.com/"}), "$id"),
        (of({"a": {"$ref": "https://example.com/schema"}}), "$ref"),
        (of({"a": {"$ref": "file:///etc/passwd"}}), "$ref"),
        (of({"a": {"$ref": "other.json#/a"}}), "$ref"),
        (of({"a": {"$ref": "#anchor"}}), "$ref"),
        (of({"a": {"$ref": "#/$defs/none"}}), "nowhere"),
        (of({"a": {"$dynamicRef": "#a"}}), "$dynamicRef"),
        (of({}, unevaluatedProperties=False), "unevaluatedProperties"),
        (of({"a": {"pattern": "("}}), "regular expression"),
        (of({"a": {"pattern": "a" * 501}}), "500"),
        (of({"a": {"patternProperties": {"[": {}}}}), "regular expression"),
        (of({"a": {"description": "x" * 40_000}}), "bytes"),
        (nested(40), "levels"),
        (nested(900), "nested"),
    ],
)
def test_what_is_none_is_refused_in_a_sentence(schema: Any, word: str) -> None:
    found = problems(schema)
    assert 1 <= len(found) <= 5
    assert word in " ".join(found)
    assert all(len(sentence) < 350 for sentence in found)


@pytest.mark.parametrize(
    ("schema", "arguments"),
    [
        (of({}), {"anything": [1, None]}),
        (of({"n": {"type": "integer", "maximum": 3}}), {"n": 3}),
        (of({"s": {"pattern": "^a+$"}}), {"s": "aaa"}),
        (of({"a": {"uniqueItems": True}}), {"a": [1, "1", True, [1], {"a": 1}]}),
        (of({"tree": {"$ref": "#"}}), {"tree": {"tree": {"tree": {}}}}),
        (of({}, patternProperties={"^x_": {"type": "string"}}), {"x_a": "b", "y": 1}),
        (of({}, patternProperties={"^x_": {}}, additionalProperties=False), {"x_a": 1}),
        (of({"a": {}}, additionalProperties={"type": "integer"}), {"a": "b", "n": 1}),
        (of({}, **{"$schema": schemas.DIALECT}), {}),
    ],
)
def test_arguments_match(schema: Any, arguments: Any) -> None:
    assert problems(schema) == []
    assert mismatches(schema, arguments) == []


@pytest.mark.parametrize(
    ("schema", "arguments", "word"),
    [
        (of({}, required=["city"]), {}, "'city' is a required property"),
        (of({"n": {"type": "integer"}}), {"n": "3"}, "n: '3' is not of type 'integer'"),
        (of({"n": {"type": "integer"}}), {"n": True}, "n: True"),
        (of({"a": {"items": {"enum": [1]}}}), {"a": [1, 2]}, "a[1]"),
        (of({"s": {"pattern": "^a+$"}}), {"s": "b"}, "does not match"),
        (of({"a": {"uniqueItems": True}}), {"a": [{"b": 1.0}, {"b": 1}]}, "unique"),
        (of({"a": {}}, additionalProperties=False), {"b": 1}, "'b' may not be given"),
        (of({}, additionalProperties={"type": "integer"}), {"b": "c"}, "integer"),
        (of({}, patternProperties={"^x_": {"type": "string"}}), {"x_a": 1}, "x_a"),
        (of({"tree": {"$ref": "#"}}, additionalProperties=False), {"tree": {"b": 1}}, "'b'"),
    ],
)
def test_what_does_not_match_is_told(schema: Any, arguments: Any, word: str) -> None:
    assert problems(schema) == []
    assert word in " ".join(mismatches(schema, arguments))


def test_only_the_beginning_is_told() -> None:
    found = mismatches(of({"a": {"items": {"type": "string"}}}), {"a": list(range(100))})
    assert len(found) == 5
    (sentence,) = mismatches(of({"a": {"type": "integer"}}), {"a": "x" * 10_000})
    assert len(sentence) < 300


_BOMB = {
    f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}, {"$ref": f"#/$defs/d{n + 1}"}]}
    for n in range(29)
}
_DEEP: dict[str, Any] = {}
for _ in range(200):
    _DEEP = {"tree": _DEEP}


@pytest.mark.parametrize(
    ("schema", "arguments"),
    [
        (of({"s": {"pattern": "^(a|aa)+$"}}), {"s": "a" * 60 + "!"}),
        (of({"s": {"pattern": "^(([a-z])+.)+[A-Z]([a-z])+$"}}), {"s": "a" * 5_000}),
        (of({"s": {"pattern": "(.*)*(.*)*(.*)*=x"}}), {"s": "=" * 20_000}),
        (of({}, patternProperties={"^(a|aa)+$": False}), {"a" * 60 + "!": 1}),
        # Each match by itself is just fast enough.
        (
            of({}, patternProperties={"^(a|aa)+$": False}),
            {"a" * 25 + f"!{n}": n for n in range(500)},
        ),
        (
            of({}, patternProperties={"^(a|aa)+$": True}, additionalProperties=False),
            {"a" * 25 + f"!{n}": n for n in range(500)},
        ),
        (of({"a": {"uniqueItems": True}}), {"a": [{"n": n} for n in range(5_000)]}),
        (of({}, **{"$ref": "#/$defs/d0", "$defs": {**_BOMB, "d29": {}}}), {}),
        (of({}, **{"$ref": "#"}), {}),
        (of({"tree": {"$ref": "#"}}), _DEEP),
        (
            of({"a": {"items": {"anyOf": [{"required": [f"k{n}" for n in range(3000)]}, True]}}}),
            {"a": [{}] * 15_000},
        ),
        (of({"n": {"multipleOf": 1e-300}}), {"n": 1e308}),
        (of({"n": {"multipleOf": 5e-324}}), {"n": 2**62}),
    ],
)
def test_nothing_takes_long_or_breaks(schema: Any, arguments: Any) -> None:
    assert problems(schema) == []
    started = time.thread_time()
    assert isinstance(mismatches(schema, arguments), list)
    assert time.thread_time() - started < schemas.MAX_SECONDS + 1


def test_a_schema_that_is_none_is_refused_in_time() -> None:
    types: list[Any] = [[n] if n % 2 else f"a{n}" for n in range(4_000)]
    started = time.thread_time()
    assert problems(of({"a": {"type": types}}))
    assert time.thread_time() - started < schemas.MAX_SECONDS


@pytest.mark.parametrize("of_nul", [of({"a\0": {}}), of({}, title="a\0"), of({}, enum=["\\\0"])])
def test_nul_is_refused_here_as_in_every_text(of_nul: Any) -> None:
    assert "NUL" in problems(of_nul)[0]


def test_its_escape_is_none() -> None:
    assert problems(of({"a": {"pattern": "^[^\\u0000]*$", "title": "\\\\u0000"}})) == []


def test_many_mismatches_cost_little_memory() -> None:
    """Each of jsonschema's messages repeats the value."""
    deeper = {f"d{n}": {"anyOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 20} for n in range(2)}
    deeper["d2"] = {"anyOf": [{"type": "integer"}] * 100}
    schema = of({"x": {"$ref": "#/$defs/d0"}}, **{"$defs": deeper})
    assert problems(schema) == []
    tracemalloc.start()
    try:
        assert mismatches(schema, {"x": "\1" * 60_000})
        assert tracemalloc.get_traced_memory()[1] < 50_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "reference",
    ["#/$defs/a%20b", "#/$defs/a b", "#/$defs/of/allOf/0", "#/$defs/m~1n", "#/$defs/%25"],
)
def test_a_reference_is_read_as_a_pointer_in_a_fragment(reference: str) -> None:
    text = {"type": "string"}
    places = {"a b": text, "of": {"allOf": [text]}, "m/n": text, "%": text}
    schema = of({"x": {"$ref": reference}}, **{"$defs": places})
    assert problems(schema) == []
    assert mismatches(schema, {"x": "y"}) == []
    (sentence,) = mismatches(schema, {"x": 1})
    assert "'string'" in sentence


@pytest.mark.parametrize(
    "reference",
    ["#/$defs/a%20b", *(f"#/$defs/l/allOf/{at}" for at in ("1", "-1", "x", "9" * 5_000))],
)
def test_a_reference_to_nowhere_is_refused(reference: str) -> None:
    places = {"a%20b": True, "l": {"allOf": [{"type": "string"}]}}
    assert "nowhere" in problems(of({"x": {"$ref": reference}}, **{"$defs": places}))[0]


def test_a_row_that_was_not_saved_by_us_breaks_nothing() -> None:
    for schema in ({"$ref": "https://example.com/"}, {"$ref": "#/no"}, {"type": 7}, {"pattern": 1}):
        assert isinstance(mismatches(of({"a": schema}), {"a": "b"}), list)
