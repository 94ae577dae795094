"""Calls of tools at a real server in another process, and the protection of their secrets."""

import base64
import dataclasses
import io
import ipaddress
import json
import logging
import subprocess
import sys
import uuid
from collections.abc import Iterator
from functools import partial
from typing import Any
from urllib.parse import quote

import pytest
from django.conf import LazySettings
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.db import connection

from map_project.api import secrets
from map_project.api.checks import check_secrets
from map_project.tenants.models import Tenant
from tests.api import Api, LiveApi
from tests.at_once import at_once
from tests.factories import AgentFactory, ToolFactory, saved_tool
from tests.live import serving
from tests.tool_calls import ANY, call_tool, callable_tool, echoed_request
from tests.tool_server import tool_server
from tools import invokers, views
from tools.invokers import CallableTool, ToolResult, call, http
from tools.models import Tool

SECRET = "correct-horse/battery+staple"
OLD_KEY = "b2xkIGtleSBvZiBhIHRlc3QsIDMyIGJ5dGVzIGxvbmc="
NEW_KEY = "bmV3IGtleSBvZiBhIHRlc3QsIDMyIGJ5dGVzIGxvbmc="


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with tool_server() as found:
        yield found


@pytest.fixture(autouse=True)
def base(port: int, settings: LazySettings) -> str:
    """Return the URL of the server, and allow tools to reach it."""
    settings.TOOL_ALLOWED_NETWORKS = (ipaddress.ip_network("127.0.0.1/32"),)
    return f"http://127.0.0.1:{port}"


class TestTheRequest:
    @pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
    def test_arguments_in_a_body(self, base: str, method: str) -> None:
        arguments = {"a": "ü", "b": [1, {"c": None}], "d": 1.5}
        request = echoed_request(callable_tool(f"{base}/echo", method=method), arguments)
        assert (request["method"], request["path"]) == (method, "/echo")
        assert json.loads(request["body"]) == arguments
        assert request["headers"]["content-type"] == "application/json"

    @pytest.mark.parametrize("method", ["GET", "DELETE"])
    def test_arguments_in_the_query(self, base: str, method: str) -> None:
        arguments = {"a b": "ü&=", "l": [1, "x", None], "n": None, "t": True, "o": {"k": [1]}}
        request = echoed_request(callable_tool(f"{base}/echo", method=method), arguments)
        query = "a%20b=%C3%BC%26%3D&l=1&l=x&t=true&o=%7B%22k%22%3A%5B1%5D%7D"
        assert (request["method"], request["path"], request["body"]) == (
            method,
            f"/echo?{query}",
            "",
        )
        assert "content-type" not in request["headers"]

    def test_arguments_in_placeholders_are_not_sent_again(self, base: str) -> None:
        url = f"{base}/echo/{{id}}?fixed=1&q={{q}}"
        arguments = {"id": 7, "q": False, "rest": "r"}
        assert (
            echoed_request(callable_tool(url), arguments)["path"]
            == "/echo/7?fixed=1&q=false&rest=r"
        )
        request = echoed_request(callable_tool(url, method="POST"), arguments)
        assert (request["path"], json.loads(request["body"])) == (
            "/echo/7?fixed=1&q=false",
            {"rest": "r"},
        )

    @pytest.mark.parametrize(
        "arguments", [{}, {"id": None}, {"id": []}, {"id": {}}, {"id": ""}, {"id": "../x"}]
    )
    def test_a_placeholder_must_have_its_argument(self, base: str, arguments: Any) -> None:
        result = call_tool(callable_tool(f"{base}/echo/{{id}}"), arguments)
        assert result.error == "bad_arguments"
        assert "id" in result.text

    @pytest.mark.parametrize("name", ["fixed", "key", "a b"])
    def test_an_argument_cannot_override_the_query_of_the_url(self, base: str, name: str) -> None:
        url = f"{base}/echo?fixed=1&key={{{{secret.key}}}}&a+b=2"
        result = call_tool(callable_tool(url, secret_values={"key": SECRET}), {name: "mine"})
        assert result.error == "bad_arguments"

    def test_headers_and_secrets(self, base: str) -> None:
        headers = {"Authorization": "Bearer {{secret.a}}", "X-Two": "{{secret.a}}:{{secret.b}}"}
        headers |= {"accept": "text/csv", "User-Agent": "mine", "X-Braces": "{a} {b"}
        tool = callable_tool(
            f"{base}/leak", headers=headers, secret_values={"a": "alpha1", "b": "beta22"}
        )
        assert "[secret]" in call_tool(tool).text
        # The echo shows the positions of the secrets.
        request = echoed_request(
            dataclasses.replace(tool, config={**tool.config, "url": f"{base}/echo"})
        )
        assert request["headers"]["authorization"] == "Bearer [secret]"
        assert request["headers"]["x-two"] == "[secret]:[secret]"
        assert request["headers"]["accept"] == "text/csv"
        assert request["headers"]["user-agent"] == "mine"
        assert request["headers"]["x-braces"] == "{a} {b"

    def test_arguments_too_long_for_a_url(self, base: str) -> None:
        assert (
            call_tool(callable_tool(f"{base}/echo"), {"a": "x" * 20_000}).error == "bad_arguments"
        )

    @pytest.mark.parametrize(
        "text",
        ["[]", "1", "true", '"x"', "{", "{'a': 1}", '{"a": NaN}', '{"a": "\\ud800"}', "x" * 70_000],
    )
    def test_arguments_that_are_not_an_object_are_an_error(self, base: str, text: str) -> None:
        result = call_tool(callable_tool(f"{base}/echo"), text)
        assert result.error == "bad_arguments"
        assert len(result.text) < 300

    @pytest.mark.parametrize("text", ["", "  ", "{}", "null", " null\n"])
    def test_an_empty_text_and_null_mean_no_arguments(self, base: str, text: str) -> None:
        assert echoed_request(callable_tool(f"{base}/echo"), text)["path"] == "/echo"

    def test_arguments_are_validated_against_the_schema(self, base: str) -> None:
        parameters = {**ANY, "properties": {"n": {"type": "integer"}}, "required": ["n"]}
        tool = callable_tool(f"{base}/echo", parameters=parameters)
        assert call_tool(tool, {"n": "1"}).error == "bad_arguments"
        assert echoed_request(tool, {"n": 1})["path"] == "/echo?n=1"


class TestTheResult:
    @pytest.mark.parametrize("code", [400, 401, 404, 418, 429, 500, 503])
    def test_a_status_other_than_2xx_is_an_error(self, base: str, code: int) -> None:
        result = call_tool(callable_tool(f"{base}/status?code={code}"))
        assert (result.error, result.text) == (f"http_{code}", f"HTTP {code}: so it is")

    @pytest.mark.parametrize(
        ("path", "text"),
        [
            ("empty", "(The response is empty: HTTP 204.)"),
            ("small_chunks", "0,1,2,"),
            ("until_closed", "until it closes"),
            ("latin", "süß"),
            ("odd", "a\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}b"),
        ],
    )
    def test_the_body_is_decoded_as_text(self, base: str, path: str, text: str) -> None:
        result = call_tool(callable_tool(f"{base}/{path}"))
        assert (result.error, result.text) == (None, text)

    def test_a_long_body_is_cut_between_two_characters(self, base: str) -> None:
        at_limit = call_tool(callable_tool(f"{base}/sized?times=32768"))
        assert at_limit.text == "é" * 32768
        longer = call_tool(callable_tool(f"{base}/sized?times=32769"))
        text, _, note = longer.text.partition("\n")
        assert text == "é" * 32768
        assert "65536 bytes" in note
        odd = call_tool(callable_tool(f"{base}/sized?times=40000&text=a%C3%A9"))
        assert odd.text.partition("\n")[0] == "aé" * 21845 + "a"

    def test_invalid_bytes_count_towards_the_limit(self, base: str) -> None:
        result = call_tool(callable_tool(f"{base}/bytes?times=40000"))
        assert result.text.partition("\n")[0] == "a\N{REPLACEMENT CHARACTER}" * 32768

    def test_the_latency_is_measured(self, base: str) -> None:
        assert 300 <= call_tool(callable_tool(f"{base}/slow?seconds=0.3")).latency_ms < 5_000

    def test_a_declared_tool_is_not_called(self, base: str) -> None:
        tool = dataclasses.replace(callable_tool(f"{base}/echo"), kind="declared", config={})
        assert call_tool(tool).error == "not_callable"

    def test_an_unexpected_exception_is_a_result_without_its_message(
        self, base: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        def broken(*_: object, **__: object) -> None:
            raise RuntimeError(f"it was {SECRET}")

        monkeypatch.setattr(http, "send", broken)
        with caplog.at_level(logging.ERROR):
            result = call_tool(callable_tool(f"{base}/echo"))
        assert result.error == "internal"
        assert "RuntimeError" in caplog.text
        assert SECRET not in caplog.text + result.text


class TestSecrets:
    """Secrets of a tool appear nowhere in plain text."""

    @pytest.mark.parametrize("code", [200, 500])
    def test_they_are_redacted_in_responses(self, base: str, code: int) -> None:
        tool = callable_tool(
            f"{base}/leak/{{{{secret.token}}}}?code={code}&k={{{{secret.token}}}}",
            headers={"X-Secret": "{{secret.token}}", "Authorization": "Basic {{secret.basic}}"},
            secret_values={
                "token": SECRET,
                "basic": base64.b64encode(f"user:{SECRET}".encode()).decode(),
            },
        )
        result = call_tool(tool)
        assert result.error == (None if code == 200 else "http_500")
        assert result.text.count("[secret]") >= 8
        for form in (SECRET, quote(SECRET, safe=""), "correct", "battery", "staple"):
            assert form not in result.text
        for before in range(3):
            encoded = base64.b64encode(b"x" * before + SECRET.encode()).decode()
            assert encoded[4:-4] not in result.text

    @pytest.mark.parametrize("secret", [SECRET, "Correct-Horse", "x" * 200])
    def test_they_are_redacted_in_the_content_type(self, base: str, secret: str) -> None:
        tool = callable_tool(
            f"{base}/leak_in_header",
            headers={"X-Secret": "{{secret.token}}"},
            secret_values={"token": secret},
        )
        result = call_tool(tool)
        assert result.error == "not_text"
        assert secret.lower()[:13] not in result.text.lower()

    def test_one_at_the_limit_is_redacted_as_a_whole(self, base: str) -> None:
        tool = callable_tool(
            f"{base}/leak_at_limit",
            headers={"X-Secret": "{{secret.token}}"},
            secret_values={"token": SECRET},
        )
        text = call_tool(tool).text
        assert text.count("[secret]") == 1
        assert not [n for n in range(4, len(SECRET)) if SECRET[:n] in text]

    def test_they_are_in_no_response_log_or_row(
        self, api: Api, tenant: Tenant, base: str, capfd: pytest.CaptureFixture[str]
    ) -> None:
        value = f"never-seen-{uuid.uuid4()}"
        http = {"method": "GET", "url": f"{base}/echo", "headers": {"X": "{{secret.token}}"}}
        body = {"name": "n", "description": "d", "kind": "http", "http": http}
        created = api.post("tools", {**body, "secrets": {"token": value}})
        path = f"tools/{created.json['id']}"
        responses = [
            created,
            api.post(f"{path}/test", {"arguments": {}}),
            api.patch(path, {"http": {**http, "url": f"{base}/status?code=500"}}),
            api.post(f"{path}/test", {"arguments": {}}),
            api.patch(path, {"http": {**http, "url": "http://127.0.0.2:1/"}}),
            api.post(f"{path}/test", {"arguments": {}}),
            api.post("tools", {**body, "secrets": {"token": value}}),
            api.get(path),
        ]
        assert [response.status for response in responses] == [
            201,
            200,
            200,
            200,
            200,
            200,
            400,
            200,
        ]
        row = list(Tool.objects.filter(tenant=tenant).values_list())
        texts = [response.content.decode() for response in responses]
        texts += [str(row), *capfd.readouterr(), repr(Tool.objects.get(tenant=tenant))]
        texts.append(repr(CallableTool.of(Tool.objects.get(pk=created.json["id"]))))
        assert not [text for text in texts if value in text]

    def test_those_that_no_key_decrypts_are_an_error(
        self, base: str, settings: LazySettings, caplog: pytest.LogCaptureFixture
    ) -> None:
        tool = callable_tool(f"{base}/echo", secret_values={"a": SECRET})
        for keys in ([NEW_KEY], []):
            settings.SECRETS_KEYS = keys
            result = call_tool(tool)
            assert result.error == "secrets_unreadable"
        assert str(tool.id) in caplog.text

    def test_a_tenant_has_no_access_to_the_tools_and_secrets_of_another(
        self, api: Api, other_api: Api, tenant: Tenant, other_tenant: Tenant, base: str
    ) -> None:
        config = {"method": "GET", "url": f"{base}/leak", "headers": {"X-Secret": "{{secret.t}}"}}
        body = {"name": "n", "description": "d", "kind": "http", "http": config}
        foreign_id = other_api.post("tools", {**body, "secrets": {"t": SECRET}}).json["id"]
        path = f"tools/{foreign_id}"
        before = Tool.objects.filter(pk=foreign_id).values().get()
        for response in (
            api.post(f"{path}/test", {"arguments": {}}),
            api.get(path),
            api.patch(path, {"secrets": {"t": "mine"}}),
            api.patch(path, {"http": {**config, "url": "https://example.com/"}}),
            api.put(path, {**body, "secrets": {"t": None}}),
            api.delete(path),
        ):
            assert (response.status, response.error_code) == (403, "TENANT_ISOLATION_VIOLATION")
            assert SECRET not in response.content.decode()
        assert Tool.objects.filter(pk=foreign_id).values().get() == before
        # A name refers to a secret of the tenant's own tool only.
        assert api.post("tools", body).fields == {
            "http": ['Secret "t" is not set. Add it to secrets.']
        }
        own_id = api.post("tools", {**body, "secrets": {"t": "my-own-one"}}).json["id"]
        assert (
            _row(tenant, own_id)["secrets_token"] != _row(other_tenant, foreign_id)["secrets_token"]
        )
        agent = AgentFactory.create(tenant=tenant)
        response = api.patch(f"agents/{agent.pk}", {"tool_ids": [foreign_id]})
        assert (response.status, response.error_code) == (403, "CROSS_TENANT_TOOL")


def _row(tenant: Tenant, pk: Any) -> Any:
    return Tool.objects.filter(tenant=tenant).values().get(pk=pk)


def test_no_database_connection_is_held_during_a_call(
    api: Api, base: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[object] = []

    def watched_call(*args: Any, **kwargs: Any) -> ToolResult:
        held.append(connection.connection)
        result = call(*args, **kwargs)
        held.append(connection.connection)
        return result

    monkeypatch.setattr(views, "call", watched_call)
    http = {"method": "GET", "url": f"{base}/echo"}
    body = {"name": "n", "description": "d", "kind": "http", "http": http}
    path = f"tools/{api.post('tools', body).json['id']}/test"
    assert api.post(path, {"arguments": {}}).json["ok"] is True
    assert held == [None, None]


def test_a_live_server_reaches_the_allowed_networks(tenant: Tenant, api: Api, port: int) -> None:
    http = {"method": "GET", "url": f"http://127.0.0.1:{port}/echo"}
    tool = saved_tool(tenant_id=tenant.pk, name="n", description="d", kind="http", http=http)
    with serving(TOOL_ALLOWED_NETWORKS="127.0.0.1/32, fd00::/8", WEB_CONCURRENCY="1") as live_port:
        response = LiveApi(live_port, api.key).post(f"tools/{tool.pk}/test", {"arguments": {}})
    assert (response.status, response.json["ok"]) == (200, True), response.content


def test_secrets_set_concurrently_are_all_kept(
    live_api: LiveApi, tenant: Tenant, base: str
) -> None:
    http = {"method": "GET", "url": f"{base}/echo"}
    tool = saved_tool(tenant_id=tenant.pk, name="n", description="d", kind="http", http=http)
    names = [f"s{number}" for number in range(12)]
    responses = at_once(
        [partial(live_api.patch, f"tools/{tool.pk}", {"secrets": {name: name}}) for name in names]
    )
    assert {response.status for response in responses} == {200}
    secret_values = secrets.decrypt(_row(tenant, tool.pk)["secrets_token"])
    assert json.loads(secret_values) == {name: name for name in names}


def test_the_admin_form_validates_like_the_api(tenant: Tenant) -> None:
    tool = ToolFactory.build(tenant=tenant)
    tool.full_clean()
    tool.kind, tool.config = "http", {"method": "GET", "url": "http://example.com/"}
    tool.full_clean()
    assert tool.config["timeout_seconds"] == 10
    invalid: list[Any] = [
        None,
        [],
        {"method": "GET"},
        {"method": "GET", "url": "http://a.test/{a}"},
    ]
    for config in invalid:
        tool.config = config
        with pytest.raises(ValidationError, match="config: "):
            tool.clean()
    tool.kind, tool.config, tool.parameters = "declared", None, {"type": "string"}
    with pytest.raises(ValidationError, match="parameters: "):
        tool.clean()


def test_a_row_contains_all_data_of_a_call(tenant: Tenant, base: str) -> None:
    http = {"method": "GET", "url": f"{base}/echo", "headers": {"X": "{{secret.a}}"}}
    tool = saved_tool(
        tenant_id=tenant.pk,
        name="n",
        description="d",
        kind="http",
        parameters=ANY,
        http=http,
        secrets={"a": SECRET},
    )
    found = CallableTool.of(Tool.objects.get(pk=tool.pk))
    assert (found.id, found.kind, found.parameters) == (tool.pk, "http", ANY)
    assert found.config["url"] == f"{base}/echo"
    assert echoed_request(found)["headers"]["x"] == "[secret]"
    declared = CallableTool.of(ToolFactory.create(tenant=tenant))
    assert (declared.kind, declared.config, declared.secrets_token) == ("declared", {}, "")


def test_every_callable_kind_has_an_invoker() -> None:
    assert {"declared", *invokers.INVOKERS} == set(Tool.Kind.values)
    for kind in invokers.INVOKERS:
        assert callable(invokers.invoker(kind).call)


def test_modules_that_only_calls_need_are_not_imported_at_the_start() -> None:
    code = (
        "import sys, django; django.setup(); import map_project.urls, map_project.wsgi;"
        "print([name for name in ('jsonschema', 'regex') "
        "if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


class TestRotation:
    """`rotate_secrets`, and the system check for rows that no key decrypts. Both examine all rows."""

    @pytest.fixture
    def keys(self, settings: LazySettings) -> Iterator[list[str]]:
        """Yield the keys of the other tests, and encrypt all rows with them again at the end."""
        before = settings.SECRETS_KEYS
        yield before
        settings.SECRETS_KEYS = [*before, OLD_KEY, NEW_KEY]
        call_command("rotate_secrets", stdout=io.StringIO())

    def create_tool(self, tenant: Tenant, value: str = SECRET) -> Tool:
        http = {"method": "GET", "url": "http://127.0.0.1:1/"}
        name = str(uuid.uuid4())
        return saved_tool(
            tenant_id=tenant.pk,
            name=name,
            description="d",
            kind="http",
            http=http,
            secrets={"a": value},
        )

    def rotate(self) -> str:
        out = io.StringIO()
        call_command("rotate_secrets", stdout=out, stderr=out)
        return out.getvalue()

    def test_all_rows_are_encrypted_with_the_first_key(
        self, tenant: Tenant, settings: LazySettings, keys: list[str]
    ) -> None:
        tools = [self.create_tool(tenant, f"value {n}") for n in range(3)]
        settings.SECRETS_KEYS = [NEW_KEY, *keys]
        assert "secrets.W002" in {message.id for message in check_secrets(None)}
        assert "tools.Tool.secrets_token: " in self.rotate()
        settings.SECRETS_KEYS = [NEW_KEY]
        for n, tool in enumerate(tools):
            tool.refresh_from_db()
            assert json.loads(secrets.decrypt(tool.secrets_token)) == {"a": f"value {n}"}
        assert check_secrets(None) == []
        assert " 0 of them" in self.rotate()

    def test_a_row_that_no_key_decrypts_is_reported_and_unchanged(
        self, tenant: Tenant, settings: LazySettings, keys: list[str]
    ) -> None:
        fine, lost = self.create_tool(tenant), self.create_tool(tenant)
        settings.SECRETS_KEYS = [OLD_KEY]
        token = secrets.encrypt('{"a": "b"}')
        Tool.objects.filter(pk=lost.pk).update(secrets_token=token)
        settings.SECRETS_KEYS = [NEW_KEY, *keys]
        (error,) = [found for found in check_secrets(None) if found.id == "secrets.E001"]
        assert str(lost.pk) in error.msg
        with pytest.raises(CommandError, match="1 rows"):
            self.rotate()
        lost.refresh_from_db()
        fine.refresh_from_db()
        assert lost.secrets_token == token
        assert secrets.is_current(fine.secrets_token)

    def test_a_concurrent_write_is_not_lost(
        self,
        tenant: Tenant,
        settings: LazySettings,
        keys: list[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        tool = self.create_tool(tenant)
        settings.SECRETS_KEYS = [NEW_KEY, *keys]
        newer, rotated = secrets.encrypt('{"a": "newer"}'), secrets.rotated

        def slow(token: str) -> str:
            Tool.objects.filter(pk=tool.pk).update(secrets_token=newer)
            return rotated(token)

        monkeypatch.setattr(secrets, "rotated", slow)
        self.rotate()
        tool.refresh_from_db()
        assert tool.secrets_token == newer

    def test_without_keys(self, settings: LazySettings, keys: list[str], tenant: Tenant) -> None:
        self.create_tool(tenant)
        settings.SECRETS_KEYS = []
        assert [message.id for message in check_secrets(None)] == ["secrets.E001"]
        with pytest.raises(CommandError, match="SECRETS_KEYS"):
            self.rotate()
