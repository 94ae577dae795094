"""`POST /api/v1/tools/import` of OpenAPI documents, and calls of the imported tools."""

import base64
import ipaddress
import json
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
from django.conf import LazySettings

from map_project.tenants.models import Tenant
from tests.api import Api
from tests.http_server import http_server
from tests.openapi_documents import NAMES, document, expected_tools
from tests.tool_server import tool_server
from tools.models import Tool

SECRET = "correct-horse battery"
LIMIT_BYTES = 2 * 1024 * 1024


@pytest.fixture
def loopback(settings: LazySettings) -> None:
    settings.TOOL_ALLOWED_NETWORKS = (ipaddress.ip_network("127.0.0.1/32"),)


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with tool_server() as server_port:
        yield server_port


@pytest.fixture
def published(loopback: None) -> Iterator[Any]:
    """Return a function that publishes bytes at a URL."""
    with http_server(Publisher) as port:

        def publish(body: bytes, status: int = 200) -> str:
            Publisher.body, Publisher.status = body, status
            return f"http://127.0.0.1:{port}/v1/openapi.json"

        yield publish


class Publisher(BaseHTTPRequestHandler):
    """Responds with `body` to each request."""

    body = b""
    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        with suppress(OSError):
            self.wfile.write(self.body)

    def log_message(self, *_: object) -> None:
        pass


PETS: dict[str, Any] = {
    "openapi": "3.1.0",
    "info": {"title": "Pets", "version": "1"},
    "servers": [{"url": "https://pets.example/v1"}],
    "security": [{"token": []}],
    "components": {
        "securitySchemes": {
            "token": {"type": "http", "scheme": "bearer"},
            "login": {"type": "http", "scheme": "basic"},
        }
    },
    "paths": {
        "/pets/{id}": {
            "get": {"operationId": "getPet", "summary": "Read a pet."},
            "delete": {"operationId": "deletePet"},
        },
        "/pets": {"post": {"requestBody": {"content": {"text/plain": {}}}}},
        "/login": {"get": {"operationId": "login", "security": [{"login": []}]}},
    },
}
BOTH = {"operations": ["getPet", "deletePet"], "secrets": {"token": SECRET}}


def post(api: Api, **changes: Any) -> Any:
    return api.post("tools/import", {"kind": "openapi", "document": PETS, **changes})


def imported(api: Api, **changes: Any) -> Any:
    response = post(api, **changes)
    assert response.status == 200, response.content
    return response.json


def names(outcomes: Any) -> list[str]:
    return [each["name"] for each in outcomes]


class TestImport:
    def test_an_operation_becomes_a_tool(self, api: Api, tenant: Tenant) -> None:
        result = imported(api, operations=["getPet"], secrets={"token": SECRET})
        [created] = result["created"]
        assert (created["source_name"], created["reason"], created["definition"]) == (
            "getPet",
            None,
            None,
        )
        tool = api.get(f"tools/{created['id']}").json
        assert tool["http"] == {
            "method": "GET",
            "url": "https://pets.example/v1/pets/{id}",
            "arguments_in": "query",
            "headers": {"Authorization": "Bearer {{secret.token}}"},
            "timeout_seconds": 10,
        }
        assert (tool["kind"], tool["name"]) == ("http", "getPet")
        assert (tool["description"], tool["idempotent"]) == ("Read a pet.", True)
        assert tool["parameters"]["required"] == ["id"]
        assert tool["secret_names"] == ["token"]
        assert SECRET not in Tool.objects.get(tenant=tenant).secrets_token

    def test_operations_are_named_by_id_or_route(self, api: Api) -> None:
        wanted = ["DELETE /pets/{id}", "getPet", "GET /pets/{id}"]
        result = imported(api, operations=wanted, secrets={"token": SECRET})
        assert names(result["created"]) == ["deletePet", "getPet"]

    def test_all_operations(self, api: Api) -> None:
        result = imported(api, secrets={"token": SECRET, "login": "dTpw"}, prefix="x_")
        assert names(result["created"]) == ["x_getPet", "x_deletePet", "x_login"]
        [left] = result["left"]
        assert left == {
            "source_name": "POST /pets",
            "name": "x_post_pets",
            "id": None,
            "reason": "Its body is neither JSON nor a form: text/plain.",
            "definition": None,
        }
        tool = api.get(f"tools/{result['created'][2]['id']}").json
        # A tool has only the secrets that it uses.
        assert tool["secret_names"] == ["login"]

    def test_a_tool_without_its_secret_is_left(self, api: Api, tenant: Tenant) -> None:
        result = imported(api, operations=["getPet"])
        [left] = result["left"]
        assert left["reason"] == 'http: Secret "token" is not set. Add it to secrets.'
        assert not Tool.objects.filter(tenant=tenant).exists()

    def test_a_deprecated_operation_is_imported_if_it_is_named(self, api: Api) -> None:
        paths = {"/old": {"get": {"operationId": "old", "deprecated": True}}}
        fields: dict[str, Any] = {"document": {**PETS, "paths": paths}, "secrets": {"token": "x"}}
        for operations in ({}, {"operations": None}):
            [left] = imported(api, **fields, **operations)["left"]
            assert (left["name"], left["id"]) == ("old", None)
            assert left["reason"] == "It is deprecated. Name it in operations to import it."
        assert names(imported(api, **fields, operations=["old"])["created"]) == ["old"]

    def test_headers_of_all_tools(self, api: Api) -> None:
        headers = {"authorization": "Token {{secret.k}}", "X-Version": "1"}
        result = imported(api, operations=["getPet"], headers=headers, secrets={"k": SECRET})
        tool = api.get(f"tools/{result['created'][0]['id']}").json
        assert tool["http"]["headers"] == headers
        assert tool["secret_names"] == ["k"]

    def test_a_repeated_import_changes_nothing(self, api: Api) -> None:
        created = imported(api, **BOTH)["created"]
        before = api.get("tools").json
        for secrets in ({"token": SECRET}, {}):
            result = imported(api, **{**BOTH, "secrets": secrets})
            assert result["unchanged"] == created
            assert api.get("tools").json == before

    def test_a_repeated_import_changes_what_differs(self, api: Api) -> None:
        first, second = imported(api, **BOTH)["created"]
        before = api.get(f"tools/{second['id']}").json
        changed = json.loads(json.dumps(PETS))
        changed["paths"]["/pets/{id}"]["get"]["summary"] = "Read one pet."
        result = imported(api, **BOTH, document=changed)
        assert (result["changed"], result["unchanged"]) == ([first], [second])
        assert api.get(f"tools/{first['id']}").json["description"] == "Read one pet."
        assert api.get(f"tools/{second['id']}").json == before

    def test_another_tool_with_the_name_is_left(self, api: Api) -> None:
        other = api.post("tools", {"name": "getPet", "description": "Mine."}).json
        result = imported(api, **BOTH)
        assert (names(result["created"]), names(result["left"])) == (["deletePet"], ["getPet"])
        assert "not imported from there" in result["left"][0]["reason"]
        assert api.get(f"tools/{other['id']}").json == other

    def test_a_dry_run_returns_definitions_and_writes_nothing(
        self, api: Api, tenant: Tenant
    ) -> None:
        result = imported(api, **BOTH, dry_run=True)
        assert not Tool.objects.filter(tenant=tenant).exists()
        assert [each["id"] for each in result["created"]] == [None, None]
        definitions = [each["definition"] for each in result["created"]]
        created = [api.get(f"tools/{each['id']}").json for each in imported(api, **BOTH)["created"]]
        assert definitions == [
            {name: tool[name] for name in definition}
            for definition, tool in zip(definitions, created, strict=True)
        ]
        assert "http" in definitions[0]
        assert SECRET not in json.dumps(result)

    @pytest.mark.parametrize("name", NAMES)
    def test_documents_of_well_known_services(self, api: Api, name: str) -> None:
        headers = {"Authorization": "Bearer {{secret.k}}"}
        body = {"document": document(name), "url": "https://documents.example/openapi.json"}
        keys = {"api_key": "x"} if name == "petstore" else {}
        result = imported(api, **body, headers=headers, secrets={"k": SECRET, **keys})
        expected = expected_tools(name)
        left = {each["source_name"]: each["reason"] for each in result["left"]}
        assert left == {key: value for key, value in expected.items() if isinstance(value, str)}
        tools = {tool["name"]: tool for tool in api.get("tools?limit=100").json["items"]}
        for each in result["created"]:
            definition = expected[each["source_name"]]
            tool = tools[each["name"]]
            for field in ("description", "parameters"):
                assert tool[field] == definition[field]
            assert tool["http"]["url"] == definition["http"]["url"]
            assert tool["http"].get("locations") == definition["http"].get("locations")


class TestCall:
    """A call of an imported tool, on a real server."""

    DOCUMENT: dict[str, Any] = {
        "openapi": "3.0.3",
        "components": {
            "securitySchemes": {
                "key": {"type": "apiKey", "in": "query", "name": "api_key"},
                "user": {"type": "http", "scheme": "basic"},
            }
        },
        "security": [{"key": [], "user": []}],
        "paths": {
            "/echo/{pet-id}": {
                "parameters": [{"in": "path", "name": "pet-id", "schema": {"type": "integer"}}],
                "put": {
                    "operationId": "put",
                    "parameters": [
                        {"in": "query", "name": "filter[kind]", "schema": {"type": "string"}},
                        {
                            "in": "query",
                            "name": "ids",
                            "explode": False,
                            "schema": {"type": "array", "items": {"type": "integer"}},
                        },
                        {
                            "in": "query",
                            "name": "age",
                            "style": "deepObject",
                            "schema": {"type": "object"},
                        },
                        {"in": "header", "name": "If-Match", "schema": {"type": "string"}},
                    ],
                    "requestBody": {
                        "required": True,
                        "content": {
                            "application/merge-patch+json": {"schema": {"$ref": "#/x"}},
                            "application/xml": {},
                        },
                    },
                },
                "post": {
                    "operationId": "post",
                    "requestBody": {
                        "content": {"application/x-www-form-urlencoded": {"schema": {}}}
                    },
                },
            }
        },
        "x": {"type": "object", "properties": {"name": {"type": "string", "nullable": True}}},
    }

    def request(
        self, api: Api, port: int, operation: str, arguments: dict[str, Any]
    ) -> dict[str, Any]:
        """Import the document and call a tool. Returns the request that the server received."""
        servers = [{"url": f"http://127.0.0.1:{port}"}]
        user = base64.b64encode(b"user:pass").decode()
        result = imported(
            api,
            document={**self.DOCUMENT, "servers": servers},
            operations=[operation],
            secrets={"key": "the key", "user": user},
        )
        [created] = result["created"]
        answer = api.post(f"tools/{created['id']}/test", {"arguments": arguments}).json
        assert answer["ok"], answer
        request: dict[str, Any] = json.loads(answer["result"])
        return request

    def test_path_query_header_and_body_arrive(self, api: Api, port: int, loopback: None) -> None:
        arguments = {
            "pet-id": 7,
            "filter_kind": "a b",
            "ids": [1, 2],
            "age": {"min": 1},
            "If-Match": '"v1"',
            "body": {"name": None},
        }
        request = self.request(api, port, "put", arguments)
        assert request["method"] == "PUT"
        assert request["path"] == (
            "/echo/7?api_key=[secret]&filter%5Bkind%5D=a%20b&ids=1,2&age%5Bmin%5D=1"
        )
        assert request["headers"]["if-match"] == '"v1"'
        assert request["headers"]["content-type"] == "application/merge-patch+json"
        assert request["headers"]["authorization"] == "Basic [secret]"
        assert json.loads(request["body"]) == {"name": None}

    def test_a_form_arrives(self, api: Api, port: int, loopback: None) -> None:
        arguments = {"pet-id": 7, "body": {"a": [1, 2], "b": "x&y"}}
        request = self.request(api, port, "post", arguments)
        assert request["headers"]["content-type"] == "application/x-www-form-urlencoded"
        assert request["body"] == "a=1&a=2&b=x%26y"


class TestUrl:
    def test_a_document_is_read_and_its_relative_server_resolved(
        self, api: Api, published: Any
    ) -> None:
        pets = {**PETS, "servers": [{"url": "../v2"}]}
        url = published(json.dumps(pets).encode())
        result = imported(
            api, url=url, document=pets, operations=["getPet"], secrets={"token": "x"}
        )
        body = {"kind": "openapi", "url": url, "operations": ["getPet"], "secrets": {"token": "x"}}
        repeated = api.post("tools/import", body)
        assert repeated.json["unchanged"] == result["created"]
        tool = api.get(f"tools/{result['created'][0]['id']}").json
        assert tool["http"]["url"] == url.replace("/v1/openapi.json", "/v2/pets/{id}")

    @pytest.mark.parametrize(
        ("body", "text"),
        [
            (b"", "not JSON"),
            (b"openapi: 3.0.0\npaths: {}\n", "Convert YAML to JSON."),
            (b"# Pets\nswagger: '2.0'\n", "Convert YAML to JSON."),
            (b"&a [&b [*a, *a], *b]", "not JSON"),
            (b"[]", "not a JSON object"),
            (b"[" * 100_000, "not JSON"),
            (b'{"swagger": "2.0"}', "found version 2.0"),
            (b"\xff\xfe{}", "not JSON"),
            (
                b'{"openapi": "3.0.0"' + b" " * (LIMIT_BYTES - 19) + b"}",
                "more than 2,097,152 bytes",
            ),
        ],
    )
    def test_documents_that_cannot_be_used(
        self, api: Api, published: Any, body: bytes, text: str
    ) -> None:
        response = api.post("tools/import", {"kind": "openapi", "url": published(body)})
        if response.error_code == "TOOL_SERVER_ERROR":
            # The transport has the same limit, and counts other bytes.
            assert response.details["reason"] == "bad_answer"
            assert len(body) > LIMIT_BYTES
            return
        assert response.status == 400
        assert text in response.fields["url"][0]

    def test_ten_megabytes_are_not_read(self, api: Api, published: Any) -> None:
        url = published(b'{"openapi": "3.0.0", "x": "' + b"x" * 10_000_000 + b'"}')
        response = api.post("tools/import", {"kind": "openapi", "url": url})
        assert (response.status, response.error_code) in {
            (400, "TOOL_SERVER_ERROR"),
            (400, "VALIDATION_ERROR"),
        }

    @pytest.mark.parametrize(("status", "reason"), [(404, "http_404"), (302, "http_302")])
    def test_a_server_that_does_not_return_it(
        self, api: Api, published: Any, status: int, reason: str
    ) -> None:
        url = published(json.dumps(PETS).encode(), status)
        response = api.post("tools/import", {"kind": "openapi", "url": url})
        assert (response.error_code, response.details["reason"]) == ("TOOL_SERVER_ERROR", reason)

    @pytest.mark.parametrize(
        "url",
        ["http://127.0.0.1:1/", "http://169.254.169.254/", "http://[::1]/", "http://0.0.0.0/"],
    )
    def test_addresses_that_are_not_allowed(self, api: Api, url: str) -> None:
        response = api.post("tools/import", {"kind": "openapi", "url": url})
        assert (response.error_code, response.details["reason"]) == (
            "TOOL_SERVER_ERROR",
            "refused",
        )


class TestInvalidRequests:
    @pytest.mark.parametrize(
        ("changes", "field", "text"),
        [
            ({"document": None}, "document", "null"),
            ({"document": []}, "document", "object"),
            ({"document": "openapi: 3.0.0\npaths: {}"}, "document", "Convert YAML to JSON."),
            ({"document": {}}, "document", "found no version"),
            ({"document": {"swagger": "2.0"}}, "document", "found version 2.0"),
            ({"url": "ftp://a.example/"}, "url", "http://"),
            ({"url": "https://a.example/{x}"}, "url", "placeholders"),
            ({"url": "https://a.example/{{secret.x}}"}, "url", "placeholders"),
            ({"url": 1}, "url", "string"),
            ({"operations": "getPet"}, "operations", "list"),
            ({"operations": ["getpet", "getPet"]}, "operations", "no operation getpet"),
            ({"operations": [1]}, "operations", "string"),
            ({"operations": ["x"] * 101}, "operations", "100"),
            ({"headers": []}, "headers", "object"),
            ({"headers": {"Host": "x"}}, "headers", "Host cannot be set"),
            ({"secrets": {"tokn": "x"}}, "secrets", "tokn is not used"),
            ({"secrets": {"login": "user:pass"}}, "secrets", "base64 encoding of user:password"),
            ({"secrets": []}, "secrets", "object"),
            ({"dry_run": "x"}, "dry_run", "boolean"),
            ({"tools": []}, "tools", "Unknown field"),
        ],
    )
    def test_an_invalid_field_is_reported(
        self, api: Api, tenant: Tenant, changes: Any, field: str, text: str
    ) -> None:
        response = post(api, **changes)
        assert (response.status, response.error_code) == (400, "VALIDATION_ERROR")
        assert text in " ".join(response.fields[field]), response.fields
        assert not Tool.objects.filter(tenant=tenant).exists()

    def test_a_document_or_a_url_is_required(self, api: Api) -> None:
        response = api.post("tools/import", {"kind": "openapi"})
        assert response.fields == {"url": ["Send url or document."]}

    def test_more_operations_than_an_import_may_have_are_named(self, api: Api) -> None:
        paths: Any = {f"/{n}": {"get": {}} for n in range(101)}
        document = {"openapi": "3.0.0", "servers": [{"url": "https://a.example"}], "paths": paths}
        response = post(api, document=document)
        assert response.fields["operations"] == [
            "The document has 101 operations. Name at most 100."
        ]
        result = imported(api, document=document, operations=["GET /100"])
        assert names(result["created"]) == ["get_100"]
