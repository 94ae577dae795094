"""Operations of OpenAPI documents as tools: those of well-known services, and each part of the format."""

import json
import re
from typing import Any

import pytest

from tests.openapi_documents import NAMES, URL, converted_tools, expected_tools
from tools.imports.openapi.document import Document, DocumentError, UnsupportedOperation
from tools.imports.openapi.operations import tool_fields
from tools.invokers.http_config import cross_field_errors, validate_config
from tools.schemas import argument_errors, schema_errors


def operation_fields(
    operation: Any, content: Any = None, method: str = "post", path: str = "/x"
) -> dict[str, Any]:
    """Return the fields of the tool for one operation."""
    document = Document(
        {"openapi": "3.0.3", "paths": {path: {method: operation}}, **(content or {})}, URL
    )
    [found] = document.operations()
    return tool_fields(document, found, headers={}, secret_names=())


def reason(operation: Any, content: Any = None, **changes: Any) -> str:
    """Return why an operation is left."""
    with pytest.raises(UnsupportedOperation) as error:
        operation_fields(operation, content, **changes)
    return str(error.value)


def parameter(schema: Any = None, **changes: Any) -> dict[str, Any]:
    """Return an operation with one parameter."""
    return {"parameters": [{"in": "query", "name": "q", "schema": schema or {}, **changes}]}


def converted(schema: Any, content: Any = None) -> Any:
    """Return the schema of a JSON body after the import."""
    body = {"content": {"application/json": {"schema": schema}}}
    return operation_fields({"requestBody": body}, content)["parameters"]["properties"]["body"]


class TestWellKnownServices:
    def test_there_are_at_least_ten(self) -> None:
        assert len(NAMES) >= 10

    @pytest.mark.parametrize("name", NAMES)
    def test_their_operations_become_these_tools(self, name: str) -> None:
        tools = json.loads(json.dumps(converted_tools(name)))
        expected = expected_tools(name)
        assert tools == expected
        # The order of properties is part of what a model reads.
        assert json.dumps(tools) == json.dumps(expected)

    @pytest.mark.parametrize("name", NAMES)
    def test_the_tools_are_valid(self, name: str) -> None:
        tools = [tool for tool in expected_tools(name).values() if isinstance(tool, dict)]
        assert tools
        for tool in tools:
            assert schema_errors(tool["parameters"]) == []
            config = validate_config(tool["http"])
            names = re.findall(r"secret\.([a-zA-Z0-9_-]+)", json.dumps(config))
            assert cross_field_errors(config, tool["parameters"], names) == []


@pytest.mark.parametrize("version", ["3.0.0", "3.0.4", "3.1.0", "3.1", "3.0"])
def test_accepted_versions(version: str) -> None:
    assert Document({"openapi": version}).operations() == []


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"swagger": "2.0"},
        {"openapi": "3.2.0"},
        {"openapi": "3"},
        {"openapi": 31},
        {"openapi": []},
    ],
)
def test_other_versions_are_rejected(content: Any) -> None:
    with pytest.raises(DocumentError, match=r"version 3\.0 or 3\.1"):
        Document(content)


class TestNames:
    def names(self, *operation_ids: str, prefix: str = "") -> list[str]:
        paths = {f"/{n}": {"get": {"operationId": each}} for n, each in enumerate(operation_ids)}
        document = Document({"openapi": "3.0.0", "paths": paths})
        return [operation.name for operation in document.operations(prefix)]

    def test_an_operation_id_becomes_a_name_that_providers_accept(self) -> None:
        assert self.names("repos/get", "getüser", "  ", "a.b:c") == [
            "repos_get",
            "get_ser",
            "operation",
            "a_b_c",
        ]

    def test_names_are_unique(self) -> None:
        assert self.names("a", "a", "a_2", "a", "a!") == ["a", "a_2", "a_2_2", "a_3", "a_4"]

    def test_a_long_name_is_cut(self) -> None:
        found = self.names("x" * 100, "x" * 100, prefix="p" * 50)
        assert len(set(found)) == 2
        assert all(len(name) <= 64 and name.startswith("p" * 50) for name in found)

    def test_without_an_operation_id_it_has_method_and_path(self) -> None:
        content = {"openapi": "3.0.0", "paths": {"/pets/{id}/": {"get": {}}, "x-y": {"get": {}}}}
        [operation] = Document(content).operations()
        assert (operation.source_name, operation.name) == ("GET /pets/{id}/", "get_pets_id")


class TestServers:
    def url(self, servers: Any, path: str = "/x") -> str:
        content = {} if servers is None else {"servers": servers}
        url: str = operation_fields({}, content, path=path)["http"]["url"]
        return url

    @pytest.mark.parametrize(
        ("servers", "url"),
        [
            (None, "https://documents.example/x"),
            ([], "https://documents.example/x"),
            (
                [{"url": "https://a.example/v1/"}, {"url": "https://b.example"}],
                "https://a.example/v1/x",
            ),
            ([{"url": "/v1"}], "https://documents.example/v1/x"),
            ([{"url": "v1"}], "https://documents.example/v1/x"),
            ([{"url": "//a.example"}], "https://a.example/x"),
            (
                [{"url": "https://{r}.a.example", "variables": {"r": {"default": "eu"}}}],
                "https://eu.a.example/x",
            ),
            (
                [{"url": "https://a.example:{p}", "variables": {"p": {"default": 8443}}}],
                "https://a.example:8443/x",
            ),
        ],
    )
    def test_the_first_server(self, servers: Any, url: str) -> None:
        assert self.url(servers) == url

    def test_the_server_of_the_operation_is_preferred(self) -> None:
        servers = [{"url": "https://a.example"}]
        fields = operation_fields({"servers": servers}, {"servers": [{"url": "https://b.example"}]})
        assert fields["http"]["url"] == "https://a.example/x"

    @pytest.mark.parametrize(
        ("servers", "text"),
        [
            ([{"url": "https://{r}.a.example"}], "variable without a default: {r}"),
            ([{"url": "ftp://a.example"}], "not absolute"),
            ([{"url": "https://[a"}], "not valid"),
            ([{}], "not valid"),
            ({"a": 1}, "not valid"),
        ],
    )
    def test_servers_that_cannot_be_used(self, servers: Any, text: str) -> None:
        assert text in reason({}, {"servers": servers})

    def test_a_relative_server_needs_the_url_of_the_document(self) -> None:
        document = Document({"openapi": "3.0.0", "paths": {"/x": {"get": {}}}})
        with pytest.raises(UnsupportedOperation, match="Send the URL of the document as url"):
            tool_fields(document, document.operations()[0], headers={}, secret_names=())


class TestParameters:
    @pytest.mark.parametrize(
        ("changes", "location"),
        [
            ({}, None),
            ({"schema": {"type": "array"}}, None),
            ({"schema": {"type": "array"}, "explode": False}, {"in": "query", "style": "comma"}),
            (
                {"schema": {"type": "array"}, "style": "spaceDelimited"},
                {"in": "query", "style": "space"},
            ),
            (
                {"schema": {"type": "array"}, "style": "pipeDelimited"},
                {"in": "query", "style": "pipe"},
            ),
            (
                {"schema": {"type": "array"}, "style": "pipeDelimited", "explode": True},
                None,
            ),
            ({"schema": {"type": "string"}, "explode": False}, None),
            ({"schema": {"type": "object"}}, {"in": "query", "style": "properties"}),
            ({"schema": {"type": ["object", "null"]}}, {"in": "query", "style": "properties"}),
            ({"style": "deepObject"}, {"in": "query", "style": "deep"}),
            ({"content": {"application/json": {"schema": {}}}}, {"in": "query", "style": "json"}),
            ({"in": "header"}, {"in": "header"}),
            ({"in": "header", "name": "X Y"}, {"in": "header", "name": "X Y"}),
            ({"name": "$top"}, {"in": "query", "name": "$top"}),
            ({"style": 1, "explode": 1}, {"in": "query", "style": "comma"}),
        ],
    )
    def test_where_they_are_sent(self, changes: Any, location: Any) -> None:
        fields = operation_fields(parameter(**changes))
        [argument] = fields["parameters"]["properties"]
        assert fields["http"].get("locations") == (location and {argument: location})

    def test_arguments_have_names_that_providers_accept(self) -> None:
        names = ["$top", "filter[a]", "ok.x-1", "ü", "x" * 100]
        parameters: Any = [{"in": "query", "name": name, "schema": {}} for name in names]
        arguments = [*operation_fields({"parameters": parameters})["parameters"]["properties"]]
        assert arguments == ["top", "filter_a", "ok.x-1", "query", "x" * 54]

    def test_two_parameters_with_one_name(self) -> None:
        parameters: Any = [
            {"in": place, "name": "id", "schema": {}} for place in ("query", "header", "path")
        ]
        body: Any = {"content": {"application/json": {}}}
        fields = operation_fields(
            {"parameters": [*parameters, {"in": "query", "name": "body"}], "requestBody": body},
            path="/{id}",
        )
        assert [*fields["parameters"]["properties"]] == [
            "id",
            "id_query",
            "id_header",
            "body",
            "body_body",
        ]
        assert fields["http"]["url"] == "https://documents.example/{id}"
        assert fields["http"]["locations"] == {
            "id_query": {"in": "query", "name": "id"},
            "id_header": {"in": "header", "name": "id"},
            "body_body": {"in": "body"},
        }

    def test_the_operation_replaces_those_of_the_path(self) -> None:
        operation: Any = parameter({"type": "string"}, required=True)
        item = {"get": operation, **parameter({"type": "integer"})}
        document = Document({"openapi": "3.1.0", "paths": {"/x": item}}, URL)
        fields = tool_fields(document, document.operations()[0], headers={}, secret_names=())
        assert fields["parameters"]["properties"] == {"q": {"type": "string"}}
        assert fields["parameters"]["required"] == ["q"]

    def test_an_undeclared_part_of_the_path_is_a_string(self) -> None:
        fields = operation_fields({}, path="/a/{b-c}/{d}.json")
        assert fields["http"]["url"].endswith("/a/{b-c}/{d}.json")
        assert fields["parameters"]["required"] == ["b-c", "d"]
        assert fields["parameters"]["properties"]["d"] == {"type": "string"}

    @pytest.mark.parametrize(
        "changes",
        [
            {"in": "cookie"},
            {"deprecated": True},
            {"in": "header", "name": "Accept"},
            {"in": "header", "name": "content-type"},
            {"in": "header", "name": "Content-Length", "required": True},
            {"in": "path"},
        ],
    )
    def test_these_are_left_out(self, changes: Any) -> None:
        assert operation_fields(parameter(**changes))["parameters"]["properties"] == {}

    @pytest.mark.parametrize(
        ("operation", "text"),
        [
            (parameter(**{"in": "cookie", "required": True}), "requires the cookie q"),
            (parameter(**{"in": "body"}), "not valid"),
            (parameter(name=1), "not valid"),
            (parameter(name="x" * 201), "more than 200 characters"),
            ({"parameters": {}}, "parameters"),
            ({"parameters": [1]}, "not valid"),
            ({"parameters": [parameter()] * 101}, "more than 100 parameters"),
            ({"parameters": [{"$ref": "#/a/b"}]}, "does not contain #/a/b"),
            ({"parameters": [{"$ref": "other.json"}]}, "another document: other.json"),
            ({"parameters": [{"$ref": "#/loop"}]}, "refers to itself"),
        ],
    )
    def test_operations_that_are_left(self, operation: Any, text: str) -> None:
        assert text in reason(operation, {"loop": {"$ref": "#/loop"}})

    @pytest.mark.parametrize("changes", [{"schema": {"type": "array"}}, {"style": "matrix"}])
    def test_a_path_has_only_simple_values(self, changes: Any) -> None:
        operation: Any = parameter(**{"in": "path", **changes})
        assert "list or an object: q" in reason(operation, path="/{q}")


class TestBodies:
    def fields(self, content: Any, **changes: Any) -> dict[str, Any]:
        return operation_fields({"requestBody": {"content": content, **changes}})

    @pytest.mark.parametrize(
        ("media_type", "location", "headers"),
        [
            ("application/json", {"in": "body"}, {}),
            ("Application/JSON", {"in": "body"}, {}),
            ("*/*", {"in": "body"}, {}),
            ("application/x-www-form-urlencoded", {"in": "form"}, {}),
            (
                "application/merge-patch+json",
                {"in": "body"},
                {"Content-Type": "application/merge-patch+json"},
            ),
            (
                "application/json; charset=utf-8",
                {"in": "body"},
                {"Content-Type": "application/json; charset=utf-8"},
            ),
        ],
    )
    def test_how_they_are_sent(self, media_type: str, location: Any, headers: Any) -> None:
        http = self.fields({media_type: {"schema": {"type": "object"}}})["http"]
        assert (http["locations"], http["headers"]) == ({"body": location}, headers)

    def test_json_is_preferred(self) -> None:
        types = ("text/xml", "application/x-www-form-urlencoded", "a/b+json", "application/json")
        http = self.fields({media_type: {} for media_type in types})["http"]
        assert (http["locations"], http["headers"]) == ({"body": {"in": "body"}}, {})

    def test_a_form_with_nested_values(self) -> None:
        form = {"schema": {}, "encoding": {"a": {"style": "deepObject"}, "b": 1}}
        http = self.fields({"application/x-www-form-urlencoded": form})["http"]
        assert http["locations"] == {"body": {"in": "form", "style": "deep"}}

    def test_it_is_required_if_the_document_says_so(self) -> None:
        content: Any = {"application/json": {"schema": {}}}
        assert self.fields(content, required=True)["parameters"]["required"] == ["body"]
        assert "required" not in self.fields(content)["parameters"]

    @pytest.mark.parametrize("media_type", ["multipart/form-data", "text/plain", "application/xml"])
    def test_other_bodies_are_left(self, media_type: str) -> None:
        operation: Any = {"requestBody": {"content": {media_type: {}}}}
        assert reason(operation) == f"Its body is neither JSON nor a form: {media_type}."

    def test_get_has_no_body(self) -> None:
        body: Any = {"content": {"application/json": {}}}
        assert (
            operation_fields({"requestBody": body}, method="get")["parameters"]["properties"] == {}
        )
        required = {"requestBody": {**body, "required": True}}
        assert reason(required, method="get") == "Its GET request has a body."

    @pytest.mark.parametrize("method", ["head", "options", "trace"])
    def test_methods_that_tools_do_not_have(self, method: str) -> None:
        assert reason({}, method=method) == f"Tools cannot send {method.upper()} requests."


class TestSecurity:
    SCHEMES = {
        "key": {"type": "apiKey", "in": "header", "name": "X-Key"},
        "query": {"type": "apiKey", "in": "query", "name": "k&"},
        "cookie": {"type": "apiKey", "in": "cookie", "name": "k"},
        "bearer": {"type": "http", "scheme": "Bearer"},
        "basic": {"type": "http", "scheme": "basic"},
        "digest": {"type": "http", "scheme": "digest"},
        "oauth": {"type": "oauth2", "flows": {}},
        "an id": {"$ref": "#/oidc"},
    }

    def http(self, *security: Any, given: tuple[str, ...] = (), **changes: Any) -> dict[str, Any]:
        document = Document(
            {
                "openapi": "3.0.0",
                "paths": {"/x": {"get": {"security": [*security], **changes}}},
                "components": {"securitySchemes": self.SCHEMES},
                "oidc": {"type": "openIdConnect"},
            },
            URL,
        )
        fields = tool_fields(document, document.operations()[0], headers={}, secret_names=given)
        http: dict[str, Any] = fields["http"]
        return http

    @pytest.mark.parametrize(
        ("name", "headers"),
        [
            ("key", {"X-Key": "{{secret.key}}"}),
            ("bearer", {"Authorization": "Bearer {{secret.bearer}}"}),
            ("basic", {"Authorization": "Basic {{secret.basic}}"}),
            ("oauth", {"Authorization": "Bearer {{secret.oauth}}"}),
            ("an id", {"Authorization": "Bearer {{secret.an_id}}"}),
        ],
    )
    def test_schemes_become_headers(self, name: str, headers: Any) -> None:
        assert self.http({name: []})["headers"] == headers

    def test_a_key_in_the_query(self) -> None:
        assert (
            self.http({"query": []})["url"] == "https://documents.example/x?k%26={{secret.query}}"
        )

    def test_a_parameter_that_the_scheme_sets_is_left_out(self) -> None:
        parameters = [{"in": "query", "name": "k&"}, {"in": "header", "name": "x-key"}]
        assert "locations" not in self.http({"query": [], "key": []}, parameters=parameters)

    def test_all_schemes_of_a_requirement(self) -> None:
        http = self.http({"key": [], "oauth": ["scope"]})
        assert [*http["headers"]] == ["X-Key", "Authorization"]

    def test_the_first_requirement_with_its_secrets(self) -> None:
        security: Any = ({"cookie": []}, {"key": []}, {"bearer": []}, {})
        assert self.http(*security, given=("bearer",))["headers"] == {
            "Authorization": "Bearer {{secret.bearer}}"
        }
        assert self.http(*security)["headers"] == {}
        assert [*self.http(*security[:3])["headers"]] == ["X-Key"]

    @pytest.mark.parametrize("name", ["cookie", "digest"])
    def test_schemes_that_tools_cannot_have(self, name: str) -> None:
        with pytest.raises(UnsupportedOperation, match=f"scheme {name} is not supported"):
            self.http({name: []})

    def test_invalid_security(self) -> None:
        with pytest.raises(UnsupportedOperation, match="not valid"):
            self.http(1)

    def test_a_scheme_that_the_document_does_not_have(self) -> None:
        with pytest.raises(UnsupportedOperation, match="no security scheme none"):
            self.http({"none": []})
        with pytest.raises(UnsupportedOperation, match="no security scheme none"):
            operation_fields({"security": [{"none": []}]})


class TestSchemas:
    @pytest.mark.parametrize(
        ("schema", "expected"),
        [
            # Version 3.0.
            ({"type": "string", "nullable": True}, {"type": ["string", "null"]}),
            (
                {"type": "string", "enum": ["a"], "nullable": True},
                {"type": ["string", "null"], "enum": ["a", None]},
            ),
            (
                {"allOf": [{"$ref": "#/pet"}], "nullable": True, "description": "d"},
                {"type": ["object", "null"], "properties": {"n": {}}, "description": "d"},
            ),
            (
                {"allOf": [{"$ref": "#/pet"}, {"minProperties": 1}], "nullable": True},
                {
                    "anyOf": [
                        {
                            "allOf": [
                                {"type": "object", "properties": {"n": {}}},
                                {"minProperties": 1},
                            ]
                        },
                        {"type": "null"},
                    ]
                },
            ),
            ({"minimum": 1, "exclusiveMinimum": True}, {"exclusiveMinimum": 1}),
            ({"maximum": 1, "exclusiveMaximum": False}, {"maximum": 1}),
            ({"type": "string", "example": "x"}, {"type": "string", "examples": ["x"]}),
            # Version 3.1.
            ({"type": ["integer", "null"]}, {"type": ["integer", "null"]}),
            ({"exclusiveMaximum": 1.5}, {"exclusiveMaximum": 1.5}),
            ({"const": None}, {"const": None}),
            ({"examples": ["x"]}, {"examples": ["x"]}),
            ({"prefixItems": [{"type": "string"}]}, {"prefixItems": [{"type": "string"}]}),
            (True, True),
            (
                {"$ref": "#/pet", "description": "d"},
                {"type": "object", "properties": {"n": {}}, "description": "d"},
            ),
            (
                {"$ref": "#/pet", "required": ["x"], "properties": {"x": {}}},
                {
                    "allOf": [
                        {"type": "object", "properties": {"n": {}}},
                        {"properties": {"x": {}}, "required": ["x"]},
                    ]
                },
            ),
            # Both.
            (
                {"oneOf": [{"type": "string"}, {"type": "integer"}], "discriminator": {}},
                {"anyOf": [{"type": "string"}, {"type": "integer"}]},
            ),
            (
                {
                    "properties": {"id": {"readOnly": True}, "$ref": {}},
                    "required": ["id", "$ref", "z"],
                },
                {"properties": {"$ref": {}}, "required": ["$ref"]},
            ),
            ({"not": {}, "if": {}, "x-a": 1, "title": "t", "xml": {}, "$id": "a"}, {}),
            ({"additionalProperties": False}, {"additionalProperties": False}),
            (
                {"additionalProperties": {"type": "string"}},
                {"additionalProperties": {"type": "string"}},
            ),
            ({"description": "x" * 2_000}, {"description": "x" * 999 + "…"}),
            ({"description": " \0"}, {}),
            ({"default": "x" * 400, "enum": ["x" * 5_000]}, {}),
        ],
    )
    def test_keywords(self, schema: Any, expected: Any) -> None:
        content = {"pet": {"type": "object", "properties": {"n": {}}}}
        found = converted(schema, content)
        assert found == expected

    @pytest.mark.parametrize(
        "schema",
        [
            {"type": "file"},
            {"type": 1},
            {"type": ["x"]},
            {"description": 1},
            {"enum": []},
            {"enum": {}},
            {"minimum": "1"},
            {"minimum": True},
            {"minLength": -1},
            {"minLength": 1.5},
            {"multipleOf": 0},
            {"required": "x"},
            {"required": [1], "properties": []},
            {"items": 1},
            {"items": [{}]},
            {"anyOf": []},
            {"allOf": {}},
            {"pattern": 1},
            {"format": None},
            {"additionalProperties": "x"},
            {"uniqueItems": "x"},
            {"examples": {"a": 1}},
            1,
            None,
            "x",
        ],
    )
    def test_invalid_keywords_are_left_out(self, schema: Any) -> None:
        assert converted(schema) == {}

    def test_a_cycle_ends_at_its_repetition(self) -> None:
        node = {
            "type": "object",
            "description": "A node.",
            "properties": {"next": {"$ref": "#/node"}, "value": {"type": "string"}},
        }
        schema = converted({"$ref": "#/node"}, {"node": node})
        assert schema["properties"]["next"] == {"type": "object", "description": "A node."}
        arguments = {"body": {"next": {"next": {"next": {"value": 1}}}}}
        assert argument_errors({"type": "object", "properties": {"body": schema}}, arguments) == []

    def test_a_pattern_that_is_not_accepted_is_left_out(self) -> None:
        schema = {
            "properties": {"a": {"pattern": "(", "type": "string"}},
            "patternProperties": {"[": {}},
            "additionalProperties": False,
        }
        assert converted(schema) == {
            "properties": {"a": {"type": "string"}},
            "patternProperties": {},
        }
        assert converted({"pattern": "^a$"}) == {"pattern": "^a$"}

    def test_a_large_schema_is_cut_where_it_is_deep(self) -> None:
        schema: Any = {"type": "string", "description": "x" * 40}
        for _ in range(5):
            schema = {"type": "object", "properties": {f"p{n}": schema for n in range(4)}}
        body = operation_fields(
            {"requestBody": {"content": {"application/json": {"schema": schema}}}}
        )["parameters"]["properties"]["body"]
        assert len(json.dumps(body)) < 16 * 1024
        inner = body["properties"]["p3"]["properties"]["p0"]
        assert inner["properties"]["p1"] == {"type": "object"}

    def test_a_schema_that_is_too_large(self) -> None:
        schema = {"properties": {f"property{n}": {"type": "string"} for n in range(2_000)}}
        operation = {"requestBody": {"content": {"application/json": {"schema": schema}}}}
        assert "more than 16384 bytes" in reason(operation)


def test_descriptions_have_the_summary_and_the_details() -> None:
    def description(**texts: Any) -> Any:
        return operation_fields(texts)["description"]

    assert (
        description(summary="List pets.", description="All of them.")
        == "List pets.\n\nAll of them."
    )
    assert description(summary="List pets", description="List pets. All.") == "List pets. All."
    assert description(summary=1, description="\0 ") == "POST /x"
    assert description(description="x" * 2_000) == "x" * 999 + "…"
