"""Arguments as they reach the server of a tool: numbers, integers and forms."""

import ipaddress
import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import LazySettings

from map_project.tenants.models import Tenant
from tests.api import Api
from tests.contract.writes import TOOL
from tests.tool_calls import call_tool, callable_tool, echoed_request
from tests.tool_server import tool_server
from tools.forms import SchemaField
from tools.models import Tool

HUGE = "100000000000000000000"


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with tool_server() as found:
        yield found


@pytest.fixture(autouse=True)
def base(port: int, settings: LazySettings) -> str:
    """Return the URL of the server, and allow tools to reach it."""
    settings.TOOL_ALLOWED_NETWORKS = (ipaddress.ip_network("127.0.0.1/32"),)
    return f"http://127.0.0.1:{port}"


class TestNumbers:
    """No number is sent that differs from what the model wrote."""

    @pytest.mark.parametrize("number", [HUGE, "-9223372036854775809", "9007199254740993.0"])
    @pytest.mark.parametrize("form", ['{{"q": {}}}', '{{"a": [{{"b": {}}}]}}'])
    def test_one_that_would_change_is_refused(self, base: str, form: str, number: str) -> None:
        for method in ("GET", "POST"):
            result = call_tool(callable_tool(f"{base}/echo", method=method), form.format(number))
            assert result.error == "bad_arguments"
            assert f"The number {number} cannot be represented exactly" in result.text

    @pytest.mark.parametrize("number", ["18446744073709551615", "9007199254740993", "0.1", "1e+20"])
    def test_others_are_sent_as_they_are(self, base: str, number: str) -> None:
        request = echoed_request(callable_tool(f"{base}/echo", method="POST"), f'{{"q": {number}}}')
        assert float(request["body"][5:-1]) == float(number)
        assert json.loads(request["body"])["q"] == json.loads(number)

    def test_in_a_body_of_the_api(self, api: Api, base: str) -> None:
        http = {"method": "POST", "url": f"{base}/echo"}
        path = f"tools/{api.post('tools', {**TOOL, 'kind': 'http', 'http': http}).json['id']}"
        exact = api.post(f"{path}/test", raw=b'{"arguments": {"q": 18446744073709551615}}')
        assert json.loads(exact.json["result"])["body"] == '{"q":18446744073709551615}'
        for body in (
            '{"arguments": {"q": %s}}',
            '{"arguments": {"q": [%s]}}',
        ):
            response = api.post(f"{path}/test", raw=(body % HUGE).encode())
            assert response.status == 400
            assert f"The number {HUGE} cannot" in response.fields["arguments"][0]

    def test_arguments_that_are_nested_too_deeply_are_an_error(self, api: Api, base: str) -> None:
        http = {"method": "POST", "url": f"{base}/echo"}
        path = f"tools/{api.post('tools', {**TOOL, 'kind': 'http', 'http': http}).json['id']}"
        for number in ("1", HUGE):
            nested = '{"a":' * 300 + number + "}" * 300
            response = api.post(f"{path}/test", raw=f'{{"arguments": {nested}}}'.encode())
            assert response.status == 400
            assert list(response.fields) == ["arguments"]

    @pytest.mark.parametrize("keyword", ["maximum", "const", "multipleOf", "default"])
    def test_in_a_schema(self, api: Api, tenant: Tenant, keyword: str) -> None:
        schema = '{"type": "object", "properties": {"q": {"%s": %s}}}'
        body = '{"name": "n", "description": "d", "parameters": %s}'
        refused = api.post("tools", raw=(body % (schema % (keyword, HUGE))).encode())
        assert refused.status == 400
        assert f"The number {HUGE} cannot" in refused.fields["parameters"][0]
        assert not Tool.objects.filter(tenant=tenant).exists()
        largest = "18446744073709551615"
        accepted = api.post("tools", raw=(body % (schema % (keyword, largest))).encode())
        assert accepted.status == 201
        assert accepted.json["parameters"]["properties"]["q"] == {keyword: int(largest)}

    def test_in_a_schema_in_the_admin(self) -> None:
        with pytest.raises(Exception, match=HUGE):
            SchemaField().to_python(f'{{"type": "object", "maxProperties": {HUGE}}}')


INTEGER = {"type": "integer"}
NUMBER = {"type": "number"}
SCHEMAS_OF_INTEGERS: list[tuple[str, Any]] = [
    ("integer", INTEGER),
    ("or null", {"type": ["integer", "null"]}),
    ("or text", {"type": ["string", "integer"]}),
    ("anyOf", {"anyOf": [INTEGER, {"type": "null"}]}),
    ("oneOf", {"oneOf": [{"type": "string"}, INTEGER]}),
    ("allOf", {"allOf": [NUMBER, INTEGER]}),
    ("$ref", {"$ref": "#/$defs/page~1size"}),
    ("$ref in anyOf", {"anyOf": [{"$ref": "#/$defs/page~1size"}, {"type": "null"}]}),
    ("then", {"if": {"minimum": 1}, "then": INTEGER}),
    ("else", {"if": {"type": "string"}, "else": INTEGER}),
    ("enum", {"enum": [1, 5, "all"]}),
    ("const", {"const": 5}),
]
SCHEMAS_OF_OTHERS: list[tuple[str, Any]] = [
    ("number", NUMBER),
    ("anything", {}),
    ("both", {"type": ["integer", "number"]}),
    ("an enum of floats", {"enum": [5.0]}),
    ("not", {"not": {"type": "string"}}),
]


class TestIntegers:
    """5.0 is sent as 5 where the schema says integer."""

    def parameters(self, schema: Any) -> Any:
        return {"type": "object", "properties": {"n": schema}, "$defs": {"page/size": INTEGER}}

    @pytest.mark.parametrize(
        ("schema", "sent"),
        [(schema, "5") for _, schema in SCHEMAS_OF_INTEGERS]
        + [(schema, "5.0") for _, schema in SCHEMAS_OF_OTHERS],
        ids=[name for name, _ in (*SCHEMAS_OF_INTEGERS, *SCHEMAS_OF_OTHERS)],
    )
    def test_in_query_path_body_and_form(self, base: str, schema: Any, sent: str) -> None:
        parameters = self.parameters(schema)
        uses: list[tuple[str, dict[str, Any], str, str]] = [
            ("/echo", {"method": "GET"}, "path", f"/echo?n={sent}"),
            ("/echo/{n}", {"method": "GET"}, "path", f"/echo/{sent}"),
            ("/echo?x={n}", {"method": "GET"}, "path", f"/echo?x={sent}"),
            ("/echo", {"method": "POST"}, "body", f'{{"n":{sent}}}'),
            ("/echo", {"method": "POST", "arguments_in": "form"}, "body", f"n={sent}"),
        ]
        for url, config, part, expected in uses:
            tool = callable_tool(f"{base}{url}", parameters=parameters, **config)
            assert echoed_request(tool, '{"n": 5.0}')[part] == expected

    @pytest.mark.parametrize(
        ("schema", "arguments", "sent"),
        [
            (
                {"properties": {"a": {"items": {"properties": {"n": INTEGER}}}}},
                '{"a":[{"n":5.0,"x":5.0},5.0]}',
                '{"a":[{"n":5,"x":5.0},5.0]}',
            ),
            ({"additionalProperties": INTEGER}, '{"x":-2.0}', '{"x":-2}'),
            (
                {"properties": {"a": NUMBER}, "additionalProperties": INTEGER},
                '{"a":5.0,"x":5.0}',
                '{"a":5.0,"x":5}',
            ),
            ({"patternProperties": {"^n": INTEGER}}, '{"n1":5.0}', '{"n1":5}'),
            (
                {"properties": {"a": {"prefixItems": [INTEGER, NUMBER], "items": INTEGER}}},
                '{"a":[1.0,1.0,1.0]}',
                '{"a":[1,1.0,1]}',
            ),
            (
                {
                    "$schema": "http://json-schema.org/draft-07/schema#",
                    "properties": {"a": {"items": [INTEGER, NUMBER], "additionalItems": INTEGER}},
                },
                '{"a":[1.0,1.0,1.0]}',
                '{"a":[1,1.0,1]}',
            ),
            (
                {"properties": {"n": INTEGER, "child": {"$ref": "#"}}},
                '{"child":{"child":{"n":5.0}}}',
                '{"child":{"child":{"n":5}}}',
            ),
            (
                {"dependentSchemas": {"a": {"properties": {"n": INTEGER}}}},
                '{"a":1.5,"n":5.0}',
                '{"a":1.5,"n":5}',
            ),
            ({"properties": {"n": INTEGER}}, '{"n":1e3}', '{"n":1000}'),
            ({"properties": {"n": INTEGER}}, '{"n":-0.0}', '{"n":0}'),
            ({"properties": {"n": INTEGER}}, '{"n":1e19}', '{"n":10000000000000000000}'),
        ],
    )
    def test_in_nested_values(self, base: str, schema: Any, arguments: str, sent: str) -> None:
        tool = callable_tool(f"{base}/echo", method="POST", parameters={"type": "object", **schema})
        assert echoed_request(tool, arguments)["body"] == sent

    def test_a_fraction_is_refused_where_the_schema_says_integer(self, base: str) -> None:
        tool = callable_tool(f"{base}/echo", parameters=self.parameters(INTEGER))
        assert call_tool(tool, '{"n": 5.5}').error == "bad_arguments"


class TestForms:
    """`arguments_in: "form"`"""

    ARGUMENTS = {"a b": "ü&=+", "l": [1, "x", None], "n": None, "t": True, "o": {"k": [1]}}
    FORM = "a+b=%C3%BC%26%3D%2B&l=1&l=x&t=true&o=%7B%22k%22%3A%5B1%5D%7D"

    @pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
    def test_arguments_are_sent_as_a_form(self, base: str, method: str) -> None:
        tool = callable_tool(f"{base}/echo/{{id}}?fixed=1", method=method, arguments_in="form")
        request = echoed_request(tool, {"id": 7, **self.ARGUMENTS})
        assert (request["method"], request["path"]) == (method, "/echo/7?fixed=1")
        assert request["body"] == self.FORM
        assert request["headers"]["content-type"] == "application/x-www-form-urlencoded"

    def test_no_arguments_are_an_empty_form(self, base: str) -> None:
        request = echoed_request(callable_tool(f"{base}/echo", method="POST", arguments_in="form"))
        assert (request["body"], request["headers"]["content-length"]) == ("", "0")

    @pytest.mark.parametrize("content_type", ["application/x-www-form-urlencoded; charset=utf-8"])
    def test_the_tools_own_content_type_is_sent(self, base: str, content_type: str) -> None:
        tool = callable_tool(
            f"{base}/echo",
            method="POST",
            arguments_in="form",
            headers={"content-type": content_type},
        )
        assert echoed_request(tool, {"a": 1})["headers"]["content-type"] == content_type

    @pytest.mark.parametrize(
        ("http", "texts"),
        [
            (
                {"headers": {"Content-Type": "application/x-www-form-urlencoded"}},
                ['arguments_in to "form"'],
            ),
            (
                {"headers": {"content-type": "Application/X-WWW-Form-URLencoded ;charset=utf-8"}},
                ['arguments_in to "form"'],
            ),
            (
                {"headers": {"CONTENT-TYPE": "multipart/form-data; boundary=x"}},
                ['arguments_in to "form"'],
            ),
            (
                {"arguments_in": "form", "headers": {"Content-Type": "application/json"}},
                ["application/x-www-form-urlencoded"],
            ),
            ({"method": "GET", "arguments_in": "form"}, ["A GET request has no body."]),
        ],
    )
    def test_contradictions_are_refused(self, api: Api, http: Any, texts: list[str]) -> None:
        body = {**TOOL, "kind": "http", "http": {"method": "POST", "url": "http://a.test/", **http}}
        response = api.post("tools", body)
        assert response.status == 400
        assert all(text in " ".join(response.fields["http"]) for text in texts)

    def test_it_is_saved_and_called(self, api: Api, base: str) -> None:
        http = {"method": "POST", "url": f"{base}/echo", "arguments_in": "form"}
        created = api.post("tools", {**TOOL, "kind": "http", "http": http})
        assert created.json["http"]["arguments_in"] == "form"
        path = f"tools/{created.json['id']}"
        result = api.post(f"{path}/test", {"arguments": {"a": "b c"}}).json["result"]
        assert json.loads(result)["body"] == "a=b+c"
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        changed = api.patch(path, {"http": {**http, "arguments_in": "body", "headers": form}})
        assert 'arguments_in to "form"' in changed.fields["http"][0]

    def test_secrets_in_a_form_are_redacted(self, base: str) -> None:
        tool = callable_tool(
            f"{base}/echo",
            method="POST",
            arguments_in="form",
            headers={"X-Token": "{{secret.a}}"},
            secret_values={"a": "correct horse"},
        )
        assert "correct" not in call_tool(tool, {"a": "correct horse"}).text
