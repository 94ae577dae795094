"""Hostile OpenAPI documents: they take little time and memory, and become valid tools or none."""

import time
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.openapi_documents import NAMES, URL, document
from tools.imports.openapi import OpenApiImportSerializer
from tools.imports.openapi.document import Document, DocumentError, UnsupportedOperation
from tools.imports.openapi.operations import tool_fields
from tools.imports.openapi.security import document_secrets
from tools.invokers import ConfigError
from tools.invokers.http_config import validate_config
from tools.schemas import MAX_BYTES, schema_errors

# A document of 2 MiB takes less than a tenth of this on a machine without load.
MAX_SECONDS = 10.0
MAX_MEMORY_BYTES = 20 * 1024 * 1024


def imported(content: dict[str, Any], limit: int = 100) -> list[Any]:
    """Return the fields of the tools, or the reasons."""
    try:
        parsed = Document(content, URL)
    except DocumentError as error:
        return [str(error)]
    document_secrets(parsed)
    found: list[Any] = []
    for operation in parsed.operations()[:limit]:
        try:
            found.append(tool_fields(parsed, operation, headers={}, secret_names=()))
        except UnsupportedOperation as error:
            found.append(str(error))
    return found


def with_body(schema: Any, **content: Any) -> dict[str, Any]:
    """Return a document in which 100 operations have the same body."""
    body = {"content": {"application/json": {"schema": schema}}}
    paths = {f"/{n}": {"post": {"requestBody": body}} for n in range(100)}
    return {"openapi": "3.0.0", "paths": paths, **content}


def laughs(depth: int, width: int) -> dict[str, Any]:
    """Schemas of which each refers to the next one several times."""
    levels = {
        f"l{n}": {
            "type": "object",
            "properties": {f"p{each}": {"$ref": f"#/l{n + 1}"} for each in range(width)},
        }
        for n in range(depth)
    }
    return with_body({"$ref": "#/l0"}, **levels, **{f"l{depth}": {"type": "string"}})


def chain(length: int) -> dict[str, Any]:
    nodes: dict[str, Any] = {f"n{n}": {"$ref": f"#/n{n + 1}"} for n in range(length)}
    return with_body({"$ref": "#/n0"}, **nodes, **{f"n{length}": {"type": "string"}})


def nested(depth: int, keyword: str) -> dict[str, Any]:
    schema: Any = {}
    for _ in range(depth):
        schema = {keyword: [schema] if keyword == "allOf" else schema}
    return with_body(schema)


LARGE = 150_000
HOSTILE: dict[str, Callable[[], dict[str, Any]]] = {
    "references that multiply": lambda: laughs(30, 10),
    "a long chain of references": lambda: chain(10_000),
    "a cycle": lambda: with_body({"$ref": "#/a"}, a={"$ref": "#/b"}, b={"$ref": "#/a"}),
    "a cycle in allOf": lambda: with_body({"$ref": "#/a"}, a={"allOf": [{"$ref": "#/a"}] * 50}),
    "a schema that is its own property": lambda: with_body(
        {"$ref": "#/a"}, a={"properties": {f"p{n}": {"$ref": "#/a"} for n in range(500)}}
    ),
    "deep items": lambda: nested(900, "items"),
    "deep allOf": lambda: nested(900, "allOf"),
    "many properties": lambda: with_body({"properties": {f"p{n}": {} for n in range(LARGE)}}),
    "many read-only properties": lambda: with_body(
        {"properties": {f"p{n}": {"readOnly": True} for n in range(LARGE)}}
    ),
    "many keywords": lambda: with_body({"$ref": "#/a"}, a={f"x{n}": n for n in range(LARGE)}),
    "many required": lambda: with_body({"properties": {}, "required": ["a"] * LARGE}),
    "many alternatives": lambda: with_body({"oneOf": [{}] * LARGE}),
    "a large enum in many places": lambda: with_body(
        {"properties": {f"p{n}": {"$ref": "#/e"} for n in range(200)}}, e={"enum": [*range(LARGE)]}
    ),
    "a large example in many places": lambda: with_body(
        {"properties": {f"p{n}": {"$ref": "#/e"} for n in range(200)}},
        e={"example": "x" * 2_000_000},
    ),
    "a long description": lambda: with_body({"description": "x" * 2_000_000}),
    "a long name": lambda: {"openapi": "3.0.0", "paths": {"/" + "{x}" * 300_000: {"get": {}}}},
    "many operations with one id": lambda: {
        "openapi": "3.0.0",
        "paths": {f"/{n}": {"get": {"operationId": "a"}} for n in range(40_000)},
    },
    "many parameters": lambda: {
        "openapi": "3.0.0",
        "paths": {"/": {"get": {"parameters": [{"in": "query", "name": "a"}] * LARGE}}},
    },
    "many servers and schemes": lambda: {
        "openapi": "3.0.0",
        "servers": [{"url": "{a}" * 100_000}] * 1_000,
        "security": [{"a": []}] * LARGE,
        "components": {"securitySchemes": {f"s{n}": {"type": "http"} for n in range(LARGE // 2)}},
        "paths": {f"/{n}": {"get": {}} for n in range(100)},
    },
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_document_takes_little_time(name: str) -> None:
    content = HOSTILE[name]()
    started = time.process_time()
    found = imported(content)
    assert time.process_time() - started < MAX_SECONDS
    assert found
    for tool in found:
        if isinstance(tool, dict):
            assert len(orjson.dumps(tool["parameters"])) <= MAX_BYTES


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_document_takes_little_memory(name: str) -> None:
    content = HOSTILE[name]()
    # Fewer operations: measuring is slow. None of their memory is shared with others.
    tracemalloc.start()
    try:
        imported(content, limit=3)
        assert tracemalloc.get_traced_memory()[1] < MAX_MEMORY_BYTES
    finally:
        tracemalloc.stop()


KEYS = st.sampled_from(
    [
        *("openapi", "paths", "servers", "url", "variables", "default", "components", "schemas"),
        *("securitySchemes", "security", "type", "scheme", "in", "name", "parameters", "schema"),
        *("requestBody", "content", "application/json", "required", "$ref", "get", "post"),
        *("operationId", "summary", "description", "deprecated", "style", "explode", "encoding"),
        *("properties", "items", "allOf", "oneOf", "anyOf", "additionalProperties", "nullable"),
        *("enum", "const", "example", "examples", "minimum", "exclusiveMinimum", "pattern", "x"),
        *("patternProperties", "prefixItems", "propertyNames", "maxLength", "multipleOf"),
    ]
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
    | st.sampled_from(
        [
            *("#", "#/", "#/paths", "#/a/0", "#/paths/~1a", "other.json", "query", "header"),
            *("path", "apiKey", "http", "basic", "string", "object", "array", "integer", "null"),
            *("deepObject", "3.0.0", "https://a.example", "/", "{x}", "(", "\0"),
        ]
    )
)
VALUES = st.recursive(
    SCALARS,
    lambda children: st.lists(children, max_size=4) | st.dictionaries(KEYS, children, max_size=5),
    max_leaves=25,
)


def assert_valid(tools: list[Any]) -> None:
    """Assert that tools are accepted by the validation of schemas, or left with a sentence."""
    for tool in tools:
        if isinstance(tool, str):
            assert tool
            continue
        errors = schema_errors(tool["parameters"])
        # A name in the document is not checked before the tool is.
        assert not errors or "NUL" in errors[0], (errors, tool["parameters"])
        assert 1 <= len(tool["description"]) <= 1_000
        assert 1 <= len(tool["name"]) <= 64
        with suppress(ConfigError):
            validate_config(tool["http"])


@settings(max_examples=300, deadline=None)
@given(VALUES)
def test_any_schema_becomes_a_valid_one(schema: Any) -> None:
    assert_valid(imported(with_body(schema, a=[schema]), limit=1))


@settings(max_examples=300, deadline=None)
@given(VALUES, VALUES, VALUES)
def test_any_operation_is_imported_or_left(operation: Any, item: Any, rest: Any) -> None:
    operation = operation if isinstance(operation, dict) else {"parameters": operation}
    item = item if isinstance(item, dict) else {}
    rest = rest if isinstance(rest, dict) else {"components": rest}
    content = {**rest, "openapi": "3.0.0", "paths": {"/{a}": {**item, "post": operation}}}
    assert_valid(imported(content))


@st.composite
def damaged(draw: st.DrawFn) -> dict[str, Any]:
    """Return a real document in which some values are replaced by others, of any type."""
    content = document(draw(st.sampled_from(NAMES)))
    node: Any
    for _ in range(draw(st.integers(1, 5))):
        node = content
        while True:
            keys = [*node] if isinstance(node, dict) else [*range(len(node))]
            key = draw(st.sampled_from(keys))
            is_leaf = not (isinstance(node[key], dict | list) and node[key])
            if is_leaf or draw(st.integers(0, 9)) == 0:
                node[key] = draw(VALUES)
                break
            node = node[key]
    return content


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.large_base_example],
)
@given(damaged())
def test_a_damaged_document_is_imported_or_left(content: dict[str, Any]) -> None:
    assert_valid(imported(content))


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(KEYS | st.sampled_from(["document", "headers"]), VALUES, max_size=5))
def test_any_request_is_valid_or_has_errors(body: dict[str, Any]) -> None:
    serializer = OpenApiImportSerializer(data={"document": {}, **body, "kind": "openapi"})
    if not serializer.is_valid():
        assert serializer.errors
