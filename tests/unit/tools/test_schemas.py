"""JSON Schemas of a tool's arguments: valid schemas, and the validation of arguments."""

import time
from typing import Any

import pytest

from tools import schemas
from tools.schemas import argument_errors, schema_errors


def object_schema(properties: Any, **more: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, **more}


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(levels):
        schema = {"not": schema}
    return object_schema({"a": schema})


DRAFT_07 = "http://json-schema.org/draft-07/schema#"
OWN_ID = {"$id": "https://a.test/b", "$defs": {"c": {}}}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object"},
        object_schema({"city": {"type": "string", "pattern": "^[A-Z]"}}, required=["city"]),
        object_schema({}, additionalProperties=False),
        object_schema({"a": {"$ref": "#/$defs/a~1b"}}, **{"$defs": {"a/b": {"type": "string"}}}),
        object_schema({"tree": {"$ref": "#"}}),
        object_schema({}, **{"$schema": schemas.DIALECT}),
        object_schema(
            {}, **{"$schema": "http://json-schema.org/draft-07/schema#", "$id": "https://a.test/b"}
        ),
        object_schema({"a": {"$schema": f"{schemas.DIALECT}#"}}),
        object_schema(
            {"a": {"$schema": "https://json-schema.org/draft-07/schema"}}, **{"$schema": DRAFT_07}
        ),
        object_schema({}, **{"$schema": "https://json-schema.org/draft/2019-09/schema"}),
        # Data, not keywords.
        object_schema(
            {"a": {"const": {"$ref": "x"}, "default": {"pattern": 1}, "examples": [{"$id": 3}]}}
        ),
        object_schema({"a": {"pattern": "(" + "|".join(["[0-9a-f]{1,4}"] * 46) + ")"}}),
        # Names of properties, not keywords.
        object_schema({"$ref": {"type": "string"}, "$id": {}, "pattern": {}, "$schema": {}}),
        object_schema({"a": {"anyOf": [{"type": ["string", "null"]}, True]}}),
        nested(20),
    ],
)
def test_valid_schemas_have_no_errors(schema: Any) -> None:
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
        (object_schema([]), "properties"),
        (object_schema({"a": 1}), "properties.a"),
        (object_schema({"a": {"type": "strng"}}), "strng"),
        (object_schema({"a": {"minLength": -1}}), "minimum"),
        (object_schema({"a": {"required": "b"}}), "array"),
        (object_schema({}, **{"$schema": "http://json-schema.org/draft-04/schema#"}), "$schema"),
        (object_schema({}, **{"$schema": 7}), "$schema"),
        (object_schema({"a": {"$schema": DRAFT_07}}), "the same dialect"),
        (object_schema({"a": {"$schema": 7}}), "draft/2019-09"),
        (object_schema({"a": {"$id": "https://example.com/"}}), "only at the top level"),
        (object_schema({"a": {"$id": "#a"}}, **{"$schema": DRAFT_07}), "only at the top level"),
        (object_schema({}, definitions={"a": {"$id": "b"}}), "only at the top level"),
        (object_schema({}, dependencies={"a": {"$id": "b"}}), "only at the top level"),
        (
            object_schema({"a": {"$ref": "https://a.test/b#/$defs/c"}}, **OWN_ID),
            "such as #/$defs/name",
        ),
        (object_schema({"a": {"$ref": "https://example.com/schema"}}), "$ref"),
        (object_schema({"a": {"$ref": "file:///etc/passwd"}}), "$ref"),
        (object_schema({"a": {"$ref": "other.json#/a"}}), "$ref"),
        (object_schema({"a": {"$ref": "#anchor"}}), "$ref"),
        (object_schema({"a": {"$ref": "#/$defs/none"}}), "$ref"),
        (object_schema({"a": {"$dynamicRef": "#a"}}), "$dynamicRef"),
        (object_schema({}, unevaluatedProperties=False), "unevaluatedProperties"),
        (object_schema({"a": {"pattern": "("}}), "regex"),
        (object_schema({"a": {"pattern": "a" * 1001}}), "1000"),
        (object_schema({"a": {"patternProperties": {"[": {}}}}), "regex"),
        (object_schema({"a": {"description": "x" * 40_000}}), "bytes"),
        (nested(40), "levels"),
        (nested(900), "nested"),
    ],
)
def test_invalid_schemas_are_rejected(schema: Any, word: str) -> None:
    errors = schema_errors(schema)
    assert 1 <= len(errors) <= 5
    assert word in " ".join(errors)
    assert all(len(message) < 350 for message in errors)


@pytest.mark.parametrize(
    ("schema", "arguments"),
    [
        (object_schema({}), {"anything": [1, None]}),
        (object_schema({"n": {"type": "integer", "maximum": 3}}), {"n": 3}),
        (object_schema({"s": {"pattern": "^a+$"}}), {"s": "aaa"}),
        (object_schema({"a": {"uniqueItems": True}}), {"a": [1, "1", True, [1], {"a": 1}]}),
        (object_schema({"tree": {"$ref": "#"}}), {"tree": {"tree": {"tree": {}}}}),
        (object_schema({}, patternProperties={"^x_": {"type": "string"}}), {"x_a": "b", "y": 1}),
        (object_schema({}, patternProperties={"^x_": {}}, additionalProperties=False), {"x_a": 1}),
        (object_schema({"a": {}}, additionalProperties={"type": "integer"}), {"a": "b", "n": 1}),
        (object_schema({}, **{"$schema": schemas.DIALECT}), {}),
    ],
)
def test_arguments_match(schema: Any, arguments: Any) -> None:
    assert schema_errors(schema) == []
    assert argument_errors(schema, arguments) == []


@pytest.mark.parametrize(
    ("schema", "arguments", "word"),
    [
        (object_schema({}, required=["city"]), {}, '"city" is a required property'),
        (
            object_schema({"n": {"type": "integer"}}),
            {"n": "3"},
            'n: the value is not of type "integer"',
        ),
        (object_schema({"n": {"type": "integer"}}), {"n": True}, "n: the value"),
        (object_schema({"a": {"items": {"enum": [1]}}}), {"a": [1, 2]}, "a[1]"),
        (object_schema({"s": {"pattern": "^a+$"}}), {"s": "b"}, "does not match"),
        (object_schema({"a": {"uniqueItems": True}}), {"a": [{"b": 1.0}, {"b": 1}]}, "unique"),
        (object_schema({"a": {}}, additionalProperties=False), {"b": 1}, "Unknown argument 'b'."),
        (object_schema({}, additionalProperties={"type": "integer"}), {"b": "c"}, "integer"),
        (object_schema({}, patternProperties={"^x_": {"type": "string"}}), {"x_a": 1}, "x_a"),
        (
            object_schema({"tree": {"$ref": "#"}}, additionalProperties=False),
            {"tree": {"b": 1}},
            "'b'",
        ),
    ],
)
def test_arguments_that_do_not_match_are_reported(schema: Any, arguments: Any, word: str) -> None:
    assert schema_errors(schema) == []
    assert word in " ".join(argument_errors(schema, arguments))


CITY: dict[str, Any] = {"city": {}, "days": {}, "maxResults": {}}
CLOSED = object_schema(CITY, additionalProperties=False)
UNKNOWN: list[tuple[Any, Any, str]] = [
    (CLOSED, {"town": 1}, "Unknown argument 'town'."),
    (CLOSED, {"town": 1, "x": 2}, "Unknown arguments 'town', 'x'."),
    (CLOSED, {"citty": 1}, "Unknown argument 'citty'. Did you mean 'city'?"),
    (CLOSED, {"CITY": 1}, "Unknown argument 'CITY'. Did you mean 'city'?"),
    (CLOSED, {"max_results": 1}, "Unknown argument 'max_results'. Did you mean 'maxResults'?"),
    (CLOSED, {"citty": 1, "x": 2}, "Unknown arguments 'citty', 'x'. Did you mean 'city'?"),
    # It is there already.
    (CLOSED, {"city": 1, "citty": 2}, "Unknown argument 'citty'."),
    (object_schema({"to": CLOSED}), {"to": {"x": 1}}, "to: Unknown argument 'x'."),
    (
        object_schema({"to": {"items": {"$ref": "#/$defs/a~1b"}}}, **{"$defs": {"a/b": CLOSED}}),
        {"to": [{}, {"day": 1}]},
        "to[1]: Unknown argument 'day'. Did you mean 'days'?",
    ),
    (
        object_schema({}, allOf=[{"properties": CITY, "additionalProperties": False}]),
        {"day": 1},
        "Unknown argument 'day'. Did you mean 'days'?",
    ),
    (
        object_schema(CITY, additionalProperties={"not": {}}),
        {"day": 1},
        "Unknown argument 'day'. Did you mean 'days'?",
    ),
    (object_schema({"a": False}), {"a": 1}, "a: The schema does not allow a value here."),
]


@pytest.mark.parametrize(("schema", "arguments", "message"), UNKNOWN)
def test_an_unknown_argument_is_named(schema: Any, arguments: Any, message: str) -> None:
    assert argument_errors(schema, arguments) == [message]


def test_the_message_of_many_unknown_arguments_is_short() -> None:
    schema = object_schema({f"name-{n}": {} for n in range(90)}, additionalProperties=False)
    (message,) = argument_errors(schema, {f"names-{n}": 1 for n in range(500)})
    assert message.startswith("Unknown arguments 'names-0', 'names-1'")
    assert message.count("name-") <= 5
    assert len(message) < 400


def test_errors_are_limited_in_number_and_length() -> None:
    errors = argument_errors(
        object_schema({"a": {"items": {"type": "string"}}}), {"a": list(range(100))}
    )
    assert len(errors) == 5
    (message,) = argument_errors(object_schema({"a": {"type": "integer"}}), {"a": "x" * 10_000})
    assert len(message) < 300


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
        (object_schema({"s": {"pattern": "^(a|aa)+$"}}), {"s": "a" * 60 + "!"}),
        (object_schema({"s": {"pattern": "^(([a-z])+.)+[A-Z]([a-z])+$"}}), {"s": "a" * 5_000}),
        (object_schema({"s": {"pattern": "(.*)*(.*)*(.*)*=x"}}), {"s": "=" * 20_000}),
        (object_schema({}, patternProperties={"^(a|aa)+$": False}), {"a" * 60 + "!": 1}),
        # Each match alone is fast enough.
        (
            object_schema({}, patternProperties={"^(a|aa)+$": False}),
            {"a" * 25 + f"!{n}": n for n in range(500)},
        ),
        (
            object_schema({}, patternProperties={"^(a|aa)+$": True}, additionalProperties=False),
            {"a" * 25 + f"!{n}": n for n in range(500)},
        ),
        (object_schema({"a": {"uniqueItems": True}}), {"a": [{"n": n} for n in range(5_000)]}),
        (object_schema({}, **{"$ref": "#/$defs/d0", "$defs": {**_BOMB, "d29": {}}}), {}),
        (object_schema({}, **{"$ref": "#"}), {}),
        (object_schema({"tree": {"$ref": "#"}}), _DEEP),
        (
            object_schema(
                {"a": {"items": {"anyOf": [{"required": [f"k{n}" for n in range(3000)]}, True]}}}
            ),
            {"a": [{}] * 15_000},
        ),
        (object_schema({"n": {"multipleOf": 1e-300}}), {"n": 1e308}),
        (object_schema({"n": {"multipleOf": 5e-324}}), {"n": 2**62}),
    ],
)
def test_the_work_is_bounded(schema: Any, arguments: Any) -> None:
    started = time.thread_time()
    assert isinstance(schema_errors(schema), list)
    assert isinstance(argument_errors(schema, arguments), list)
    assert time.thread_time() - started < 1.0


_CHAIN = {f"n{n}": {"properties": {"x": {"$ref": f"#/$defs/n{n + 1}"}}} for n in range(300)}
TOO_COMPLEX = {
    "references multiply": object_schema(
        {}, **{"$ref": "#/$defs/d0", "$defs": {**_BOMB, "d29": {}}}
    ),
    "a reference to itself": object_schema({}, **{"$ref": "#"}),
    "a ring": object_schema(
        {},
        **{"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"},
    ),
    "twice at the same value": object_schema({"a": {"anyOf": [{"$ref": "#"}, {"$ref": "#"}]}}),
    "a pattern and a property": object_schema(
        {"a": {"$ref": "#"}}, patternProperties={"a": {"$ref": "#"}}
    ),
    "a long chain": object_schema(
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
    (message,) = schema_errors(schema)
    assert "too complex" in message


def test_recursive_schemas_of_trees_and_of_json_are_accepted() -> None:
    tree = object_schema({"left": {"$ref": "#"}, "right": {"$ref": "#"}})
    assert schema_errors(tree) == []
    branches = [
        {"type": ["string", "number", "boolean", "null"]},
        {"type": "array", "items": {"$ref": "#/$defs/json"}},
        {"type": "object", "additionalProperties": {"$ref": "#/$defs/json"}},
    ]
    schema = object_schema(
        {"v": {"$ref": "#/$defs/json"}}, **{"$defs": {"json": {"anyOf": branches}}}
    )
    assert schema_errors(schema) == []
    assert argument_errors(schema, {"v": [{"a": [1, None, "x"]}]}) == []


@pytest.mark.parametrize("scheme", ["http://", "https://", "HTTPS://"])
@pytest.mark.parametrize("ending", ["", "#", "/", "/#", "#/"])
@pytest.mark.parametrize(
    ("dialect", "has_tuples", "has_dependent_schemas"),
    [
        ("json-schema.org/draft-06/schema", True, False),
        ("json-schema.org/draft-07/schema", True, False),
        ("JSON-Schema.org/draft/2019-09/schema", True, True),
        ("json-schema.org/draft/2020-12/schema", False, True),
        ("json-schema.org/schema", False, True),
    ],
)
def test_each_spelling_of_a_dialect_is_that_dialect(
    scheme: str, ending: str, dialect: str, has_tuples: bool, has_dependent_schemas: bool
) -> None:
    spelling = {"$schema": f"{scheme}{dialect}{ending}"}
    tuples = object_schema({"a": {"items": [{"type": "string"}]}}, **spelling)
    assert (schema_errors(tuples) == []) == has_tuples
    dependent = object_schema({}, dependentSchemas={"a": {"required": ["b"]}}, **spelling)
    assert schema_errors(dependent) == []
    assert (argument_errors(dependent, {"a": 1}) != []) == has_dependent_schemas


@pytest.mark.parametrize(
    "dialect",
    [
        *("http://json-schema.org/draft-04/schema#", "http://json-schema.org/draft-03/schema", ""),
        *("https://example.com/schema", "draft-07", "https://json-schema.org/draft/2020-13/schema"),
        *("http://json-schema.org/draft-07/schema#definitions", None, 7, [], f" {DRAFT_07}"),
        *(
            "ftp://json-schema.org/draft-07/schema",
            "https://spec.openapis.org/oas/3.1/dialect/base",
        ),
    ],
)
def test_another_dialect_is_refused_with_the_names_of_the_four(dialect: Any) -> None:
    (message,) = schema_errors(object_schema({}, **{"$schema": dialect}))
    for name in ("draft/2020-12", "draft/2019-09", "draft-07", "draft-06"):
        assert f"json-schema.org/{name}/schema" in message


@pytest.mark.parametrize(
    "dialect", [None, DRAFT_07, "http://json-schema.org/draft-06/schema#", schemas.DIALECT]
)
def test_dependencies_are_checked(dialect: str | None) -> None:
    more = {"$schema": dialect} if dialect else {}
    dependencies = {"a": ["b"], "c": {"required": ["d"]}, "e": False, "f": {"$ref": "#/$defs/g"}}
    schema = object_schema(
        {}, dependencies=dependencies, **{"$defs": {"g": {"maxProperties": 1}}}, **more
    )
    assert schema_errors(schema) == []
    for arguments in ({"a": 1}, {"c": 1}, {"e": 1}, {"f": 1, "g": 1}):
        assert argument_errors(schema, arguments)
    for arguments in ({}, {"b": 1}, {"a": 1, "b": 1}, {"c": 1, "d": 1}, {"f": 1}):
        assert argument_errors(schema, arguments) == []
    assert schema_errors(object_schema({}, dependencies={"a": 5}, **more))
    assert schema_errors(object_schema({}, dependencies={"a": {"type": "strng"}}, **more))


@pytest.mark.parametrize(
    "schema",
    [object_schema({"a\0": {}}), object_schema({}, title="a\0"), object_schema({}, enum=["\\\0"])],
)
def test_nul_is_rejected(schema: Any) -> None:
    assert "NUL" in schema_errors(schema)[0]


def test_an_escaped_nul_is_accepted() -> None:
    assert (
        schema_errors(object_schema({"a": {"pattern": "^[^\\u0000]*$", "title": "\\\\u0000"}}))
        == []
    )


@pytest.mark.parametrize(
    "reference",
    ["#/$defs/a%20b", "#/$defs/of/allOf/0", "#/$defs/m~1n", "#/$defs/%25"],
)
def test_a_reference_is_read_as_a_pointer_in_a_fragment(reference: str) -> None:
    text = {"type": "string"}
    places = {"a b": text, "of": {"allOf": [text]}, "m/n": text, "%": text}
    schema = object_schema({"x": {"$ref": reference}}, **{"$defs": places})
    assert schema_errors(schema) == []
    assert argument_errors(schema, {"x": "y"}) == []
    (message,) = argument_errors(schema, {"x": 1})
    assert '"string"' in message


@pytest.mark.parametrize(
    "reference",
    ["#/$defs/a%20b", *(f"#/$defs/l/allOf/{at}" for at in ("1", "-1", "x", "9" * 5_000))],
)
def test_a_reference_without_a_target_is_rejected(reference: str) -> None:
    places = {"a%20b": True, "l": {"allOf": [{"type": "string"}]}}
    assert schema_errors(object_schema({"x": {"$ref": reference}}, **{"$defs": places}))


def test_an_invalid_stored_schema_raises_no_exception() -> None:
    for schema in ({"$ref": "https://example.com/"}, {"$ref": "#/no"}, {"type": 7}, {"pattern": 1}):
        assert isinstance(argument_errors(object_schema({"a": schema}), {"a": "b"}), list)


def with_patterns(*patterns: str) -> dict[str, Any]:
    properties = {f"p{n}": {"type": "string", "pattern": each} for n, each in enumerate(patterns)}
    return {"type": "object", "properties": properties}


@pytest.mark.parametrize(
    "patterns",
    [
        ["(?i)" + "[a-\uffff]" * 30 + str(number) for number in range(40)],
        ["(?i:" + r"\w" * 30 + f"{number})" for number in range(40)],
        [r"\w" * 50 + str(number) for number in range(100)],
        ["[a-\\u{ffff}]" * 70 + str(number) for number in range(30)],
    ],
    ids=["classes without case", "words without case", "words", "classes"],
)
def test_patterns_that_take_long_to_compile_are_refused(patterns: list[str]) -> None:
    assert schemas.schema_errors(with_patterns(*patterns)) == [
        "The patterns of the schema are too complex."
    ]


def test_ordinary_patterns_are_accepted() -> None:
    patterns = [r"^[a-z0-9-]{1,63}$", r"(?i)^[a-z]+$", r"^\d{4}-\d{2}-\d{2}$", r"^\p{L}+$"]
    assert schemas.schema_errors(with_patterns(*(patterns * 15))) == []
