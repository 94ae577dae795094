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
# The names are in an order that no database would sort them into.
PARAMETERS = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "at": {"type": "string"}, "days": {}},
    "required": ["city"],
}
HTTP = {"method": "GET", "url": URL, "headers": {"X-Secret": "{{secret.token}}"}}
CALLED = {
    **TOOL,
    "kind": "http",
    "parameters": PARAMETERS,
    "http": HTTP,
    "secrets": {"token": SECRET},
}
ANY = {"type": "object", "properties": {}}


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with tool_server() as found:
        yield found


@pytest.fixture
def reached(port: int, settings: LazySettings) -> str:
    """The address of a server that tools may reach."""
    settings.TOOL_ALLOWED_NETWORKS = (ipaddress.ip_network("127.0.0.1/32"),)
    return f"http://127.0.0.1:{port}"


def with_http(**changes: Any) -> dict[str, Any]:
    return {**CALLED, "http": {**HTTP, **changes}}


def made(api: Api, body: Any = CALLED) -> dict[str, Any]:
    answer = api.post("tools", body)
    assert answer.status == 201, answer.content
    found: dict[str, Any] = answer.json
    return found


def test_a_tool_is_declared_unless_it_is_told_otherwise(api: Api) -> None:
    tool = made(api, TOOL)
    assert {name: tool[name] for name in ("kind", "parameters", "http", "secret_names")} == {
        "kind": "declared",
        "parameters": ANY,
        "http": None,
        "secret_names": [],
    }


def test_an_http_tool_is_created_and_read_back_whole(api: Api) -> None:
    tool = made(api)
    assert tool["http"] == {**HTTP, "arguments_in": "query", "timeout_seconds": 10}
    assert list(tool["http"]) == ["method", "url", "arguments_in", "headers", "timeout_seconds"]
    assert tool["parameters"] == PARAMETERS
    assert list(tool["parameters"]["properties"]) == ["city", "at", "days"]
    assert tool["secret_names"] == ["token"]
    assert api.get(f"tools/{tool['id']}").json == tool
    assert api.get("tools").json["items"] == [tool]


def test_a_declared_tool_may_have_parameters(api: Api) -> None:
    assert made(api, {**TOOL, "parameters": PARAMETERS})["parameters"] == PARAMETERS


@pytest.mark.parametrize(
    ("method", "place"),
    [("GET", "query"), ("DELETE", "query"), ("POST", "body"), ("PUT", "body"), ("PATCH", "body")],
)
def test_where_arguments_go_depends_on_the_method(api: Api, method: str, place: str) -> None:
    assert made(api, with_http(method=method))["http"]["arguments_in"] == place


def test_put_leaves_alone_what_it_leaves_out(api: Api) -> None:
    before = made(api)
    changed = api.put(f"tools/{before['id']}", {"name": "new", "description": "newer"})
    assert changed.status == 200
    updated = {"name": "new", "description": "newer", "updated_at": changed.json["updated_at"]}
    assert changed.json == {**before, **updated}


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_what_is_sent_is_replaced_as_a_whole(api: Api, method: str) -> None:
    path = f"tools/{made(api)['id']}"
    sent = {**TOOL, "http": {"method": "POST", "url": "http://example.com/"}, "parameters": ANY}
    changed = api.call(method, path, sent)
    assert changed.json["http"] == {
        "method": "POST",
        "url": "http://example.com/",
        "arguments_in": "body",
        "headers": {},
        "timeout_seconds": 10,
    }
    assert changed.json["parameters"] == ANY
    assert changed.json["secret_names"] == ["token"]


def test_secrets_are_set_and_removed_one_by_one(api: Api) -> None:
    path = f"tools/{made(api, {**CALLED, 'secrets': {'token': SECRET, 'Z': 'z', 'a': 'a'}})['id']}"
    assert api.get(path).json["secret_names"] == ["Z", "a", "token"]
    names = api.patch(path, {"secrets": {"a": None, "b": "b", "none": None}}).json["secret_names"]
    assert names == ["Z", "b", "token"]
    assert api.patch(path, {"secrets": {}}).json["secret_names"] == names
    assert api.put(path, {**TOOL, "secrets": {"b": None}}).json["secret_names"] == ["Z", "token"]


def test_a_secret_in_use_cannot_be_removed(api: Api) -> None:
    path = f"tools/{made(api)['id']}"
    answer = api.patch(path, {"secrets": {"token": None}})
    assert answer.fields == {"http": ["The secret token does not exist: set it in `secrets`."]}
    assert api.get(path).json["secret_names"] == ["token"]
    answer = api.patch(path, {"secrets": {"token": None}, "http": {**HTTP, "headers": {}}})
    assert answer.json["secret_names"] == []


def test_a_tool_that_is_only_declared_again_forgets_how_it_was_called(
    api: Api, tenant: Tenant
) -> None:
    path = f"tools/{made(api)['id']}"
    changed = api.patch(path, {"kind": "declared"}).json
    assert (changed["kind"], changed["http"], changed["secret_names"]) == ("declared", None, [])
    assert changed["parameters"] == PARAMETERS
    assert Tool.objects.get(tenant=tenant).secrets_token == ""
    answer = api.patch(path, {"kind": "http"})
    assert answer.fields == {"http": ["A tool of the kind http needs it."]}


def test_a_secret_is_in_no_answer(api: Api) -> None:
    path = f"tools/{made(api)['id']}"
    for answer in (
        api.post("tools", CALLED),
        api.get(path),
        api.get("tools"),
        api.patch(path, {"secrets": {"token": SECRET}}),
        api.put(path, CALLED),
        api.patch(path, {"secrets": {"token": SECRET, "none": 7}}),
        api.patch(path, {"secrets": {"token": f"{SECRET}\n"}}),
    ):
        assert SECRET.encode() not in answer.content
        assert b"battery" not in answer.content


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"kind": "ftp"}, "kind", "declared, http"),
        ({"kind": None}, "kind", "null"),
        ({"kind": 1}, "kind", "string"),
        ({"kind": "declared"}, "http", '"kind": "http"'),
        ({"http": None}, "http", "needs it"),
        ({"http": []}, "http", "object"),
        ({"http": "GET"}, "http", "object"),
        ({"http": {}}, "http", "method: This field is required."),
        ({"http": {}}, "http", "url: This field is required."),
        ({"http": {**HTTP, "verb": "GET"}}, "http", "verb: This field is not known here."),
        ({"http": {**HTTP, "method": "HEAD"}}, "http", "method: "),
        ({"http": {**HTTP, "method": "get"}}, "http", "method: "),
        ({"http": {**HTTP, "method": ["GET"]}}, "http", "method: "),
        ({"http": {**HTTP, "url": 5}}, "http", "url: "),
        ({"http": {**HTTP, "url": "ftp://example.com/"}}, "http", "url: "),
        ({"http": {**HTTP, "url": "http://{city}/"}}, "http", "the path and the query only"),
        ({"http": {**HTTP, "url": "http://u:p@example.com/"}}, "http", "header with a secret"),
        ({"http": {**HTTP, "url": f"{URL}/{{town}}"}}, "http", "{town}"),
        (
            {"http": {**HTTP, "url": f"{URL}?k={{{{secret.no}}}}"}},
            "http",
            "secret no does not exist",
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
        ({"http": {**HTTP, "headers": {"X": "{{secret.no}}"}}}, "http", "secret no does not exist"),
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
def test_what_is_wrong_is_told_in_a_sentence(
    api: Api, tenant: Tenant, changes: dict[str, Any], field: str, words: str
) -> None:
    answer = api.post("tools", {**CALLED, **changes})
    assert answer.status == 400
    assert words in " ".join(answer.fields[field]), answer.fields
    assert not Tool.objects.filter(tenant=tenant).exists()
    path = f"tools/{made(api)['id']}"
    before = api.get(path).json
    if changes != {"kind": "declared"}:
        assert api.patch(path, changes).status == 400
        assert api.get(path).json == before


def test_all_that_is_wrong_is_told_at_once(api: Api) -> None:
    body = {"name": "", "kind": "x", "parameters": [], "http": {"method": "X"}, "secrets": 1}
    answer = api.post("tools", body)
    assert set(answer.fields) == {"name", "description", "kind", "parameters", "http", "secrets"}
    assert len(answer.fields["http"]) == 2


def test_what_is_left_out_is_not_told_as_something_else(api: Api) -> None:
    answer = api.post("tools", {**CALLED, "http": {}})
    assert answer.fields == {
        "http": ["method: This field is required.", "url: This field is required."]
    }


def test_secrets_of_a_declared_tool_are_refused(api: Api) -> None:
    answer = api.post("tools", {**TOOL, "secrets": {"a": "b"}})
    assert list(answer.fields) == ["secrets"]


def test_a_server_without_keys_says_so_where_secrets_are_sent(
    api: Api, settings: LazySettings
) -> None:
    settings.SECRETS_KEYS = []
    answer = api.post("tools", CALLED)
    assert "SECRETS_KEYS" in answer.fields["secrets"][0]
    assert (
        api.post("tools", {**CALLED, "secrets": {}, "http": {**HTTP, "headers": {}}}).status == 201
    )


def test_a_secret_that_no_key_opens_can_be_set_again(api: Api, tenant: Tenant) -> None:
    path = f"tools/{made(api, {**CALLED, 'secrets': {'token': SECRET, 'other': 'x'}})['id']}"
    Tool.objects.filter(tenant=tenant).update(secrets_token="gAAAAAB-lost")
    answer = api.patch(path, {"secrets": {"token": SECRET}})
    assert answer.fields == {
        "secrets": ["other can no longer be decrypted. Set or remove it as well."]
    }
    both = api.patch(path, {"secrets": {"token": SECRET, "other": None}})
    assert both.json["secret_names"] == ["token"]


def test_a_name_can_be_taken_once_whatever_the_kind(api: Api) -> None:
    made(api, TOOL)
    assert api.post("tools", CALLED).error_code == "DUPLICATE_TOOL_NAME"
    other = made(api, {**CALLED, "name": "other"})
    answer = api.patch(f"tools/{other['id']}", {"name": TOOL["name"], "secrets": {"b": "c"}})
    assert (answer.error_code, answer.details) == ("DUPLICATE_TOOL_NAME", {"name": TOOL["name"]})


class TestCalledAlone:
    """`POST /tools/{id}/test`"""

    def called(self, api: Api, http: dict[str, Any], arguments: Any = None) -> Answer:
        tool = made(api, {**CALLED, "parameters": ANY, "http": http})
        return api.post(f"tools/{tool['id']}/test", {"arguments": arguments or {}})

    def test_it_shows_what_the_model_would_see(self, api: Api, reached: str) -> None:
        http = {"method": "POST", "url": f"{reached}/echo", "headers": {"X": "{{secret.token}}"}}
        answer = self.called(api, http, {"city": "Köln"})
        assert answer.status == 200
        assert list(answer.json) == ["ok", "error", "result", "latency_ms"]
        assert (answer.json["ok"], answer.json["error"]) == (True, None)
        told = json.loads(answer.json["result"])
        assert (told["method"], json.loads(told["body"])) == ("POST", {"city": "Köln"})
        assert told["headers"]["x"] == "[secret]"
        assert isinstance(answer.json["latency_ms"], int)

    @pytest.mark.parametrize(
        ("path", "error"),
        [
            ("/status?code=500", "http_500"),
            ("/garbage", "bad_answer"),
            ("/slow?seconds=9", "timeout"),
        ],
    )
    def test_a_failure_is_a_result_as_well(
        self, api: Api, reached: str, path: str, error: str
    ) -> None:
        http = {"method": "GET", "url": f"{reached}{path}", "timeout_seconds": 1}
        answer = self.called(api, http)
        assert (answer.status, answer.json["ok"], answer.json["error"]) == (200, False, error)

    def test_arguments_are_checked(self, api: Api) -> None:
        path = f"tools/{made(api)['id']}/test"
        bodies: list[Any] = [{}, {"arguments": {}}, {"arguments": {"city": 5}}]
        for body in bodies:
            answer = api.post(path, body)
            assert (answer.status, answer.json["error"]) == (200, "bad_arguments")
            assert "city" in answer.json["result"]

    def test_the_network_of_the_server_is_out_of_reach(self, api: Api, port: int) -> None:
        for url in (f"http://127.0.0.1:{port}/", f"http://localhost:{port}/"):
            answer = self.called(Api(api_of(TenantFactory.create()).key), {**HTTP, "url": url})
            assert answer.json["error"] == "refused"

    def test_a_declared_tool_cannot_be_called(self, api: Api) -> None:
        tool = made(api, TOOL)
        answer = api.post(f"tools/{tool['id']}/test", {"arguments": {}})
        assert (answer.status, answer.error_code) == (400, "TOOL_NOT_CALLABLE")
        assert answer.details == {"tool_id": tool["id"], "kind": "declared"}

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
        answer = api.post(f"tools/{made(api)['id']}/test", body)
        assert list(answer.fields) == [field]

    @pytest.mark.parametrize("raw", [b"", b"{", b"[]"])
    def test_a_body_that_is_no_object(self, api: Api, raw: bytes) -> None:
        assert api.post(f"tools/{made(api)['id']}/test", raw=raw).status == 400

    def test_other_methods_are_none(self, api: Api) -> None:
        path = f"tools/{made(api)['id']}/test"
        for method in ("GET", "PUT", "PATCH", "DELETE"):
            answer = api.call(method, path, {} if method[0] == "P" else None)
            assert (answer.status, answer.headers["allow"]) == (405, "POST")
            assert "x-ratelimit-limit" not in answer.headers

    def test_every_call_takes_a_unit_and_says_so(self, unknown_id: str) -> None:
        tenant = TenantFactory.create(rate_limit_requests=6)
        api = api_of(tenant)
        tool = made(api)
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
            answer = api.post(f"tools/{pk}/test", body)
            assert answer.status == status
            assert answer.headers["x-ratelimit-limit"] == "6"
            assert answer.headers["x-ratelimit-remaining"] == str(max(6 - count, 0))
        assert answer.error_code == "RATE_LIMIT_EXCEEDED"
        assert int(answer.headers["retry-after"]) >= 1

    def test_the_tool_is_told_of_before_the_body(self, api: Api, unknown_id: str) -> None:
        declared = made(api, TOOL)
        assert api.post(f"tools/{unknown_id}/test", {"x": 1}).error_code == "TOOL_NOT_FOUND"
        assert api.post(f"tools/{declared['id']}/test", raw=b"{").error_code == "TOOL_NOT_CALLABLE"
