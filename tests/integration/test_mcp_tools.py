"""Calls of tools of the kind `mcp`: the revisions of the protocol, results, and hostile servers."""

import ipaddress
import json
import resource
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.conf import LazySettings

from map_project.api import secrets
from tests.mcp_server import ECHO, MODERN, SESSION_ID, SESSIONS, Handler, McpServer, mcp_server
from tools.invokers import CallableTool, ToolResult, call, mcp
from tools.invokers.mcp.parameters import header_errors, parameter_headers

SECRET = "correct-horse battery"
TEXT = '{"text": "Grüße"}'


@pytest.fixture
def server(settings: LazySettings) -> Iterator[McpServer]:
    settings.TOOL_ALLOWED_NETWORKS = (ipaddress.ip_network("127.0.0.1/32"),)
    with mcp_server() as script:
        yield script


def tool(url: str, name: str = "echo", **fields: Any) -> CallableTool:
    config = mcp.validate_config({"url": url, "tool": name, **fields.pop("config", {})})
    fields = {"parameters": {"type": "object"}, "secrets_token": "", **fields}
    return CallableTool(
        id=uuid.uuid4(), name="t", description="d", kind="mcp", config=config, **fields
    )


def get(
    server: McpServer, arguments: str = TEXT, *, seconds: float = 10, **fields: Any
) -> ToolResult:
    return call(tool(server.url, **fields), arguments, deadline=time.monotonic() + seconds)


def result_of(server: McpServer, result: Any) -> ToolResult:
    server.results["echo"] = result
    return get(server)


class TestRevisions:
    @pytest.mark.parametrize("sends_events", [False, True])
    def test_the_stateless_revision(self, server: McpServer, sends_events: bool) -> None:
        server.sends_events = sends_events
        result = get(server)
        assert (result.text, result.error) == ("Grüße", None)
        listed, called = server.received
        assert listed.headers["mcp-method"] == "tools/list"
        assert "mcp-name" not in listed.headers
        for request in (listed, called):
            assert request.headers["mcp-protocol-version"] == MODERN
            assert request.headers["accept"] == "application/json, text/event-stream"
            assert request.body["params"]["_meta"] == {
                "io.modelcontextprotocol/protocolVersion": MODERN,
                "io.modelcontextprotocol/clientInfo": {
                    "name": "mini-agent-platform",
                    "version": "1.0.0",
                },
                "io.modelcontextprotocol/clientCapabilities": {},
            }
        assert (called.headers["mcp-method"], called.headers["mcp-name"]) == ("tools/call", "echo")

    @pytest.mark.parametrize("revision", [SESSIONS, "2025-06-18", "2025-03-26", "2024-11-05"])
    @pytest.mark.parametrize("sends_events", [False, True])
    def test_revisions_with_sessions(
        self, server: McpServer, revision: str, sends_events: bool
    ) -> None:
        server.revision, server.sends_events = revision, sends_events
        for methods in (["tools/list"], []):
            result = get(server)
            assert (result.text, result.error) == ("Grüße", None)
            deleted = server.received[-1]
            assert deleted.headers["mcp-session-id"] == SESSION_ID
            assert deleted.headers["mcp-protocol-version"] == revision
            # The revision is known from the second call on.
            assert server.methods() == [
                *methods,
                *("initialize", "notifications/initialized", "tools/list", "tools/call", "DELETE"),
            ]

    def test_a_server_that_changes_its_revision(self, server: McpServer) -> None:
        for revision in (SESSIONS, MODERN, SESSIONS):
            server.revision = revision
            for _ in range(2):
                assert get(server).text == "Grüße"
        assert server.methods().count("tools/call") == 6

    def test_a_call_is_not_repeated_with_another_revision(self, server: McpServer) -> None:
        """The call may have been made before its error."""

        def respond(handler: Handler, body: Any) -> bool:
            is_call = bool(body["method"] == "tools/call")
            if is_call:
                handler.fail(body, -32603, 500)
            return is_call

        server.override = respond
        result = get(server)
        assert (result.error, "-32603" in result.text) == ("mcp_error", True)
        assert server.methods() == ["tools/list", "tools/call"]

    def test_a_session_that_is_not_allowed_is_reported(self, server: McpServer) -> None:
        server.revision = SESSIONS
        assert get(server).error is None
        server.methods()
        server.override = body(b"Go away.", 401)
        assert get(server).error == "http_401"
        assert server.methods() == ["initialize"]

    def test_a_server_without_session_ids(self, server: McpServer) -> None:
        def respond(handler: Handler, body: Any) -> bool:
            if body["method"] == "initialize":
                handler.answer(body, {"protocolVersion": SESSIONS})
            elif body["method"] == "notifications/initialized":
                handler.reply(b"", 202)
            elif "_meta" in body["params"]:
                # Not JSON-RPC: a server before 2026-07-28.
                handler.reply(b"Bad Request: no session", 400, Content_Type="text/plain")
            else:
                handler.serve(body)
            return True

        server.override = respond
        assert get(server).text == "Grüße"
        assert "DELETE" not in server.methods()

    @pytest.mark.parametrize(
        ("code", "data", "error"),
        [
            (-32022, {"supported": ["2027-01-01"]}, "mcp_error"),
            (-32022, {}, "mcp_error"),
            (-32021, {"requiredCapabilities": {}}, "mcp_error"),
            (-32020, {}, "mcp_error"),
            (-32022, {"supported": [SESSIONS]}, None),
            (-32600, {}, None),
            (-32601, {}, None),
            (-32000, {}, None),
        ],
    )
    @pytest.mark.parametrize("status", [200, 400, 404])
    def test_the_body_of_an_error_decides_about_the_older_revision(
        self, server: McpServer, code: int, data: Any, error: str | None, status: int
    ) -> None:
        server.revision = SESSIONS

        def respond(handler: Handler, body: Any) -> bool:
            is_modern = "_meta" in body.get("params", {})
            if is_modern:
                handler.fail(body, code, status, **data)
            return is_modern

        server.override = respond
        result = get(server)
        assert result.error == error
        if error:
            assert str(code) in result.text
            assert server.methods() == ["tools/list"]

    @pytest.mark.parametrize("status", [200, 500])
    def test_an_error_of_a_server_that_is_not_older_is_reported(
        self, server: McpServer, status: int
    ) -> None:
        """It has no `initialize`, of which the error would hide the one of the list."""

        def respond(handler: Handler, body: Any) -> bool:
            if body["method"] == "tools/list":
                handler.fail(body, -32603, status)
            else:
                handler.fail(body, -32601, 404)
            return True

        server.override = respond
        result = get(server)
        assert (result.error, "-32603" in result.text) == ("mcp_error", True)
        assert server.methods() == ["tools/list", "initialize"]

    @pytest.mark.parametrize("status", [401, 403, 429, 307])
    def test_some_statuses_do_not_depend_on_the_revision(
        self, server: McpServer, status: int
    ) -> None:
        server.override = body(b"Go away.", status)
        assert get(server).error == f"http_{status}"
        assert len(server.received) == 1

    def test_pages(self, server: McpServer) -> None:
        server.tools = [{**ECHO, "name": f"t{n}"} for n in range(10)]
        server.page_size = 4
        found = mcp.definitions(server.url, {}, {}, deadline=time.monotonic() + 5)
        assert [each.name for each in found] == [f"t{n}" for n in range(10)]
        assert server.methods() == ["tools/list"] * 3


class TestParameters:
    SCHEMA = {
        "type": "object",
        "properties": {
            "region": {"type": "string", "x-mcp-header": "Region"},
            "place": {
                "type": "object",
                "properties": {
                    "n": {"type": "integer", "x-mcp-header": "N"},
                    "on": {"type": "boolean", "x-mcp-header": "On"},
                },
            },
            "properties": {"type": "string"},
            "none": {"type": "string", "x-mcp-header": "None"},
        },
    }

    def test_annotated_arguments_are_sent_as_headers(self, server: McpServer) -> None:
        arguments = {"region": "eu", "place": {"n": 7.0, "on": True}}
        assert get(server, json.dumps(arguments), parameters=self.SCHEMA).error is None
        called = server.received[-1]
        headers = {
            name: value for name, value in called.headers.items() if name.startswith("mcp-param-")
        }
        assert headers == {"mcp-param-region": "eu", "mcp-param-n": "7", "mcp-param-on": "true"}
        assert called.body["params"]["arguments"] == {**arguments, "place": {"n": 7, "on": True}}

    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("plain text", "plain text"),
            ("", ""),
            (" x", "=?base64?IHg=?="),
            ("ü", "=?base64?w7w=?="),
            ("a\r\nX: y", "=?base64?YQ0KWDogeQ==?="),
            ("=?base64?eA==?=", "=?base64?PT9iYXNlNjQ/ZUE9PT89?="),
        ],
    )
    def test_values_that_are_no_header_are_encoded(
        self, server: McpServer, text: str, value: str
    ) -> None:
        assert parameter_headers(self.SCHEMA, {"region": text}) == [("Mcp-Param-Region", value)]
        assert get(server, json.dumps({"region": text}), parameters=self.SCHEMA).error is None
        assert server.received[-1].headers["mcp-param-region"] == value

    @pytest.mark.parametrize(
        "schema",
        [
            {"x-mcp-header": "A"},
            {"properties": {"a": {"type": "string", "x-mcp-header": "a b"}}},
            {"properties": {"a": {"type": "string", "x-mcp-header": ""}}},
            {"properties": {"a": {"type": "string", "x-mcp-header": "a\r\nb"}}},
            {"properties": {"a": {"type": "string", "x-mcp-header": 1}}},
            {"properties": {"a": {"type": "number", "x-mcp-header": "A"}}},
            {"properties": {"a": {"type": ["string"], "x-mcp-header": "A"}}},
            {"properties": {"a": {"x-mcp-header": "A"}}},
            {"properties": {"a": {"items": {"type": "string", "x-mcp-header": "A"}}}},
            {"$defs": {"a": {"properties": {"b": {"type": "string", "x-mcp-header": "A"}}}}},
            {"anyOf": [{"properties": {"b": {"type": "string", "x-mcp-header": "A"}}}]},
            {
                "properties": {
                    "a": {"type": "string", "x-mcp-header": "A"},
                    "b": {"type": "string", "x-mcp-header": "a"},
                }
            },
        ],
    )
    def test_invalid_annotations(self, schema: dict[str, Any]) -> None:
        assert len(header_errors({"type": "object", **schema})) == 1

    def test_valid_annotations(self) -> None:
        assert header_errors(self.SCHEMA) == []
        data = {"type": "object", "default": {"x-mcp-header": "A"}, "enum": [{"x-mcp-header": 1}]}
        assert header_errors(data) == []


class TestResults:
    @pytest.mark.parametrize(
        ("result", "text"),
        [
            ({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}, "a\nb"),
            ({"content": []}, "(The result is empty.)"),
            ({"content": [], "structuredContent": {"b": 1, "a": [None]}}, '{"b":1,"a":[null]}'),
            ({"structuredContent": [1]}, "[1]"),
            ({"structuredContent": {"result": 1}}, '{"result":1}'),
            (
                {
                    "content": [{"type": "text", "text": "3"}],
                    "structuredContent": {"result": 3},
                },
                "3",
            ),
            (
                {
                    "content": [{"type": "text", "text": "Köln"}],
                    "structuredContent": {"result": "Köln"},
                },
                "Köln",
            ),
            (
                {
                    "content": [{"type": "text", "text": '{ "a": 1 }'}],
                    "structuredContent": {"a": 1},
                },
                '{ "a": 1 }',
            ),
            (
                {"content": [{"type": "text", "text": "One."}], "structuredContent": {"a": 1}},
                'One.\n{"a":1}',
            ),
            (
                {"structuredContent": {"id": 123456789012345678901234567890}},
                '{"id":123456789012345678901234567890}',
            ),
            (
                {"content": [{"type": "image", "data": "AAAA", "mimeType": "image/png"}]},
                "[image, image/png: not shown]",
            ),
            (
                {"content": [{"type": "audio", "data": "AAAA", "mimeType": "audio/wav"}]},
                "[audio, audio/wav: not shown]",
            ),
            (
                {"content": [{"type": "resource_link", "uri": "file:///a", "name": "A"}]},
                "[link to a resource: file:///a (A)]",
            ),
            (
                {"content": [{"type": "resource", "resource": {"uri": "a:b", "text": "T"}}]},
                "[resource a:b]\nT",
            ),
            (
                {
                    "content": [
                        {
                            "type": "resource",
                            "resource": {"uri": "a:b", "blob": "AA", "mimeType": "x/y"},
                        }
                    ]
                },
                "[resource a:b, x/y: not shown]",
            ),
            ({"content": [{"type": "new"}]}, "[content of the type new: not shown]"),
            ({"resultType": "complete", "content": [{"type": "text", "text": "a"}]}, "a"),
        ],
    )
    def test_content(self, server: McpServer, result: Any, text: str) -> None:
        found = result_of(server, result)
        assert (found.text, found.error) == (text, None)

    @pytest.mark.parametrize(
        ("result", "error"),
        [
            ({"content": [{"type": "text", "text": "Broken."}], "isError": True}, "tool_error"),
            ({"content": [], "isError": True}, "tool_error"),
            ({"resultType": "input_required", "inputRequests": {}}, "input_required"),
            ({"resultType": "task", "content": []}, "bad_answer"),
            ({"content": "text"}, "bad_answer"),
            ({"content": [1]}, "bad_answer"),
            ("text", "bad_answer"),
            (None, "bad_answer"),
            ([], "bad_answer"),
        ],
    )
    def test_errors(self, server: McpServer, result: Any, error: str) -> None:
        found = result_of(server, result)
        assert found.error == error
        assert found.text

    def test_the_text_of_an_error_of_the_tool(self, server: McpServer) -> None:
        result = {"content": [{"type": "text", "text": "No such city."}], "isError": True}
        assert result_of(server, result).text == "No such city."

    def test_a_large_result_is_cut(self, server: McpServer) -> None:
        found = result_of(server, {"content": [{"type": "text", "text": "ü" * 50_000}]})
        assert found.error is None
        assert found.text.startswith("ü" * 32_768 + "\n[cut here: only the first 65536 bytes")

    def test_notifications_precede_the_result(self, server: McpServer) -> None:
        server.sends_events = True
        progress = {"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progress": 1}}
        request = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
        server.notifications = [progress, request, progress]
        assert get(server).text == "Grüße"

    @pytest.mark.parametrize("place", ["content", "message", "body"])
    def test_secrets_are_removed(
        self, server: McpServer, place: str, settings: LazySettings
    ) -> None:
        def respond(handler: Handler, body: Any) -> bool:
            if body["method"] == "tools/list":
                return False
            sent = handler.headers["Authorization"]
            if place == "content":
                handler.answer(body, {"content": [{"type": "text", "text": sent}]})
            elif place == "message":
                error = {"code": -1, "message": sent}
                handler.reply(json.dumps({"id": body["id"], "error": error}).encode(), 400)
            else:
                handler.reply(sent.encode(), 500)
            return True

        server.override = respond
        result = get(
            server,
            config={"headers": {"Authorization": "Bearer {{secret.token}}"}},
            secrets_token=secrets.encrypt(json.dumps({"token": SECRET})),
        )
        assert server.received[0].headers["authorization"] == f"Bearer {SECRET}"
        assert "[secret]" in result.text
        assert SECRET not in result.text


def stream(*parts: bytes, seconds: float = 0.0, until: float = 30.0) -> Callable[..., bool]:
    """Return a response that sends the parts again and again as events."""

    def respond(handler: Handler, _: Any) -> bool:
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream")
        handler.end_headers()
        end = time.monotonic() + until
        while time.monotonic() < end:
            for part in parts:
                handler.wfile.write(part)
                handler.wfile.flush()
                time.sleep(seconds)
        return True

    return respond


def body(content: bytes, status: int = 200, **headers: Any) -> Callable[..., bool]:
    """Return a response with the content. It is JSON by default."""

    def respond(handler: Handler, _: Any) -> bool:
        handler.reply(content, status, **headers)
        return True

    return respond


def hang(_: Handler, __: Any) -> bool:
    time.sleep(30)
    return True


def listing(tools: Any, **fields: Any) -> Callable[..., bool]:
    def respond(handler: Handler, request: Any) -> bool:
        handler.answer(request, {"tools": tools, **fields})
        return True

    return respond


PING = b'data: {"jsonrpc": "2.0", "method": "notifications/message", "params": {}}\n\n'
EVENTS: dict[str, Any] = {"Content_Type": "text/event-stream"}
TEN_MEGABYTES = b'{"jsonrpc": "2.0", "id": 1, "result": {"x": "' + b"x" * 10_000_000 + b'"}}'
HOSTILE: dict[str, tuple[Callable[..., bool], str]] = {
    "hangs": (hang, "timeout"),
    "streams for ever, slowly": (stream(PING, seconds=0.2), "timeout"),
    "streams for ever, fast": (stream(PING), "bad_answer or timeout"),
    "streams a comment for ever": (stream(b":\n", seconds=0.2), "timeout"),
    "streams one line for ever": (stream(b"data: " + b"x" * 10_000), "bad_answer or timeout"),
    "sends 10 MB": (body(TEN_MEGABYTES), "bad_answer or timeout"),
    "sends 10 MB in an event": (
        body(b"data: " + TEN_MEGABYTES + b"\n\n", **EVENTS),
        "bad_answer or timeout",
    ),
    "sends an empty body": (body(b""), "bad_answer"),
    "sends no JSON": (body(b"<html>"), "bad_answer"),
    "sends HTML": (body(b"<html>", Content_Type="text/html"), "bad_answer"),
    "sends invalid UTF-8": (body(b'{"id": 1, "result": {"a": "\xff"}}'), "bad_answer"),
    "sends a list": (body(b"[]"), "bad_answer"),
    "sends a number": (body(b"1"), "bad_answer"),
    "sends nested lists": (body(b"[" * 100_000), "bad_answer"),
    "sends nested lists as a result": (
        body(b'{"id": 1, "result": {"tools": ' + b"[" * 900 + b"]" * 900 + b"}}"),
        "bad_answer",
    ),
    "answers another request": (body(b'{"id": 99, "result": {}}'), "bad_answer"),
    "answers with another type of ID": (body(b'{"id": true, "result": {}}'), "bad_answer"),
    "answers without a result": (body(b'{"id": 1}'), "bad_answer"),
    "answers with an error that is none": (body(b'{"id": 1, "error": "x"}'), "bad_answer"),
    "accepts the request as a notification": (body(b"", 202), "bad_answer"),
    "ends the stream": (body(PING, **EVENTS), "bad_answer"),
    "ends the stream within an event": (body(b'data: {"id": 1', **EVENTS), "bad_answer"),
    "sends events that are no JSON": (body(b"data: x\n\n", **EVENTS), "bad_answer"),
    "redirects to loopback": (
        body(b"", 302, Location="http://127.0.0.1:1/mcp"),
        "http_302",
    ),
    "redirects with the method": (body(b"", 307, Location="http://10.0.0.1/"), "http_307"),
    "fails": (body(b"Oops", 500), "http_500"),
    "fails with 10 MB": (body(b"x" * 10_000_000, 500), "http_500"),
    "wants a login": (body(b"", 401), "http_401"),
    "lists an object": (listing({}), "bad_answer"),
    "lists numbers": (listing([1]), "bad_answer"),
    "lists a tool without a name": (listing([{}]), "bad_answer"),
    "lists a tool with a long name": (listing([{"name": "x" * 1000}]), "bad_answer"),
    "lists a tool whose description is a list": (
        listing([{"name": "echo", "description": ["x"]}]),
        "bad_answer",
    ),
    "lists a thousand tools": (listing([ECHO] * 1000), "bad_answer"),
    "lists pages for ever": (listing([], nextCursor="x"), "bad_answer"),
    "lists pages with a number": (listing([], nextCursor=1), "bad_answer"),
}


class TestHostileServers:
    @pytest.mark.parametrize("at", ["tools/list", "tools/call"])
    @pytest.mark.parametrize("name", HOSTILE)
    def test_a_hostile_server_is_a_clear_error(self, server: McpServer, name: str, at: str) -> None:
        respond, error = HOSTILE[name]
        if at == "tools/call" and name.startswith("lists"):
            return  # a call does not list
        # A failed list is followed by `initialize`.
        server.override = lambda handler, request: (
            request["method"] in {at, "initialize"} and respond(handler, request)
        )
        before = resource.getrusage(resource.RUSAGE_SELF)
        started = time.monotonic()
        result = get(server, config={"timeout_seconds": 2})
        assert result.error in error.split(" or "), result
        assert result.text
        assert time.monotonic() - started < 15
        used = resource.getrusage(resource.RUSAGE_SELF)
        assert used.ru_utime - before.ru_utime < 5

    def test_a_redirect_is_not_followed(self, server: McpServer) -> None:
        server.override = body(b"", 307, Location=server.url + "/other")
        assert "redirects are not followed" in get(server).text
        assert len(server.received) == 1

    @pytest.mark.parametrize("value", ["a b", "\xe4", "x" * 5_000])
    def test_a_session_id_that_is_not_valid(self, server: McpServer, value: str) -> None:
        server.revision = SESSIONS

        def respond(handler: Handler, request: Any) -> bool:
            if request["method"] == "initialize":
                handler.answer(request, {"protocolVersion": SESSIONS}, Mcp_Session_Id=value)
            return bool(request["method"] == "initialize")

        server.override = respond
        result = get(server)
        assert (result.error, "session" in result.text) == ("bad_answer", True)
        assert server.methods() == ["tools/list", "initialize"]

    def test_a_revision_that_is_not_known(self, server: McpServer) -> None:
        server.revision = "2030-01-01"
        assert get(server).error == "bad_answer"
