"""Errors that are detected before a view runs, and their JSON body."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.api import Api, LiveApi
from tests.contract.writes import TOOL, WRITES, Rows, Write
from tests.live import serving

ID = "0197a3c0-5b7e-7c1a-9f60-3a2f4f0f7a11"
ALLOWED = {
    "/api/v1/tools": "GET, HEAD, POST",
    f"/api/v1/tools/{ID}": "GET, HEAD, PUT, PATCH, DELETE",
    "/api/v1/agents": "GET, HEAD, POST",
    f"/api/v1/agents/{ID}": "GET, HEAD, PUT, PATCH, DELETE",
    f"/api/v1/agents/{ID}/run": "POST",
    "/api/v1/history": "GET, HEAD",
    f"/api/v1/history/{ID}": "GET, HEAD",
    "/health": "GET, HEAD",
    "/live": "GET, HEAD",
    "/ready": "GET, HEAD",
    "/schema": "GET, HEAD",
    "/docs": "GET, HEAD",
    "/redoc": "GET, HEAD",
    "/": "GET, HEAD",
}
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "X"]


def methods(text: str) -> set[str]:
    return set(text.split(", "))


@pytest.mark.parametrize("path", ALLOWED)
def test_a_wrong_method_is_405_with_the_allowed_ones(rows: Rows, path: str) -> None:
    for method in [verb for verb in METHODS if verb not in methods(ALLOWED[path])]:
        response = rows.api.call(method, path)
        assert response.status == 405, method
        assert methods(response.headers["allow"]) == methods(ALLOWED[path])
        if method != "HEAD":
            assert (response.error_code, response.details) == ("METHOD_NOT_ALLOWED", {})


UNKNOWN_PATHS = [
    "/api",
    "/api/v1",
    "/api/v1/",
    "/api/v2/tools",
    "/api/v1/Tools",
    "/API/v1/tools",
    "/api/v1/tool",
    "/api/v1/tools/",
    f"/api/v1/tools/{ID}/",
    f"/api/v1/tools/{ID}/run",
    "/api/v1/agents/",
    f"/api/v1/agents/{ID}/",
    f"/api/v1/agents/{ID}/run/",
    f"/api/v1/agents/{ID}/runs",
    "/api/v1/history/",
    f"/api/v1/history/{ID}/",
    f"/api/v1/history/{ID}/steps/{ID}",
    "/api/v1/tools.json",
    "/api/v1/tools%2F",
    "/api/v1/tools%0A",
    "/health/",
    "/live/",
    "/ready/",
    "/docs/",
    "/schema/",
    "/schema.json",
    "/static/",
    "/static/none.css",
    "/favicon.ico",
    "/adminx",
    "/%ff",
    "/%00",
    "/nowhere?a=%ff",
]


@pytest.mark.parametrize("path", UNKNOWN_PATHS)
def test_an_unknown_path_is_404_for_every_method(rows: Rows, path: str) -> None:
    for method in METHODS:
        for api in (rows.api, Api()):
            response = api.call(method, path, headers={"Cookie": "sessionid=x"})
            assert response.status == 404, method
            if method != "HEAD":
                assert (response.error_code, response.details) == ("NOT_FOUND", {})


INVALID_IDS = {
    "a word": "no-id",
    "a number": "1",
    "no hyphens": "0197a3c05b7e7c1a9f603a2f4f0f7a11",
    "one digit more": "0197a3c0-5b7e-7c1a-9f60-3a2f4f0f7a111",
    "one digit less": "0197a3c0-5b7e-7c1a-9f60-3a2f4f0f7a1",
    "a letter": "g197a3c0-5b7e-7c1a-9f60-3a2f4f0f7a11",
    "braces": "%7B0197a3c0-5b7e-7c1a-9f60-3a2f4f0f7a11%7D",
    "a blank before": "%200197a3c0-5b7e-7c1a-9f60-3a2f4f0f7a11",
    "a line break after": "0197a3c0-5b7e-7c1a-9f60-3a2f4f0f7a11%0A",
    "NUL": "%00",
    "not UTF-8": "%FF",
    "a surrogate": "%ED%A0%80",
    "other digits": "%D9%A0197a3c0-5b7e-7c1a-9f60-3a2f4f0f7a1",
    "very long": "x" * 5000,
    "SQL": "'%20OR%20'1'='1",
    "dots": "...",
}
RESOURCES = [("tools", "tool"), ("agents", "agent"), ("history", "execution")]


@pytest.mark.parametrize("text", INVALID_IDS.values(), ids=INVALID_IDS)
@pytest.mark.parametrize(("route", "resource"), RESOURCES)
def test_a_malformed_id_is_404(rows: Rows, route: str, resource: str, text: str) -> None:
    response = rows.api.get(f"{route}/{text}")
    assert (response.status, response.error_code) == (404, f"{resource.upper()}_NOT_FOUND")
    assert list(response.details) == [f"{resource}_id"]
    assert isinstance(response.details[f"{resource}_id"], str)
    if route == "agents":
        assert rows.api.run(text).error_code == "AGENT_NOT_FOUND"


def test_an_id_may_be_in_upper_case(rows: Rows) -> None:
    assert rows.api.get(f"tools/{str(rows.tool.pk).upper()}").status == 200


INVALID_JSON = {
    "empty": b"",
    "a blank": b" ",
    "NUL": b"\0",
    "half an object": b'{"name": "web"',
    "two objects": b"{}{}",
    "text after it": b"{} x",
    "a comma at the end": b'{"name": "web",}',
    "single quotes": b"{'name': 'web'}",
    "no quotes": b"{name: 1}",
    "a comment": b"{} // no",
    "NaN": b'{"name": NaN}',
    "Infinity": b'{"name": Infinity}',
    "-Infinity": b"-Infinity",
    "a leading zero": b'{"name": 01}',
    "a line break in a text": b'{"name": "a\nb"}',
    "a control character in a text": b'{"name": "\x01"}',
    "a wrong escape": rb'{"name": "\x41"}',
    "half an escape": rb'{"name": "\u00"}',
    "a lone byte": b'{"name": "\xff"}',
    "half a character": b'{"name": "\xc3"}',
    "overlong": b'{"name": "\xc0\x80"}',
    "beyond Unicode": b'{"name": "\xf4\x90\x80\x80"}',
    "UTF-16": '{"name": "web"}'.encode("utf-16"),
    "UTF-32": '{"name": "web"}'.encode("utf-32-le"),
    "a byte order mark": b'\xef\xbb\xbf{"name": "web"}',
    "gzip": b"\x1f\x8b\x08\x00\x00\x00\x00\x00",
    "a form": b"name=web&description=d",
    "lists, 100,000 deep": b"[" * 100_000,
    "lists, 100,000 deep and closed": b"[" * 100_000 + b"]" * 100_000,
    "objects, 100,000 deep": b'{"name":' * 100_000 + b"1" + b"}" * 100_000,
    "deep in a field": b'{"name": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
}


@pytest.mark.parametrize("raw", INVALID_JSON.values(), ids=INVALID_JSON)
def test_invalid_json_is_malformed(rows: Rows, raw: bytes) -> None:
    before = rows.snapshot()
    for write in WRITES:
        response = rows.send(write, raw=raw)
        assert (response.status, response.error_code, response.details) == (
            400,
            "MALFORMED_JSON",
            {},
        )
        assert len(response.json["message"]) < 200
    assert rows.snapshot() == before


@pytest.mark.parametrize("write", WRITES, ids=str)
def test_a_missing_body_is_malformed(rows: Rows, write: Write) -> None:
    response = rows.send(write)
    assert (response.status, response.error_code) == (400, "MALFORMED_JSON")
    headers = {"Content-Type": "text/plain"}
    assert rows.send(write, raw=b"", headers=headers).status in (400, 415)


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "text/plain",
        "text/json",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/xml",
        "application/merge-patch+json",
        "application/jsonp",
        "application/*",
        "*/*",
        "json",
        "application/json, text/plain",
        "text/plain; application/json",
        "\u00e9/\u00ff",
    ],
)
def test_another_media_type_is_415(rows: Rows, content_type: str) -> None:
    before = rows.snapshot()
    for write in WRITES:
        response = rows.send(write, write.body, headers={"Content-Type": content_type})
        assert (response.status, response.error_code) == (415, "UNSUPPORTED_MEDIA_TYPE")
        assert response.details == {}
    assert rows.snapshot() == before


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "Application/JSON",
        "application/json;charset=utf-8",
        "application/json ; charset=UTF-8",
        "application/json;",
    ],
)
def test_parameters_of_the_media_type_are_ignored(rows: Rows, content_type: str) -> None:
    write = WRITES[1]
    assert rows.send(write, write.body, headers={"Content-Type": content_type}).status == 200


@pytest.mark.parametrize(
    "accept", ["text/html", "application/xml", "*/*;q=0", "application/json;q=0", "", "\u00ff", "x"]
)
def test_accept_is_ignored(rows: Rows, accept: str) -> None:
    headers = {"Accept": accept}
    for method, path in (
        ("GET", "tools"),
        ("GET", "tools/x"),
        ("GET", "/nowhere"),
        ("PUT", "tools"),
    ):
        plain = rows.api.call(method, path, headers={"X-Request-ID": "same"})
        response = rows.api.call(method, path, headers={"X-Request-ID": "same", **headers})
        assert (response.status, response.content) == (plain.status, plain.content)
    for path in ("/health", "/live", "/ready", "/schema"):
        response = rows.api.get(path, headers=headers)
        assert (response.status, response.headers["content-type"]) == (200, "application/json")
    # DRF's parameter for another format is not one of the API.
    assert rows.api.get("tools?format=html").error_code == "BAD_REQUEST"
    assert rows.api.get("/docs?format=json", headers=headers).status == 200


MIB = 1024 * 1024


def body_of(size: int) -> bytes:
    """Return the JSON of a tool, padded with blanks to this size."""
    return b'{"name": "web", "description": "d"}'.ljust(size)


def test_the_maximum_size_of_a_body_is_1_mib(api: Api) -> None:
    over = api.post("tools", raw=body_of(MIB + 1))
    assert (over.status, over.error_code) == (413, "REQUEST_TOO_LARGE")
    assert over.details == {"max_bytes": MIB}
    assert api.post("tools", raw=body_of(MIB)).status == 201


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
@pytest.mark.parametrize(
    "path", ["tools", f"tools/{ID}", f"agents/{ID}/run", "/health", "/docs", "/nowhere", "/admin/"]
)
def test_a_large_body_is_413_on_every_path_and_without_a_key(method: str, path: str) -> None:
    response = Api().call(method, path, raw=b"x" * (MIB + 1))
    assert response.status == 413
    assert b"x" * 100 not in response.content


@pytest.mark.parametrize(
    "host",
    [
        "example.org",
        "localhost.example.org",
        "evil@localhost",
        "localhost:port",
        "localhost/",
        "[::2]",
        "a b",
        "\u00e9.org",
    ],
)
def test_an_unknown_host_is_rejected(rows: Rows, host: str) -> None:
    for path in ("tools", "/health", "/live", "/docs", "/nowhere", "/static/x"):
        response = rows.api.get(path, headers={"Host": host})
        assert response.status == 400
        assert response.json["error_code"] == "BAD_REQUEST"
        assert response.details == {}
        assert host not in response.content.decode()
    page = rows.api.get("/admin/", headers={"Host": host})
    assert page.status == 400
    assert "<h1>Bad request</h1>" in page.content.decode()
    assert host not in page.content.decode()


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:8000", "127.0.0.1:1", "[::1]:8000", "LOCALHOST"]
)
def test_the_allowed_hosts_are_accepted(rows: Rows, host: str) -> None:
    assert rows.api.get("tools", headers={"Host": host}).status == 200


def test_a_forwarded_host_is_ignored(rows: Rows) -> None:
    assert rows.api.get("tools", headers={"X-Forwarded-Host": "example.org"}).status == 200


PATHS = ["tools", "tools/x", "/nowhere", "/live", "/docs", "/admin/", "/"]


@pytest.mark.parametrize("request_id", ["a", "A-z_0.9", "-", ".", "x" * 128, "00-4bf92f-01"])
def test_a_well_formed_request_id_is_echoed(rows: Rows, request_id: str) -> None:
    for path in PATHS:
        response = rows.api.get(path, headers={"X-Request-ID": request_id})
        assert response.headers["x-request-id"] == request_id


@pytest.mark.parametrize(
    "request_id",
    [
        "",
        "x" * 129,
        "a b",
        "a,b",
        "a/b",
        "a:b",
        "a\tb",
        "\u00e9",
        "a\u0661",
        "{a}",
        "x" * 30_000,
        "a\n",
    ],
)
def test_an_invalid_request_id_is_replaced(rows: Rows, request_id: str) -> None:
    generated = {
        rows.api.get(path, headers={"X-Request-ID": request_id}).headers["x-request-id"]
        for path in PATHS
    }
    assert len(generated) == len(PATHS)
    assert all(re.fullmatch("[0-9a-f]{32}", text) for text in generated)


def test_an_internal_error_contains_only_its_request_id(
    rows: Rows, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from map_project.tenants.viewsets import TenantViewSet

    def fail(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("SELECT secret FROM /etc/passwd")

    monkeypatch.setattr(TenantViewSet, "initial", fail)
    response = rows.api.get("tools", headers={"X-Request-ID": "trace-me"})
    assert (response.status, response.error_code) == (500, "INTERNAL_ERROR")
    assert response.details == {"request_id": "trace-me"}
    assert b"secret" not in response.content
    assert "SELECT secret" in caplog.text


@pytest.mark.parametrize("debug", [False, True])
def test_an_error_outside_the_views_has_the_same_response_and_is_logged(
    rows: Rows,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    settings: Any,
    debug: bool,
) -> None:
    from ratelimit.middleware import RateLimitMiddleware

    def fail(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("a secret")

    settings.DEBUG = debug
    monkeypatch.setattr(RateLimitMiddleware, "process_view", fail)
    monkeypatch.setattr("tests.api._handler", _fresh_handler)
    response = rows.api.get("tools", headers={"X-Request-ID": "trace-me"})
    assert (response.status, response.error_code) == (500, "INTERNAL_ERROR")
    assert response.details == {"request_id": "trace-me"}
    assert "a secret" in caplog.text


def _fresh_handler() -> Any:
    from django.test.client import ClientHandler

    return ClientHandler(enforce_csrf_checks=True)


def test_a_line_break_in_a_path_adds_no_line_to_the_log(
    rows: Rows, capfd: pytest.CaptureFixture[str]
) -> None:
    rows.api.get("/nowhere%0A2026-01-01%20INFO%20forged%0d%1b")
    (line,) = capfd.readouterr().err.splitlines()
    assert '"status":404' in line
    assert "forged" not in line


@pytest.fixture(scope="module")
def debug_port() -> Iterator[int]:
    with serving(DEBUG="1", WEB_CONCURRENCY="1") as port:
        yield port


class TestWithDebugOn:
    """With DEBUG the API still returns JSON instead of the error pages of Django."""

    @pytest.fixture
    def live(self, debug_port: int, rows: Rows) -> LiveApi:
        return LiveApi(debug_port, rows.api.key)

    @pytest.mark.parametrize(
        ("method", "path", "status"),
        [
            ("GET", "/nowhere", 404),
            ("POST", "/nowhere", 404),
            ("GET", "tools/", 404),
            ("GET", "tools/x", 404),
            ("PUT", "tools", 405),
            ("POST", "/", 405),
            ("POST", "/docs", 405),
            ("OPTIONS", "/docs", 405),
            ("GET", "tools?limit=0", 400),
            ("GET", "tools?a=%ff", 400),
            ("POST", "tools", 400),
            ("POST", "agents/x/run", 404),
            ("GET", "/static/none.css", 404),
        ],
    )
    def test_errors_are_json(self, live: LiveApi, method: str, path: str, status: int) -> None:
        response = live.call(method, path)
        assert (response.status, bool(response.error_code)) == (status, True)
        for word in (b"Traceback", b"<html", b"DEBUG", b"settings", b"SELECT"):
            assert word not in response.content

    def test_401_host_and_413_are_json(self, live: LiveApi, debug_port: int) -> None:
        assert LiveApi(debug_port).get("tools").error_code == "MISSING_API_KEY"
        assert live.get("tools", headers={"Host": "example.org"}).error_code == "BAD_REQUEST"
        assert live.post("tools", raw=b" " * (MIB + 1)).error_code == "REQUEST_TOO_LARGE"

    def test_successful_calls(self, live: LiveApi, rows: Rows) -> None:
        assert live.post("tools", {**TOOL, "name": "created with DEBUG"}).status == 201
        assert live.run(rows.agent.pk).status == 200
        assert live.get("/docs").status == 200
