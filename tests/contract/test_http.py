"""HTTP over a socket to the live server: details that client libraries hide."""

import http.client
import json

import pytest

from tests.api import Answer, Api, LiveApi
from tests.contract.wire import chunked, exchange, parse, request
from tests.contract.writes import TOOL, Rows

MIB = 1024 * 1024
JSON = b"Content-Type: application/json"
CHUNKED = b"Transfer-Encoding: chunked"


def body_of(size: int, name: str = "web") -> bytes:
    return json.dumps({**TOOL, "name": name}).encode().ljust(size)


@pytest.mark.parametrize("size", [1, 7, 199, 200])
def test_a_chunked_body_is_read(live_api: LiveApi, size: int) -> None:
    body = body_of(200)
    pieces = [body[n : n + size] for n in range(0, len(body), size)]
    head = request("POST", "/api/v1/tools", key=live_api.key, headers=[JSON, CHUNKED])
    response = exchange(live_api.port, head, chunked(*pieces))
    assert (response.status, response.json["name"]) == (201, "web")


def test_a_chunked_body_may_arrive_in_parts(live_api: LiveApi) -> None:
    body = chunked(body_of(200))
    head = request("POST", "/api/v1/tools", key=live_api.key, headers=[JSON, CHUNKED])
    response = exchange(live_api.port, head, *(body[n : n + 40] for n in range(0, len(body), 40)))
    assert response.status == 201


def test_an_empty_chunked_body_is_malformed(live_api: LiveApi) -> None:
    head = request("POST", "/api/v1/tools", key=live_api.key, headers=[JSON, CHUNKED])
    assert exchange(live_api.port, head, chunked()).error_code == "MALFORMED_JSON"


@pytest.mark.parametrize(("size", "status"), [(MIB, 201), (MIB + 1, 413), (5 * MIB, 413)])
@pytest.mark.parametrize("framing", ["with its length", "in chunks"])
def test_the_maximum_size_of_a_body_is_1_mib(
    live_api: LiveApi, size: int, status: int, framing: str
) -> None:
    body = body_of(size)
    if framing == "in chunks":
        head = request("POST", "/api/v1/tools", key=live_api.key, headers=[JSON, CHUNKED])
        sent = [head, chunked(*(body[n : n + 65_536] for n in range(0, size, 65_536)))]
    else:
        sent = [request("POST", "/api/v1/tools", key=live_api.key, headers=[JSON], body=body)]
    response = exchange(live_api.port, *sent)
    assert response.status == status
    if status == 413:
        assert response.error_code == "REQUEST_TOO_LARGE"
        assert response.details == {"max_bytes": MIB}


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("framing", ["with its length", "in chunks"])
def test_a_large_body_is_413_without_a_key(live_port: int, method: str, framing: str) -> None:
    body = b"x" * (2 * MIB)
    if framing == "in chunks":
        sent = request(method, "/api/v1/tools", headers=[CHUNKED]) + chunked(body)
    else:
        sent = request(method, "/api/v1/tools", body=body)
    assert exchange(live_port, sent).error_code == "REQUEST_TOO_LARGE"


def test_expect_100_continue(live_api: LiveApi) -> None:
    headers = [JSON, b"Expect: 100-continue", b"Content-Length: 200"]
    head = request("POST", "/api/v1/tools", key=live_api.key, headers=headers)
    response = exchange(live_api.port, head, body_of(200))
    assert response.status == 100
    assert parse(response.content).status == 201


@pytest.mark.parametrize(
    "body",
    [b"zz\r\n{}\r\n0\r\n\r\n", b"-1\r\n{}\r\n0\r\n\r\n", b"2\r\n{}xx0\r\n\r\n", b"\r\n\r\n"],
)
def test_invalid_chunks_are_a_bad_request(live_api: LiveApi, body: bytes) -> None:
    head = request("POST", "/api/v1/tools", key=live_api.key, headers=[JSON, CHUNKED])
    response = exchange(live_api.port, head, body, end=True)
    assert (response.status, response.error_code, response.details) == (400, "BAD_REQUEST", {})


@pytest.mark.parametrize(
    ("headers", "body"),
    [([b"Content-Length: 20"], b"{}"), ([CHUNKED], b"5\r\n{}"), ([CHUNKED], b"2\r\n{}\r\n")],
)
def test_a_truncated_body_is_a_client_error(
    live_api: LiveApi, headers: list[bytes], body: bytes
) -> None:
    head = request("POST", "/api/v1/tools", key=live_api.key, headers=[JSON, *headers])
    response = exchange(live_api.port, head, body, end=True)
    assert response.status == 400
    assert response.error_code in ("BAD_REQUEST", "MALFORMED_JSON", "VALIDATION_ERROR")
    assert live_api.get("tools").json["total"] == 0


@pytest.mark.parametrize("name", [b"X-API-KEY", b"X-Request-ID", b"X-Other", b"Authorization"])
def test_a_header_field_of_32_kib_is_accepted(live_port: int, name: bytes) -> None:
    value = b"x" * (32 * 1024 - len(name) - len(b": "))
    response = exchange(live_port, request("GET", "/api/v1/tools", headers=[name + b": " + value]))
    assert (response.status, bool(response.error_code)) == (401, True)


@pytest.mark.parametrize(("headers", "code"), [(0, "MISSING_API_KEY"), (1, "INVALID_API_KEY")])
def test_a_request_line_of_8_kib_is_accepted(live_port: int, headers: int, code: str) -> None:
    line = len(b"GET  HTTP/1.1\r\n")
    target = "/api/v1/tools?a=".ljust(8192 - line, "x")
    extra = [b"X-API-KEY: " + b"k" * 10_240] * headers
    assert exchange(live_port, request("GET", target, headers=extra)).error_code == code
    longest = "/api/v1/tools/".ljust(8192 - line, "x")
    assert exchange(live_port, request("GET", longest, headers=extra)).error_code == code


@pytest.mark.parametrize(
    "header",
    [
        b"X-API-KEY: k\xc3\xa9y",
        b"X-API-KEY: \xff\xfe",
        b"Authorization: Bearer \xe9",
        b"X-API-KEY: " + "\u0660".encode(),
        b"X-API-KEY: a\xa0",
    ],
)
def test_a_key_that_is_not_ascii_is_invalid(live_port: int, header: bytes) -> None:
    response = exchange(live_port, request("GET", "/api/v1/tools", headers=[header]))
    assert response.error_code == "INVALID_API_KEY"


@pytest.mark.parametrize(
    "header",
    [
        b"X-Request-ID: \xe9",
        b"Accept: \xff",
        b"User-Agent: \xf0\x9f\x98\x80",
        b"Cookie: sessionid=\xff; csrftoken=\xfe",
        b"Content-Type: \xe9/\xff",
        b"Range: bytes=\xff",
        b"If-Modified-Since: \xff",
        b"X-Forwarded-For: \xff",
    ],
)
def test_other_headers_that_are_not_ascii_are_accepted(live_api: LiveApi, header: bytes) -> None:
    for path in ("/api/v1/tools", "/health", "/docs", "/"):
        sent = request("GET", path, key=live_api.key, headers=[header])
        assert exchange(live_api.port, sent).status in (200, 302)


def test_a_key_that_is_sent_twice_is_invalid(live_api: LiveApi) -> None:
    assert live_api.key
    twice = [b"X-API-KEY: " + live_api.key.encode()] * 2
    response = exchange(live_api.port, request("GET", "/api/v1/tools", headers=twice))
    assert response.error_code == "INVALID_API_KEY"


def test_a_header_name_with_underscores_is_not_accepted(live_api: LiveApi) -> None:
    assert live_api.key
    spoofed = [b"X_API_KEY: " + live_api.key.encode()]
    response = exchange(live_api.port, request("GET", "/api/v1/tools", headers=spoofed))
    assert response.status in (400, 401)


def test_headers_of_a_proxy_do_not_change_the_response(live_api: LiveApi) -> None:
    proxy_headers = [
        b"X-Forwarded-Proto: https",
        b"SCRIPT_NAME: /x",
        b"SCRIPT-NAME: /x",
        b"PATH_INFO: /live",
    ]
    for path in ("/api/v1/tools", "/admin"):
        plain, proxied = (
            exchange(live_api.port, request("GET", path, key=live_api.key, headers=headers))
            for headers in ([], proxy_headers)
        )
        assert (proxied.status, proxied.content) == (plain.status, plain.content)
        assert proxied.headers.get("location") == plain.headers.get("location")


PATHS = [
    "/api/v1/tools",
    "/api/v1/history",
    "/health",
    "/live",
    "/ready",
    "/schema",
    "/docs",
    "/nowhere",
]


@pytest.mark.parametrize("path", PATHS)
def test_head_is_get_without_a_body(live_api: LiveApi, path: str) -> None:
    get = exchange(live_api.port, request("GET", path, key=live_api.key))
    head = exchange(live_api.port, request("HEAD", path, key=live_api.key))
    assert (head.status, head.content) == (get.status, b"")
    varying = {"date", "x-request-id", "set-cookie"}
    assert {k: v for k, v in head.headers.items() if k not in varying} == {
        k: v for k, v in get.headers.items() if k not in varying
    }
    assert int(head.headers["content-length"]) == len(get.content) > 0


def test_a_connection_serves_many_requests(live_port: int, api: Api) -> None:
    """Errors and responses without a body keep the connection usable."""
    assert api.key
    tool = api.post("tools", TOOL).json["id"]
    connection = http.client.HTTPConnection("127.0.0.1", live_port, timeout=20)
    headers = {"X-API-KEY": api.key, "Content-Type": "application/json"}
    calls = [
        ("GET", "/api/v1/tools", None, 200),
        ("HEAD", "/api/v1/tools", None, 200),
        ("POST", "/api/v1/tools", "{", 400),
        ("POST", "/nowhere", "{}", 404),
        ("POST", "/", "{}", 405),
        ("PUT", "/api/v1/tools", "x" * 100_000, 405),
        ("GET", "/api/v1/tools", "x" * 100_000, 200),
        ("DELETE", f"/api/v1/tools/{tool}", None, 204),
        ("DELETE", f"/api/v1/tools/{tool}", "{}", 404),
        ("GET", "/", None, 302),
        ("GET", "/api/v1/tools", None, 200),
    ]
    try:
        for method, path, body, status in calls:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            response.read()
            assert response.status == status, (method, path)
    finally:
        connection.close()


@pytest.mark.parametrize("size", [100_000, MIB])
@pytest.mark.parametrize("framing", ["with its length", "in chunks"])
def test_a_client_that_is_still_sending_receives_the_error(
    live_port: int, size: int, framing: str
) -> None:
    """The connection can be used afterwards."""
    connection = http.client.HTTPConnection("127.0.0.1", live_port, timeout=20)
    body = (
        b" " * size
        if framing == "with its length"
        else (b" " * 10_000 for _ in range(size // 10_000))
    )
    try:
        connection.request("POST", "/api/v1/tools", body, encode_chunked=framing == "in chunks")
        socket = connection.sock
        for path in ("/api/v1/tools", "/nowhere"):
            response = connection.getresponse()
            assert response.status in (401, 404)
            response.read()
            connection.request("GET", path)
        assert connection.getresponse().read()
        assert connection.sock is socket
    finally:
        connection.close()


def test_204_has_neither_body_nor_length(live_api: LiveApi) -> None:
    tool = live_api.post("tools", TOOL).json["id"]
    sent = request("DELETE", f"/api/v1/tools/{tool}", key=live_api.key)
    response = exchange(live_api.port, sent)
    assert (response.status, response.content) == (204, b"")
    assert not {"content-length", "transfer-encoding", "content-type"} & response.headers.keys()


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize(
    "path", ["/", "/nowhere", "/api/v1/", "/api/v1/tools/", "/static/none.css"]
)
def test_no_csrf_token_is_required(live_port: int, method: str, path: str) -> None:
    response: Answer = LiveApi(live_port).call(method, path, {})
    assert response.error_code in ("NOT_FOUND", "METHOD_NOT_ALLOWED")


def test_the_request_target_may_be_an_absolute_url(live_api: LiveApi) -> None:
    sent = request("GET", "http://localhost/api/v1/tools", key=live_api.key)
    assert exchange(live_api.port, sent).status == 200


def test_http_1_0_needs_no_host(live_port: int) -> None:
    assert exchange(live_port, b"GET /live HTTP/1.0\r\n\r\n").status == 200


def test_the_test_client_and_the_live_server_return_the_same(live_port: int, rows: Rows) -> None:
    live = LiveApi(live_port, rows.api.key)
    for path in ("tools", "tools/x", f"agents/{rows.agent.pk}", "history?limit=0", "/nowhere"):
        expected, response = rows.api.get(path), live.get(path)
        assert (response.status, response.content) == (expected.status, expected.content)
