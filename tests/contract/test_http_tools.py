"""Tools of the kind `http` in `/api/v1/tools`, and `/api/v1/tools/{id}/test`."""

import ipaddress
import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import LazySettings

from map_project.tenants.models import Tenant
from tests.api import Answer, Api
from tests.conftest import api_of
from tests.contract.writes import TOOL
from tests.factories import TenantFactory, ToolFactory
from tests.tool_server import tool_server
from tools.models import Tool

SECRET = "correct-horse/battery staple"
URL = "https://api.example.com/v1/weather/{city}"
# The order of the properties is neither alphabetical nor that of jsonb.
PARAMETERS = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "at": {"type": "string"}, "days": {}},
    "required": ["city"],
}
HTTP = {"method": "GET", "url": URL, "headers": {"X-Secret": "{{secret.token}}"}}
HTTP_TOOL = {
    **TOOL,
    "kind": "http",
    "parameters": PARAMETERS,
    "http": HTTP,
    "secrets": {"token": SECRET},
}
ANY_OBJECT = {"type": "object", "properties": {}}


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with tool_server() as server_port:
        yield server_port


@pytest.fixture
def server_url(port: int, settings: LazySettings) -> str:
    """The URL of a server that tools may call."""
    settings.TOOL_ALLOWED_NETWORKS = (ipaddress.ip_network("127.0.0.1/32"),)
    return f"http://127.0.0.1:{port}"


def with_http(**changes: Any) -> dict[str, Any]:
    return {**HTTP_TOOL, "http": {**HTTP, **changes}}


def create(api: Api, body: Any = HTTP_TOOL) -> dict[str, Any]:
    response = api.post("tools", body)
    assert response.status == 201, response.content
    tool: dict[str, Any] = response.json
    return tool


def test_the_default_kind_is_declared(api: Api) -> None:
    tool = create(api, TOOL)
    assert {name: tool[name] for name in ("kind", "parameters", "http", "secret_names")} == {
        "kind": "declared",
        "parameters": ANY_OBJECT,
        "http": None,
        "secret_names": [],
    }


def test_an_http_tool_is_created_and_read(api: Api) -> None:
    tool = create(api)
    assert tool["http"] == {**HTTP, "arguments_in": "query", "timeout_seconds": 10}
    assert list(tool["http"]) == ["method", "url", "arguments_in", "headers", "timeout_seconds"]
    assert tool["parameters"] == PARAMETERS
    assert list(tool["parameters"]["properties"]) == ["city", "at", "days"]
    assert tool["secret_names"] == ["token"]
    assert api.get(f"tools/{tool['id']}").json == tool
    assert api.get("tools").json["items"] == [tool]


def test_a_declared_tool_may_have_parameters(api: Api) -> None:
    assert create(api, {**TOOL, "parameters": PARAMETERS})["parameters"] == PARAMETERS


@pytest.mark.parametrize(
    ("method", "place"),
    [("GET", "query"), ("DELETE", "query"), ("POST", "body"), ("PUT", "body"), ("PATCH", "body")],
)
def test_the_default_place_of_arguments_depends_on_the_method(
    api: Api, method: str, place: str
) -> None:
    assert create(api, with_http(method=method))["http"]["arguments_in"] == place


def test_put_keeps_the_optional_fields(api: Api) -> None:
    before = create(api)
    changed = api.put(f"tools/{before['id']}", {"name": "new", "description": "newer"})
    assert changed.status == 200
    updated = {"name": "new", "description": "newer", "updated_at": changed.json["updated_at"]}
    assert changed.json == {**before, **updated}


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_objects_are_replaced_as_a_whole(api: Api, method: str) -> None:
    path = f"tools/{create(api)['id']}"
    sent = {
        **TOOL,
        "http": {"method": "POST", "url": "http://example.com/"},
        "parameters": ANY_OBJECT,
    }
    changed = api.call(method, path, sent)
    assert changed.json["http"] == {
        "method": "POST",
        "url": "http://example.com/",
        "arguments_in": "body",
        "headers": {},
        "timeout_seconds": 10,
    }
    assert changed.json["parameters"] == ANY_OBJECT
    assert changed.json["secret_names"] == ["token"]


def test_secrets_are_set_and_removed_one_by_one(api: Api) -> None:
    path = f"tools/{create(api, {**HTTP_TOOL, 'secrets': {'token': SECRET, 'Z': 'z', 'a': 'a'}})['id']}"
    assert api.get(path).json["secret_names"] == ["Z", "a", "token"]
    names = api.patch(path, {"secrets": {"a": None, "b": "b", "none": None}}).json["secret_names"]
    assert names == ["Z", "b", "token"]
    assert api.patch(path, {"secrets": {}}).json["secret_names"] == names
    assert api.put(path, {**TOOL, "secrets": {"b": None}}).json["secret_names"] == ["Z", "token"]


def test_a_secret_in_use_cannot_be_removed(api: Api) -> None:
    path = f"tools/{create(api)['id']}"
    response = api.patch(path, {"secrets": {"token": None}})
    assert response.fields == {"http": ['Secret "token" is not set. Add it to secrets.']}
    assert api.get(path).json["secret_names"] == ["token"]
    response = api.patch(path, {"secrets": {"token": None}, "http": {**HTTP, "headers": {}}})
    assert response.json["secret_names"] == []


def test_the_kind_declared_deletes_the_configuration(api: Api, tenant: Tenant) -> None:
    path = f"tools/{create(api)['id']}"
    changed = api.patch(path, {"kind": "declared"}).json
    assert (changed["kind"], changed["http"], changed["secret_names"]) == ("declared", None, [])
    assert changed["parameters"] == PARAMETERS
    assert Tool.objects.get(tenant=tenant).secrets_token == ""
    response = api.patch(path, {"kind": "http"})
    assert response.fields == {"http": ['Required when kind is "http".']}


def test_no_response_contains_a_secret(api: Api) -> None:
    path = f"tools/{create(api)['id']}"
    for response in (
        api.post("tools", HTTP_TOOL),
        api.get(path),
        api.get("tools"),
        api.patch(path, {"secrets": {"token": SECRET}}),
        api.put(path, HTTP_TOOL),
        api.patch(path, {"secrets": {"token": SECRET, "none": 7}}),
        api.patch(path, {"secrets": {"token": f"{SECRET}\n"}}),
    ):
        assert SECRET.encode() not in response.content
        assert b"battery" not in response.content


@pytest.mark.parametrize(
    ("changes", "field", "text"),
    [
        ({"kind": "ftp"}, "kind", "declared, http"),
        ({"kind": None}, "kind", "null"),
        ({"kind": 1}, "kind", "string"),
        ({"kind": "declared"}, "http", 'kind is "http"'),
        ({"http": None}, "http", "Required when kind"),
        ({"http": []}, "http", "object"),
        ({"http": "GET"}, "http", "object"),
        ({"http": {}}, "http", "method: This field is required."),
        ({"http": {}}, "http", "url: This field is required."),
        ({"http": {**HTTP, "verb": "GET"}}, "http", "verb: Unknown field."),
        ({"http": {**HTTP, "method": "HEAD"}}, "http", "method: "),
        ({"http": {**HTTP, "method": "get"}}, "http", "method: "),
        ({"http": {**HTTP, "method": ["GET"]}}, "http", "method: "),
        ({"http": {**HTTP, "url": 5}}, "http", "url: "),
        ({"http": {**HTTP, "url": "ftp://example.com/"}}, "http", "url: "),
        ({"http": {**HTTP, "url": "http://{city}/"}}, "http", "only in the path and the query"),
        ({"http": {**HTTP, "url": "http://u:p@example.com/"}}, "http", "header with a secret"),
        ({"http": {**HTTP, "url": f"{URL}/{{town}}"}}, "http", "{town}"),
        (
            {"http": {**HTTP, "url": f"{URL}?k={{{{secret.no}}}}"}},
            "http",
            'Secret "no" is not set',
        ),
        ({"http": {**HTTP, "arguments_in": "path"}}, "http", "arguments_in: "),
        ({"http": {**HTTP, "arguments_in": "body"}}, "http", "A GET request has no body."),
        ({"http": {**HTTP, "timeout_seconds": 0}}, "http", "1 to 60"),
        ({"http": {**HTTP, "timeout_seconds": 61}}, "http", "1 to 60"),
        ({"http": {**HTTP, "timeout_seconds": 1.5}}, "http", "1 to 60"),
        ({"http": {**HTTP, "timeout_seconds": True}}, "http", "1 to 60"),
        ({"http": {**HTTP, "timeout_seconds": "5"}}, "http", "1 to 60"),
        ({"http": {**HTTP, "headers": []}}, "http", "headers: "),
        ({"http": {**HTTP, "headers": {"a b": "c"}}}, "http", "headers: "),
        ({"http": {**HTTP, "headers": {"": "c"}}}, "http", "headers: "),
        ({"http": {**HTTP, "headers": {"X:": "c"}}}, "http", "headers: "),
        ({"http": {**HTTP, "headers": {"X\r\nY": "c"}}}, "http", "headers: "),
        ({"http": {**HTTP, "headers": {"X": "a\r\nY: b"}}}, "http", "printable ASCII"),
        ({"http": {**HTTP, "headers": {"X": "a\u0000"}}}, "http", "printable ASCII"),
        ({"http": {**HTTP, "headers": {"X": "ü"}}}, "http", "printable ASCII"),
        ({"http": {**HTTP, "headers": {"X": " a"}}}, "http", "printable ASCII"),
        ({"http": {**HTTP, "headers": {"X": 1}}}, "http", "printable ASCII"),
        ({"http": {**HTTP, "headers": {"X": "{{secret.no}}"}}}, "http", 'Secret "no" is not set'),
        ({"http": {**HTTP, "headers": {"X": "{{ secret.token }}"}}}, "http", "{{secret.name}}"),
        ({"http": {**HTTP, "headers": {"Host": "a"}}}, "http", "Host cannot be set"),
        ({"http": {**HTTP, "headers": {"content-length": "1"}}}, "http", "cannot be set"),
        ({"http": {**HTTP, "headers": {"Transfer-Encoding": "x"}}}, "http", "cannot be set"),
        ({"http": {**HTTP, "headers": {"Connection": "x"}}}, "http", "cannot be set"),
        ({"http": {**HTTP, "headers": {"Proxy-Authorization": "x"}}}, "http", "cannot be set"),
        ({"http": {**HTTP, "headers": {"Accept-Encoding": "gzip"}}}, "http", "cannot be set"),
        ({"http": {**HTTP, "headers": {"A": "b", "a": "c"}}}, "http", "twice"),
        ({"http": {**HTTP, "headers": {f"X-{n}": "b" for n in range(31)}}}, "http", "at most 30"),
        ({"parameters": None}, "parameters", "null"),
        ({"parameters": "{}"}, "parameters", "object"),
        ({"parameters": {}}, "parameters", '"type": "object"'),
        ({"parameters": {"type": "object", "$ref": "http://x/"}}, "parameters", "$ref"),
        ({"parameters": {"type": "object", "pattern": "("}}, "parameters", "regex"),
        ({"secrets": None}, "secrets", "null"),
        ({"secrets": []}, "secrets", "object"),
        ({"secrets": {"a b": "c"}}, "secrets", "letters"),
        ({"secrets": {"": "c"}}, "secrets", "letters"),
        ({"secrets": {"a": ""}}, "secrets", "1 to 4096"),
        ({"secrets": {"a": 5}}, "secrets", "1 to 4096"),
        ({"secrets": {"a": "b\n"}}, "secrets", "printable ASCII"),
        ({"secrets": {"a": "ü"}}, "secrets", "printable ASCII"),
        ({"secrets": {"a": "b" * 4097}}, "secrets", "1 to 4096"),
        ({"secrets": {f"s{n}": "b" for n in range(21)}}, "secrets", "at most 20"),
        ({"secret_names": ["a"]}, "secret_names", "Unknown field"),
    ],
)
def test_an_invalid_field_is_reported(
    api: Api, tenant: Tenant, changes: dict[str, Any], field: str, text: str
) -> None:
    response = api.post("tools", {**HTTP_TOOL, **changes})
    assert response.status == 400
    assert text in " ".join(response.fields[field]), response.fields
    assert not Tool.objects.filter(tenant=tenant).exists()
    path = f"tools/{create(api)['id']}"
    before = api.get(path).json
    if changes != {"kind": "declared"}:
        assert api.patch(path, changes).status == 400
        assert api.get(path).json == before


def test_all_invalid_fields_are_reported(api: Api) -> None:
    body = {"name": "", "kind": "x", "parameters": [], "http": {"method": "X"}, "secrets": 1}
    response = api.post("tools", body)
    assert set(response.fields) == {"name", "description", "kind", "parameters", "http", "secrets"}
    assert len(response.fields["http"]) == 2


def test_only_the_missing_keys_are_reported(api: Api) -> None:
    response = api.post("tools", {**HTTP_TOOL, "http": {}})
    assert response.fields == {
        "http": ["method: This field is required.", "url: This field is required."]
    }


def test_secrets_of_a_declared_tool_are_rejected(api: Api) -> None:
    response = api.post("tools", {**TOOL, "secrets": {"a": "b"}})
    assert list(response.fields) == ["secrets"]


def test_a_server_without_encryption_keys_rejects_secrets(api: Api, settings: LazySettings) -> None:
    settings.SECRETS_KEYS = []
    response = api.post("tools", HTTP_TOOL)
    assert "SECRETS_KEYS" in response.fields["secrets"][0]
    assert (
        api.post("tools", {**HTTP_TOOL, "secrets": {}, "http": {**HTTP, "headers": {}}}).status
        == 201
    )


def test_a_secret_that_cannot_be_decrypted_can_be_set_again(api: Api, tenant: Tenant) -> None:
    path = f"tools/{create(api, {**HTTP_TOOL, 'secrets': {'token': SECRET, 'other': 'x'}})['id']}"
    Tool.objects.filter(tenant=tenant).update(secrets_token="gAAAAAB-lost")
    response = api.patch(path, {"secrets": {"token": SECRET}})
    assert response.fields == {
        "secrets": ["other can no longer be decrypted. Set or remove it as well."]
    }
    both = api.patch(path, {"secrets": {"token": SECRET, "other": None}})
    assert both.json["secret_names"] == ["token"]


def test_names_are_unique_across_kinds(api: Api) -> None:
    create(api, TOOL)
    assert api.post("tools", HTTP_TOOL).error_code == "DUPLICATE_TOOL_NAME"
    other = create(api, {**HTTP_TOOL, "name": "other"})
    response = api.patch(f"tools/{other['id']}", {"name": TOOL["name"], "secrets": {"b": "c"}})
    assert (response.error_code, response.details) == (
        "DUPLICATE_TOOL_NAME",
        {"name": TOOL["name"]},
    )


class TestTestCall:
    """`POST /tools/{id}/test`"""

    def call_tool(self, api: Api, http: dict[str, Any], arguments: Any = None) -> Answer:
        tool = create(api, {**HTTP_TOOL, "parameters": ANY_OBJECT, "http": http})
        return api.post(f"tools/{tool['id']}/test", {"arguments": arguments or {}})

    def test_the_result_is_the_text_for_the_model(self, api: Api, server_url: str) -> None:
        http = {"method": "POST", "url": f"{server_url}/echo", "headers": {"X": "{{secret.token}}"}}
        response = self.call_tool(api, http, {"city": "Köln"})
        assert response.status == 200
        assert list(response.json) == ["ok", "error", "result", "latency_ms"]
        assert (response.json["ok"], response.json["error"]) == (True, None)
        request = json.loads(response.json["result"])
        assert (request["method"], json.loads(request["body"])) == ("POST", {"city": "Köln"})
        assert request["headers"]["x"] == "[secret]"
        assert isinstance(response.json["latency_ms"], int)

    @pytest.mark.parametrize(
        ("path", "error"),
        [
            ("/status?code=500", "http_500"),
            ("/garbage", "bad_answer"),
            ("/slow?seconds=9", "timeout"),
        ],
    )
    def test_a_failed_call_is_200_with_an_error(
        self, api: Api, server_url: str, path: str, error: str
    ) -> None:
        http = {"method": "GET", "url": f"{server_url}{path}", "timeout_seconds": 1}
        response = self.call_tool(api, http)
        assert (response.status, response.json["ok"], response.json["error"]) == (200, False, error)

    def test_arguments_are_checked(self, api: Api) -> None:
        path = f"tools/{create(api)['id']}/test"
        bodies: list[Any] = [{}, {"arguments": {}}, {"arguments": {"city": 5}}]
        for body in bodies:
            response = api.post(path, body)
            assert (response.status, response.json["error"]) == (200, "bad_arguments")
            assert "city" in response.json["result"]

    def test_loopback_is_refused(self, api: Api, port: int) -> None:
        for url in (f"http://127.0.0.1:{port}/", f"http://localhost:{port}/"):
            response = self.call_tool(Api(api_of(TenantFactory.create()).key), {**HTTP, "url": url})
            assert response.json["error"] == "refused"

    def test_a_declared_tool_cannot_be_called(self, api: Api) -> None:
        tool = create(api, TOOL)
        response = api.post(f"tools/{tool['id']}/test", {"arguments": {}})
        assert (response.status, response.error_code) == (400, "TOOL_NOT_CALLABLE")
        assert response.details == {"tool_id": tool["id"], "kind": "declared"}

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({"arguments": []}, "arguments"),
            ({"arguments": None}, "arguments"),
            ({"arguments": "{}"}, "arguments"),
            ({"argument": {}}, "argument"),
        ],
    )
    def test_a_wrong_body(self, api: Api, body: Any, field: str) -> None:
        response = api.post(f"tools/{create(api)['id']}/test", body)
        assert list(response.fields) == [field]

    @pytest.mark.parametrize("raw", [b"", b"{", b"[]"])
    def test_a_body_that_is_not_an_object(self, api: Api, raw: bytes) -> None:
        assert api.post(f"tools/{create(api)['id']}/test", raw=raw).status == 400

    def test_other_methods_are_not_allowed(self, api: Api) -> None:
        path = f"tools/{create(api)['id']}/test"
        for method in ("GET", "PUT", "PATCH", "DELETE"):
            response = api.call(method, path, {} if method[0] == "P" else None)
            assert (response.status, response.headers["allow"]) == (405, "POST")
            assert "x-ratelimit-limit" not in response.headers

    def test_every_call_takes_a_unit_and_has_the_headers(self, unknown_id: str) -> None:
        tenant = TenantFactory.create(rate_limit_requests=6)
        api = api_of(tenant)
        tool = create(api)
        declared = ToolFactory.create(tenant=tenant)
        foreign = ToolFactory.create()
        calls: list[tuple[object, Any, int]] = [
            (tool["id"], {}, 200),
            (tool["id"], {"arguments": 1}, 400),
            (declared.pk, {}, 400),
            (foreign.pk, {}, 403),
            (unknown_id, {}, 404),
            ("no-id", {}, 404),
            (tool["id"], {}, 429),
            ("no-id", {}, 429),
        ]
        for count, (pk, body, status) in enumerate(calls, 1):
            response = api.post(f"tools/{pk}/test", body)
            assert response.status == status
            assert response.headers["x-ratelimit-limit"] == "6"
            assert response.headers["x-ratelimit-remaining"] == str(max(6 - count, 0))
        assert response.error_code == "RATE_LIMIT_EXCEEDED"
        assert int(response.headers["retry-after"]) >= 1

    def test_errors_of_the_tool_precede_errors_of_the_body(self, api: Api, unknown_id: str) -> None:
        declared = create(api, TOOL)
        assert api.post(f"tools/{unknown_id}/test", {"x": 1}).error_code == "TOOL_NOT_FOUND"
        assert api.post(f"tools/{declared['id']}/test", raw=b"{").error_code == "TOOL_NOT_CALLABLE"
