"""`http.locations`: single arguments of `http` tools in the query, in headers, in the body and in a form."""

import ipaddress
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

import pytest
from django.conf import LazySettings

from tests.api import Api
from tests.contract.writes import TOOL
from tests.tool_server import tool_server

ANY = {"type": "object", "properties": {name: {} for name in "abc"}}
HTTP = {"method": "POST", "url": "https://api.example.com/{c}", "arguments_in": "query"}


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with tool_server() as server_port:
        yield server_port


@pytest.fixture
def server_url(port: int, settings: LazySettings) -> str:
    settings.TOOL_ALLOWED_NETWORKS = (ipaddress.ip_network("127.0.0.1/32"),)
    return f"http://127.0.0.1:{port}"


def call(api: Api, http: dict[str, Any], arguments: dict[str, Any]) -> dict[str, Any]:
    """Create a tool and call it. Returns the result of the test call."""
    body = {**TOOL, "kind": "http", "parameters": ANY, "http": http}
    tool = api.post("tools", body)
    assert tool.status == 201, tool.content
    assert tool.json["http"]["locations"] == http["locations"]
    result: dict[str, Any] = api.post(
        f"tools/{tool.json['id']}/test", {"arguments": arguments}
    ).json
    return result


def sent(
    api: Api, server_url: str, locations: Any, arguments: dict[str, Any], method: str = "POST"
) -> Any:
    """Return the request that the server received."""
    http = {"method": method, "url": f"{server_url}/echo?k=1", "locations": locations}
    result = call(api, {**http, "arguments_in": "query"}, arguments)
    assert result["ok"], result
    return json.loads(result["result"])


def test_one_call_has_a_path_a_query_a_header_and_a_body(api: Api, server_url: str) -> None:
    http = {
        "method": "POST",
        "url": f"{server_url}/echo/{{id}}?k=1",
        "arguments_in": "query",
        "locations": {
            "report": {"in": "body"},
            "lang": {"in": "header", "name": "Accept-Language"},
        },
    }
    names = ("id", "page", "report", "lang")
    parameters = {"type": "object", "properties": {name: {} for name in names}}
    tool = api.post("tools", {**TOOL, "kind": "http", "parameters": parameters, "http": http})
    arguments = {"id": "a/b", "page": 2, "report": [{"x": None}], "lang": "de"}
    result = api.post(f"tools/{tool.json['id']}/test", {"arguments": arguments}).json
    request = json.loads(result["result"])
    assert request["path"] == "/echo/a%2Fb?k=1&page=2"
    assert request["headers"]["accept-language"] == "de"
    assert request["headers"]["content-type"] == "application/json"
    assert json.loads(request["body"]) == [{"x": None}]


def test_without_its_argument_there_is_no_body(api: Api, server_url: str) -> None:
    request = sent(api, server_url, {"a": {"in": "body"}}, {"b": 1})
    assert (request["path"], request["body"]) == ("/echo?k=1&b=1", "")
    assert "content-type" not in request["headers"]


@pytest.mark.parametrize("value", [None, False, 0, "", [], {}])
def test_the_body_may_be_any_value(api: Api, server_url: str, value: Any) -> None:
    assert json.loads(sent(api, server_url, {"a": {"in": "body"}}, {"a": value})["body"]) == value


# The examples in docs/call-your-api.md.
STYLES = {
    "repeat": ("n=1&n=2", 'n={"a":1,"b":2}'),
    "comma": ("n=1,2", "n=a,1,b,2"),
    "space": ("n=1 2", "n=a 1 b 2"),
    "pipe": ("n=1|2", "n=a|1|b|2"),
    "deep": ("n[0]=1&n[1]=2", "n[a]=1&n[b]=2"),
    "properties": ("n=1&n=2", "a=1&b=2"),
    "json": ("n=[1,2]", 'n={"a":1,"b":2}'),
}


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("number", [0, 1])
def test_styles_of_lists_and_objects(api: Api, server_url: str, style: str, number: int) -> None:
    value: Any = ([1, 2], {"a": 1, "b": 2})[number]
    locations = {"a": {"in": "query", "name": "n", "style": style}}
    request = sent(api, server_url, locations, {"a": value}, "GET")
    assert unquote(request["path"]) == f"/echo?k=1&{STYLES[style][number]}"


def test_the_delimiter_of_a_list_is_not_that_of_its_items(api: Api, server_url: str) -> None:
    locations = {"a": {"in": "query", "style": "comma"}}
    assert sent(api, server_url, locations, {"a": ["x,y", "&"]})["path"] == "/echo?k=1&a=x%2Cy,%26"


def test_a_form_with_nested_objects(api: Api, server_url: str) -> None:
    form = {"to": "a b", "n": None, "items": [{"price": "p&q", "no": None}], "on": True}
    request = sent(api, server_url, {"a": {"in": "form", "style": "deep"}}, {"a": form})
    assert request["headers"]["content-type"] == "application/x-www-form-urlencoded"
    assert request["body"] == "to=a+b&items%5B0%5D%5Bprice%5D=p%26q&on=true"


def test_a_header_has_a_text(api: Api, server_url: str) -> None:
    locations = {"a": {"in": "header", "name": "X-A"}, "b": {"in": "header"}, "c": {"in": "header"}}
    request = sent(api, server_url, locations, {"a": ["x", 1], "b": True, "c": None})
    assert (request["headers"]["x-a"], request["headers"]["b"]) == ("x,1", "true")
    assert "c" not in request["headers"]


@pytest.mark.parametrize(
    ("location", "value", "text"),
    [
        ({"in": "header"}, "x\r\nY: z", "printable ASCII"),
        ({"in": "header"}, "ü", "printable ASCII"),
        ({"in": "header"}, " x", "printable ASCII"),
        ({"in": "header"}, "x" * 4_097, "printable ASCII"),
        ({"in": "form"}, [1], "must be an object"),
        ({"in": "query", "name": "k"}, 1, "k is set by the tool itself"),
        ({"in": "query", "style": "properties"}, {"k": 1}, "k is set by the tool itself"),
        ({"in": "query", "style": "comma"}, ["x" * 9_000] * 2, "too long"),
    ],
)
def test_arguments_that_cannot_be_sent(
    api: Api, server_url: str, location: Any, value: Any, text: str
) -> None:
    http = {"method": "POST", "url": f"{server_url}/echo?k=1", "arguments_in": "query"}
    result = call(api, {**http, "locations": {"a": location}}, {"a": value})
    assert (result["ok"], result["error"]) == (False, "bad_arguments")
    assert text in result["result"]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"locations": []}, "Expected an object of at most 100 arguments"),
        ({"locations": None}, "Expected an object of at most 100 arguments"),
        ({"locations": {f"a{n}": {"in": "query"} for n in range(101)}}, "at most 100"),
        ({"locations": {"a": "query"}}, "a: Expected an object"),
        ({"locations": {"a": {}}}, "a: Expected an object in which in is one of"),
        ({"locations": {"a": {"in": "path"}}}, "a: Expected an object in which in is one of"),
        ({"locations": {"a": {"in": ["query"]}}}, "a: Expected an object in which in is one of"),
        ({"locations": {"a": {"in": "query", "x": 1}}}, "x is not a field"),
        ({"locations": {"a": {"in": "body", "name": "b"}}}, "name is not a field"),
        ({"locations": {"a": {"in": "header", "style": "deep"}}}, "style is not a field"),
        ({"locations": {"a": {"in": "query", "style": "form"}}}, "style: Expected one of"),
        ({"locations": {"a": {"in": "query", "style": []}}}, "style: Expected one of"),
        ({"locations": {"a": {"in": "query", "name": ""}}}, "name: Expected 1 to 200"),
        ({"locations": {"a": {"in": "query", "name": "x" * 201}}}, "name: Expected 1 to 200"),
        ({"locations": {"a": {"in": "query", "name": "\u0000"}}}, "printable"),
        ({"locations": {"a": {"in": "query", "name": 1}}}, "name: Expected 1 to 200"),
        ({"locations": {"a": {"in": "header", "name": 1}}}, "This header cannot be set"),
        ({"locations": {"a": {"in": "header", "name": "X Y"}}}, "This header cannot be set"),
        ({"locations": {"a": {"in": "header", "name": "Host"}}}, "This header cannot be set"),
        ({"locations": {"a": {"in": "header", "name": "Content-Type"}}}, "cannot be set"),
        ({"locations": {"z": {"in": "query"}}}, "z is not defined in parameters.properties"),
        ({"locations": {"c": {"in": "query"}}}, "c is a part of the URL"),
        ({"locations": {"a": {"in": "body"}}, "method": "GET"}, "A GET request has no body"),
        ({"locations": {"a": {"in": "form"}}, "arguments_in": "body"}, "Only one argument"),
        ({"locations": {"a": {"in": "body"}, "b": {"in": "form"}}}, "Only one argument"),
        (
            {"locations": {"a": {"in": "header", "name": "X"}}, "headers": {"x": "1"}},
            "The header x is set twice",
        ),
        (
            {"locations": {"a": {"in": "header", "name": "X"}, "b": {"in": "header", "name": "x"}}},
            "The header x is set twice",
        ),
    ],
)
def test_invalid_locations(api: Api, changes: dict[str, Any], text: str) -> None:
    body = {**TOOL, "kind": "http", "parameters": ANY, "http": {**HTTP, **changes}}
    response = api.post("tools", body)
    assert response.status == 400
    assert text in " ".join(response.fields["http"]), response.fields


def test_a_tool_without_locations_has_none(api: Api) -> None:
    body = {**TOOL, "kind": "http", "parameters": ANY, "http": {**HTTP, "locations": {}}}
    assert "locations" not in api.post("tools", body).json["http"]
