"""Invalid HTTP over raw sockets: it is rejected or the connection closed, and other clients are served.

`tests/contract/test_http.py` tests the exact responses. These tests check that there is no server
error, that nothing is stored, that no worker ends, and that other clients do not wait.
"""

import json
import os
import random
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial

import pytest

from agents.models import Agent
from executions.models import Execution
from map_project.tenants.models import Tenant
from tests.api import Api, LiveApi
from tests.at_once import at_once, timed
from tests.conftest import api_of
from tests.contract.wire import chunked, request
from tests.factories import TenantFactory
from tests.live import serving
from tests.own_postgres import children
from tools.models import Tool

pytestmark = pytest.mark.slow

JSON = b"Content-Type: application/json"
TOOL = b'{"name": "garbage", "description": "d"}'


class Server:
    """A live server, and the workers that it started."""

    def __init__(self, port: int, arbiter: int) -> None:
        self.port = port
        self.arbiter = arbiter
        self.workers = sorted(children(arbiter))

    def send(self, *parts: bytes, end: bool = True, seconds: float = 10.0) -> bytes:
        """Send the parts and return all that is received, even if the server closes the connection."""
        received = b""
        address = ("127.0.0.1", self.port)
        with socket.create_connection(address, timeout=seconds) as connection:
            try:
                for part in parts:
                    connection.sendall(part)
                if end:
                    connection.shutdown(socket.SHUT_WR)
                while data := connection.recv(65536):
                    received += data
            except TimeoutError:
                raise AssertionError(f"the response does not end: {received[:500]!r}") from None
            except OSError:
                pass
        return received


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    before = set(children(os.getpid()))
    with serving() as port:
        (arbiter,) = set(children(os.getpid())) - before
        yield Server(port, arbiter)


@pytest.fixture(autouse=True)
def _server_is_unaffected(server: Server, tenant: Tenant, api: Api) -> Iterator[None]:
    """Check after each test that the same workers serve in time, and that nothing was stored."""
    yield
    live = LiveApi(server.port, api.key)
    for response, seconds in at_once([timed(partial(live.get, "tools"))] * 16):
        assert response.status == 200
        assert seconds < 10
    assert sorted(children(server.arbiter)) == server.workers
    for model in (Tool, Agent, Execution):
        assert not model._default_manager.filter(tenant=tenant).exists()


def statuses(received: bytes) -> list[int]:
    """Return the statuses of all responses."""
    return [int(status) for status in re.findall(rb"HTTP/1\.[01] (\d{3}) ", received)]


def assert_no_server_error(received: bytes) -> None:
    # 501 and 505 are correct for unsupported encodings and versions.
    assert all(status < 500 or status in {501, 505} for status in statuses(received)), received[
        :500
    ]
    assert b"Traceback" not in received


def random_bytes(source: random.Random) -> bytes:
    return source.randbytes(source.choice([1, 10, 1_000, 20_000]))


def random_text(source: random.Random) -> bytes:
    lines = [source.choice([b"GET / HTTP/1.1", b"a", b":", b" b: c", b"", b"Host: x", b"\0"])]
    return b"\r\n".join(lines * source.randrange(1, 5)) + b"\r\n\r\n"


def broken_request(source: random.Random) -> bytes:
    """Return a valid request in which some bytes are changed, deleted or repeated."""
    data = bytearray(request("POST", "/api/v1/tools", headers=[JSON], body=TOOL))
    for _ in range(source.randrange(1, 6)):
        at = source.randrange(len(data))
        match source.randrange(3):
            case 0:
                data[at] = source.randrange(256)
            case 1:
                del data[at : at + source.randrange(1, 8)]
            case 2:
                data[at:at] = data[at : at + 8]
    return bytes(data)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("make", [random_bytes, random_text, broken_request])
def test_noise(server: Server, make: Callable[[random.Random], bytes], seed: int) -> None:
    source = random.Random(seed)
    for _ in range(40):
        assert_no_server_error(server.send(make(source)))


@pytest.mark.parametrize("seed", range(2))
def test_noise_with_a_key(server: Server, seed: int) -> None:
    """A request that is still valid stores a valid tool."""
    source, api = random.Random(seed), api_of(TenantFactory.create())
    assert api.key
    valid = request("POST", "/api/v1/tools", key=api.key, headers=[JSON], body=TOOL)
    start = valid.index(b"\r\n\r\n") + 4
    for _ in range(60):
        broken = bytearray(valid)
        for _ in range(source.randrange(1, 4)):
            broken[source.randrange(start, len(broken))] = source.randrange(256)
        assert_no_server_error(server.send(bytes(broken)))
    for tool in api.get("tools").json["items"]:
        assert tool["name"]
        assert "\0" not in json.dumps(tool, ensure_ascii=False)


def test_incomplete_requests(server: Server, api: Api) -> None:
    """Nothing is stored, even if only the last byte is missing."""
    valid = request("POST", "/api/v1/tools", key=api.key, headers=[JSON], body=TOOL)
    for length in [*range(0, len(valid), 7), len(valid) - 1]:
        assert_no_server_error(server.send(valid[:length]))


TARGETS = [
    b"/%00",
    b"/api/v1/tools/%00",
    b"/api/v1/tools/\0",
    b"/api/v1/tools?agent_name=%00",
    b"/api/v1/tools?agent_name=\0",
    b"/api/v1/agents/%00/run",
    b"/%",
    b"/%zz",
    b"/api/v1/tools/%e9",
    b"/api/v1/tools/%ff%fe",
    b"/api/v1/tools/%ed%a0%80",
    b"/api/v1/tools?limit=%ff",
    b"/api/v1/tools?limit=%",
    b"/api/v1/tools?%00=%00",
    b"/api/v1/tools?agent_name=%ed%a0%80",
    b"/api/v1/tools/../../../etc/passwd",
    b"/static/../manage.py",
    b"/static/%2e%2e/manage.py",
    b"/static//etc/passwd",
    b"/static/%00",
    b"//",
    b"//api/v1/tools",
    b"///////",
    b"/./",
    b"/api/v1/tools;x=y",
    b"/api/v1/tools#x",
    b"*",
    b"",
    b"api/v1/tools",
    b"?",
    b"http://",
    b"http://localhost",
    b"http://localhost/api/v1/tools",
    b"http://elsewhere.example/api/v1/tools",
    b"ftp://localhost/api/v1/tools",
    b"http://[::1/api/v1/tools",
    b"http://localhost:99999999/api/v1/tools",
    b"localhost:80",
    b"/\xff\xfe",
    b"/\xe2\x80\xae",
    b"/" + b"a" * 8_000,
    b"/" + b"a" * 100_000,
    b"/api/v1/tools/" + b"%41" * 2_500,
    b"/api/v1/tools/" + b"1" * 8_000,
    b"/api/v1/tools?" + b"limit=1&" * 900,
    b"/api/v1/tools?offset=" + b"9" * 8_000,
    b"/admin/%00",
    b"/admin/login/?next=%00",
    b"/admin/\xff",
    b"/health%00",
    b"/health/",
]


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "OPTIONS"])
def test_targets(server: Server, api: Api, method: str) -> None:
    for target in TARGETS:
        received = server.send(request(method, target, key=api.key))
        assert_no_server_error(received)
        assert b"root:" not in received
        assert b"DJANGO_SETTINGS_MODULE" not in received


METHODS = [
    "get",
    "post",
    "Get",
    "TRACE",
    "CONNECT",
    "PROPFIND",
    "X" * 1_000,
    "G\0T",
    "é",
    "",
    "GET GET",
]


@pytest.mark.parametrize("method", METHODS)
def test_methods(server: Server, api: Api, method: str) -> None:
    for path in ("/api/v1/tools", "/health", "/", "/admin/login/", "*"):
        sent = request(method, path, key=api.key, headers=[JSON], body=TOOL)
        received = server.send(sent)
        assert_no_server_error(received)
        assert all(status >= 400 or status == 302 for status in statuses(received))


LENGTHS = [
    [b"Content-Length: -1"],
    [b"Content-Length: +5"],
    [b"Content-Length: 5_0"],
    [b"Content-Length: 0x5"],
    [b"Content-Length: 1.0"],
    [b"Content-Length: "],
    [b"Content-Length: abc"],
    [b"Content-Length: " + b"9" * 100],
    [b"Content-Length: " + b"9" * 5_000],
    [b"Content-Length: \xd9\xa1"],
    [b"Content-Length: 5", b"Content-Length: 39"],
    [b"Content-Length: 39, 39"],
    [b"Content-Length: 39", b"Transfer-Encoding: chunked"],
    [b"Transfer-Encoding: chunked, chunked"],
    [b"Transfer-Encoding: gzip"],
    [b"Transfer-Encoding: gzip, chunked"],
    [b"Transfer-Encoding: xchunked"],
    [b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity"],
    [b"Transfer-Encoding : chunked"],
    [b"Transfer-Encoding:\x0bchunked"],
]


@pytest.mark.parametrize("headers", LENGTHS, ids=lambda headers: repr(headers)[:60])
def test_invalid_lengths(server: Server, api: Api, headers: list[bytes]) -> None:
    """The bytes after the request are never handled as another request of the same caller."""
    smuggled = request("POST", "/api/v1/tools", key=api.key, headers=[JSON], body=TOOL)
    sent = request("POST", "/nowhere", headers=headers).replace(b"Connection: close\r\n", b"")
    received = server.send(sent + b"0\r\n\r\n" + smuggled)
    assert_no_server_error(received)


@pytest.mark.parametrize("length", [1, 38, 40, 1_000, 1024 * 1024, 1024 * 1024 + 1, 10**12])
def test_wrong_lengths(server: Server, length: int) -> None:
    """A length that is too small cuts the body; one that is too large waits for missing bytes."""
    api = api_of(TenantFactory.create())
    headers = [JSON, b"Content-Length: %d" % length]
    received = server.send(request("POST", "/api/v1/tools", key=api.key, headers=headers), TOOL)
    assert_no_server_error(received)
    assert api.get("tools").json["total"] == 0


CHUNKS = [
    b"zz\r\n{}\r\n0\r\n\r\n",
    b"-2\r\n{}\r\n0\r\n\r\n",
    b"0x2\r\n{}\r\n0\r\n\r\n",
    b"2;\r\n{}\r\n0\r\n\r\n",
    b"2;" + b"x" * 100_000 + b"\r\n{}\r\n0\r\n\r\n",
    b"2\n{}\n0\n\n",
    b"f" * 16 + b"\r\n{}\r\n0\r\n\r\n",
    b"f" * 5_000 + b"\r\n{}\r\n0\r\n\r\n",
    b"2\r\n{}0\r\n\r\n",
    b"1\r\n{}\r\n0\r\n\r\n",
    b"0\r\n" + b"T: x\r\n" * 10_000 + b"\r\n",
    b"0\r\nContent-Length: 5\r\n\r\n",
    b"2\r\n{}\r\n",
    b"1\r\n{\r\n" * 20_000,
    b"",
    b"\0",
]


@pytest.mark.parametrize("body", CHUNKS, ids=lambda body: repr(body[:20]))
def test_chunks(server: Server, api: Api, body: bytes) -> None:
    headers = [JSON, b"Transfer-Encoding: chunked"]
    sent = request("POST", "/api/v1/tools", key=api.key, headers=headers)
    assert_no_server_error(server.send(sent, body))


HEADERS = [
    [b"A: " + b"x" * 40_000],
    [b"A: " + b"x" * 1_000_000],
    [b"X-%d: y" % n for n in range(99)],
    [b"X-%d: y" % n for n in range(1_000)],
    [b"A" * 10_000 + b": x"],
    [b": x"],
    [b"A"],
    [b"A B: x"],
    [b"A: x", b" folded"],
    [b"A\0: x"],
    [b"A: \0"],
    [b"A: x\ry"],
    [b"A: x\ny"],
    [b"\xff: x"],
    [b"Host: elsewhere.example"],
    [b"Host: localhost"],
    [b"Host: "],
    [b"X-API-KEY: a", b"X-API-KEY: b"],
    [b"X-API-KEY: " + b"k" * 30_000],
    [b"Authorization: Bearer"],
    [b"Authorization: Bearer " + b" " * 30_000],
    [b"Authorization: " + b"\xff" * 100],
    [b"Cookie: " + b"a=b; " * 6_000],
    [b"Cookie: sessionid=" + b"x" * 30_000],
    [b"X-Request-ID: " + b"x" * 30_000],
    [
        b"X-Forwarded-Proto: https",
        b"X-Forwarded-Host: elsewhere.example",
        b"X-Forwarded-For: 1.2.3.4",
    ],
    [b"Expect: 100-continue"],
    [b"Expect: 200-ok"],
    [b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQAAP__", b"Connection: Upgrade, HTTP2-Settings"],
    [b"Upgrade: websocket", b"Connection: Upgrade"],
    [b"Connection: " + b"keep-alive, " * 2_000],
    [b"Range: bytes=0-0," * 1_000],
    [b"Accept-Encoding: " + b"gzip;q=0.1, " * 2_000],
    [b"Accept-Language: " + b"en-" * 5_000],
    [b"Content-Type: " + b"a/b; " * 5_000],
    [b"Content-Encoding: gzip"],
]


@pytest.mark.parametrize("headers", HEADERS, ids=lambda headers: repr(headers[0][:40]))
def test_header_fields(server: Server, headers: list[bytes]) -> None:
    for path in ("/api/v1/tools", "/health", "/docs", "/admin/login/"):
        assert_no_server_error(server.send(request("GET", path, headers=headers)))
    assert_no_server_error(
        server.send(
            request("POST", "/admin/login/", headers=headers, body=b"username=a&password=\0")
        )
    )


LINES = [
    b"GET /live\r\n\r\n",
    b"GET /live HTTP/0.9\r\n\r\n",
    b"GET /live HTTP/1.0\r\n\r\n",
    b"GET /live HTTP/1.9\r\nHost: localhost\r\n\r\n",
    b"GET /live HTTP/2.0\r\nHost: localhost\r\n\r\n",
    b"GET /live HTTP/11\r\nHost: localhost\r\n\r\n",
    b"GET /live HTTP/1.1\r\n\r\n",
    b"GET /live http/1.1\r\nHost: localhost\r\n\r\n",
    b"GET  /live  HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET\t/live\tHTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /live HTTP/1.1\nHost: localhost\n\n",
    b"\r\n\r\n\r\nGET /live HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0" * 100,
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 500,
    b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\nGET /live HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"*1\r\n$4\r\nPING\r\n",
    b"\0",
    b"\r\n" * 10_000,
    b"A" * 1_000_000,
]


@pytest.mark.parametrize("sent", LINES, ids=lambda sent: repr(sent[:30]))
def test_first_lines(server: Server, sent: bytes) -> None:
    assert_no_server_error(server.send(sent))


def test_pipelined(server: Server, api: Api) -> None:
    """Each request gets its own response, in order and after errors too."""
    assert api.key
    requests = [
        request("GET", path, key=api.key).replace(b"Connection: close\r\n", b"")
        for path in (
            "/api/v1/tools",
            "/nowhere",
            "/api/v1/tools/x",
            "/api/v1/tools?limit=0",
            "/live",
        )
    ]
    received = server.send(*requests, request("GET", "/live"), end=False)
    assert statuses(received) == [200, 404, 404, 400, 200, 200]
    received = server.send(b"".join([*requests, request("GET", "/live")]), end=False)
    assert statuses(received) == [200, 404, 404, 400, 200, 200]


def test_clients_that_disconnect(server: Server, api: Api) -> None:
    """Clients that close the connection during the request or the response."""
    assert api.key
    for n in range(100):
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(request("GET", "/schema", key=api.key)[: 1000 if n % 2 else 30])
            if n % 3 == 0:
                linger = b"\x01\0\0\0\0\0\0\0"
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)


def test_idle_connections(server: Server, live_api: LiveApi) -> None:
    """A few of them delay no request. test_stalled_clients.py opens many."""
    with ExitStack() as stack:
        for _ in range(6):
            stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
        api = LiveApi(server.port, live_api.key)
        for response, seconds in at_once([timed(partial(api.get, "/live"))] * 8):
            assert response.status == 200
            assert seconds < 4


def test_slow_clients(server: Server, api: Api) -> None:
    """A request that arrives byte by byte is served."""
    assert api.key
    sent = request("GET", "/api/v1/tools", key=api.key)
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        for n in range(len(sent)):
            connection.sendall(sent[n : n + 1])
            time.sleep(0.002)
        assert connection.recv(100).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    "content_type", [b"application/json", b"text/plain", b"multipart/form-data", b""]
)
def test_unexpected_bodies(server: Server, api: Api, content_type: bytes) -> None:
    header = [b"Content-Type: " + content_type]
    for method in ("GET", "DELETE", "HEAD", "OPTIONS"):
        for path in ("/api/v1/tools", "/api/v1/history/x", "/health", "/docs"):
            for body in (TOOL, b"\xff" * 5_000, chunked(TOOL)):
                sent = request(method, path, key=api.key, headers=header, body=body)
                assert_no_server_error(server.send(sent))
