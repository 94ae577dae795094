"""The JSON Schema of a tool's arguments: what is taken for one, and what it says of arguments."""

import time
from typing import Any

import pytest

from tools import schemas
from tools.schemas import argument_errors, schema_errors


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
        of({}, **{"$schema": "http://json-schema.org/draft-07/schema#", "$id": "https://a.test/b"}),
        of({}, **{"$schema": "https://json-schema.org/draft/2019-09/schema"}),
        # Data, not keywords.
        of({"a": {"const": {"$ref": "x"}, "default": {"pattern": 1}, "examples": [{"$id": 3}]}}),
        of({"a": {"pattern": "(" + "|".join(["[0-9a-f]{1,4}"] * 46) + ")"}}),
        # Names of properties, no keywords.
        of({"$ref": {"type": "string"}, "$id": {}, "pattern": {}, "$schema": {}}),
        of({"a": {"anyOf": [{"type": ["string", "null"]}, True]}}),
        nested(20),
    ],
)
def test_a_schema_is_taken(schema: Any) -> None:
    assert schema_errors(schema) == []


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
        (of({}, **{"$schema": "http://json-schema.org/draft-04/schema#"}), "$schema"),
        (of({}, **{"$schema": 7}), "$schema"),
        (of({"a": {"$schema": schemas.DIALECT}}), "$schema"),
        (of({"a": {"$id": "https://example.com/"}}), "$id"),
        (of({"a": {"$ref": "https://example.com/schema"}}), "$ref"),
        (of({"a": {"$ref": "file:///etc/passwd"}}), "$ref"),
        (of({"a": {"$ref": "other.json#/a"}}), "$ref"),
        (of({"a": {"$ref": "#anchor"}}), "$ref"),
        (of({"a": {"$ref": "#/$defs/none"}}), "$ref"),
        (of({"a": {"$dynamicRef": "#a"}}), "$dynamicRef"),
        (of({}, unevaluatedProperties=False), "unevaluatedProperties"),
        (of({"a": {"pattern": "("}}), "regex"),
        (of({"a": {"pattern": "a" * 1001}}), "1000"),
        (of({"a": {"patternProperties": {"[": {}}}}), "regex"),
        (of({"a": {"description": "x" * 40_000}}), "bytes"),
        (nested(40), "levels"),
        (nested(900), "nested"),
    ],
)
def test_what_is_none_is_refused_in_a_sentence(schema: Any, word: str) -> None:
    found = schema_errors(schema)
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
    assert schema_errors(schema) == []
    assert argument_errors(schema, arguments) == []


@pytest.mark.parametrize(
    ("schema", "arguments", "word"),
    [
        (of({}, required=["city"]), {}, '"city" is a required property'),
        (of({"n": {"type": "integer"}}), {"n": "3"}, 'n: the value is not of type "integer"'),
        (of({"n": {"type": "integer"}}), {"n": True}, "n: the value"),
        (of({"a": {"items": {"enum": [1]}}}), {"a": [1, 2]}, "a[1]"),
        (of({"s": {"pattern": "^a+$"}}), {"s": "b"}, "does not match"),
        (of({"a": {"uniqueItems": True}}), {"a": [{"b": 1.0}, {"b": 1}]}, "unique"),
        (of({"a": {}}, additionalProperties=False), {"b": 1}, "'b' was unexpected"),
        (of({}, additionalProperties={"type": "integer"}), {"b": "c"}, "integer"),
        (of({}, patternProperties={"^x_": {"type": "string"}}), {"x_a": 1}, "x_a"),
        (of({"tree": {"$ref": "#"}}, additionalProperties=False), {"tree": {"b": 1}}, "'b'"),
    ],
)
def test_what_does_not_match_is_told(schema: Any, arguments: Any, word: str) -> None:
    assert schema_errors(schema) == []
    assert word in " ".join(argument_errors(schema, arguments))


def test_only_the_beginning_is_told() -> None:
    found = argument_errors(of({"a": {"items": {"type": "string"}}}), {"a": list(range(100))})
    assert len(found) == 5
    (sentence,) = argument_errors(of({"a": {"type": "integer"}}), {"a": "x" * 10_000})
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
def test_the_work_is_bounded(schema: Any, arguments: Any) -> None:
    started = time.thread_time()
    assert isinstance(schema_errors(schema), list)
    assert isinstance(argument_errors(schema, arguments), list)
    assert time.thread_time() - started < 1.0


_CHAIN = {f"n{n}": {"properties": {"x": {"$ref": f"#/$defs/n{n + 1}"}}} for n in range(300)}
TOO_COMPLEX = {
    "references multiply": of({}, **{"$ref": "#/$defs/d0", "$defs": {**_BOMB, "d29": {}}}),
    "a reference to itself": of({}, **{"$ref": "#"}),
    "a ring": of(
        {},
        **{"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"},
    ),
    "twice at the same value": of({"a": {"anyOf": [{"$ref": "#"}, {"$ref": "#"}]}}),
    "a pattern and a property": of({"a": {"$ref": "#"}}, patternProperties={"a": {"$ref": "#"}}),
    "a long chain": of(
        {"a": {"$ref": "#/$defs/n0"}},
        **{
            "$defs": {
                f"n{n}": {"properties": {"x": {"$ref": f"#/$defs/n{n + 1}"}}} for n in range(300)
            }
            | {"n300": {}}
        },
    ),
}


@pytest.mark.parametrize("schema", TOO_COMPLEX.values(), ids=TOO_COMPLEX)
def test_a_schema_whose_work_cannot_be_bounded_is_rejected(schema: Any) -> None:
    (sentence,) = schema_errors(schema)
    assert "too complex" in sentence


def test_recursive_schemas_of_trees_and_of_json_are_accepted() -> None:
    tree = of({"left": {"$ref": "#"}, "right": {"$ref": "#"}})
    assert schema_errors(tree) == []
    branches = [
        {"type": ["string", "number", "boolean", "null"]},
        {"type": "array", "items": {"$ref": "#/$defs/json"}},
        {"type": "object", "additionalProperties": {"$ref": "#/$defs/json"}},
    ]
    schema = of({"v": {"$ref": "#/$defs/json"}}, **{"$defs": {"json": {"anyOf": branches}}})
    assert schema_errors(schema) == []
    assert argument_errors(schema, {"v": [{"a": [1, None, "x"]}]}) == []


@pytest.mark.parametrize("of_nul", [of({"a\0": {}}), of({}, title="a\0"), of({}, enum=["\\\0"])])
def test_nul_is_refused_here_as_in_every_text(of_nul: Any) -> None:
    assert "NUL" in schema_errors(of_nul)[0]


def test_its_escape_is_none() -> None:
    assert schema_errors(of({"a": {"pattern": "^[^\\u0000]*$", "title": "\\\\u0000"}})) == []


@pytest.mark.parametrize(
    "reference",
    ["#/$defs/a%20b", "#/$defs/of/allOf/0", "#/$defs/m~1n", "#/$defs/%25"],
)
def test_a_reference_is_read_as_a_pointer_in_a_fragment(reference: str) -> None:
    text = {"type": "string"}
    places = {"a b": text, "of": {"allOf": [text]}, "m/n": text, "%": text}
    schema = of({"x": {"$ref": reference}}, **{"$defs": places})
    assert schema_errors(schema) == []
    assert argument_errors(schema, {"x": "y"}) == []
    (sentence,) = argument_errors(schema, {"x": 1})
    assert '"string"' in sentence


@pytest.mark.parametrize(
    "reference",
    ["#/$defs/a%20b", *(f"#/$defs/l/allOf/{at}" for at in ("1", "-1", "x", "9" * 5_000))],
)
def test_a_reference_to_nowhere_is_refused(reference: str) -> None:
    places = {"a%20b": True, "l": {"allOf": [{"type": "string"}]}}
    assert schema_errors(of({"x": {"$ref": reference}}, **{"$defs": places}))


def test_a_row_that_was_not_saved_by_us_breaks_nothing() -> None:
    for schema in ({"$ref": "https://example.com/"}, {"$ref": "#/no"}, {"type": 7}, {"pattern": 1}):
        assert isinstance(argument_errors(of({"a": schema}), {"a": "b"}), list)
