"""deploy/nginx.conf in a real nginx, in front of the API and of a server that reports what it receives."""

import http.client
import json
import shutil
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from django.conf import settings

from tests.api import Answer, LiveApi
from tests.compose.proxy import HOST, Proxy, nginx
from tests.conftest import api_of
from tests.factories import TenantFactory
from tests.live import free_port, serving

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("nginx") is None, reason="requires nginx"),
]
# What a client may send to look like another one, or like a client of another host.
FORGED = {
    "X-Forwarded-For": "203.0.113.9",
    "X-Forwarded-Proto": "http",
    "X-Forwarded-Host": "other.example.com",
    "X-Forwarded-Port": "80",
    "X-Real-IP": "203.0.113.9",
    "Forwarded": "for=203.0.113.9;proto=http;host=other.example.com",
}


class Upstream(ThreadingHTTPServer):
    """Sends a first event, and after `release` the headers that it has received."""

    release: threading.Event


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Upstream

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        self.wfile.write(b"data: first\n\n")
        self.server.release.wait(20)
        self.wfile.write(json.dumps([(k.lower(), v) for k, v in self.headers.items()]).encode())
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream(("127.0.0.1", 0), _Handler) as server:
        server.release = threading.Event()
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def before_upstream(upstream: Upstream) -> Iterator[Proxy]:
    with nginx(upstream.server_port) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def before_api() -> Iterator[Proxy]:
    secure = {"HTTPS": "1", "ALLOWED_HOSTS": f"{HOST},127.0.0.1"}
    secure["SECRETS_KEYS"] = ",".join(settings.SECRETS_KEYS)
    with serving(**secure) as port, nginx(port) as proxy:
        yield proxy


def connect(proxy: Proxy) -> http.client.HTTPSConnection:
    context = ssl.create_default_context(cafile=str(proxy.certificate))
    # The certificate is for HOST, and nginx listens on loopback.
    context.check_hostname = False
    return http.client.HTTPSConnection("127.0.0.1", proxy.https_port, context=context, timeout=30)


def call(proxy: Proxy, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
    connection = connect(proxy)
    try:
        connection.request(method, path, body, {"Host": HOST, **headers})
        response = connection.getresponse()
        received = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, received, response.read())
    finally:
        connection.close()


@pytest.mark.parametrize("path", ["/api/v1/agents/1/run", "/v1/responses", "/mcp"])
def test_events_arrive_when_they_are_sent(
    before_upstream: Proxy, upstream: Upstream, path: str
) -> None:
    upstream.release.clear()
    connection = connect(before_upstream)
    connection.request("GET", path, headers={"Host": HOST})
    response = connection.getresponse()
    assert response.read1(100) == b"data: first\n\n"
    upstream.release.set()
    assert response.read()
    connection.close()


@pytest.mark.parametrize("path", ["/api/v1/tools", "/admin/"])
def test_clients_cannot_forge_the_headers_of_a_proxy(
    before_upstream: Proxy, upstream: Upstream, path: str
) -> None:
    upstream.release.set()
    answer = call(before_upstream, "GET", path, None, **FORGED)
    received = json.loads(answer.content.removeprefix(b"data: first\n\n"))
    assert len(received) == len(dict(received))
    headers = dict(received)
    assert headers["host"] == HOST
    assert headers["x-forwarded-for"] == "127.0.0.1"
    assert headers["x-forwarded-proto"] == "https"
    assert not headers.keys() & {"x-forwarded-host", "x-forwarded-port", "x-real-ip", "forwarded"}


def test_http_is_redirected(before_upstream: Proxy) -> None:
    api = LiveApi(before_upstream.http_port)
    answer = api.get("/api/v1/tools?limit=1", headers={"Host": HOST})
    assert answer.status == 308
    assert answer.headers["location"] == f"https://{HOST}/api/v1/tools?limit=1"


def test_the_api_behind_it(before_api: Proxy) -> None:
    key = api_of(TenantFactory.create()).key
    assert key
    answer = call(before_api, "GET", "/api/v1/tools", None, **{"X-API-KEY": key}, **FORGED)
    assert answer.status == 200
    # A year, for this host alone: a subdomain can be another service, which has no TLS.
    assert answer.headers["strict-transport-security"] == "max-age=31536000"
    assert call(before_api, "GET", "/admin/login/").status == 200


def test_errors_are_in_the_format_of_the_api(before_api: Proxy) -> None:
    mebibyte = 1024**2
    for size in (mebibyte + 1, 3 * mebibyte):
        answer = call(before_api, "POST", "/api/v1/tools", b"x" * size)
        assert (answer.status, answer.error_code) == (413, "REQUEST_TOO_LARGE")
        assert answer.details == {"max_bytes": mebibyte}
    # A header field that the API accepts, and nginx by default not.
    answer = call(before_api, "GET", "/api/v1/tools", Long="x" * 30_000)
    assert (answer.status, answer.error_code) == (401, "MISSING_API_KEY")


def test_an_api_that_does_not_run() -> None:
    with nginx(free_port()) as proxy:
        answer = call(proxy, "GET", "/api/v1/tools")
    assert (answer.status, answer.error_code) == (503, "SERVICE_UNAVAILABLE")
    assert answer.headers["retry-after"] == "1"
