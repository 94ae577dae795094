"""Outbound requests of tools: the address guard, and the limits against hostile servers.

The servers are real and run in another process; a resolver of the test answers name look-ups.
"""

import ast
import gc
import ipaddress
import json
import os
import resource
import socket
import ssl
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.conf import LazySettings

from tests.certificates import write_certificate
from tests.hostile_urls import HOSTILE, RESOLVED, resolve_names
from tests.tool_server import tool_server
from tools import outbound
from tools.errors import ToolServerError
from tools.imports import import_serializer
from tools.invokers import CallableTool, ConfigError, ToolResult, call, http_config, mcp
from tools.outbound import network, transport


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with tool_server() as found:
        yield found


@pytest.fixture
def loopback(settings: LazySettings) -> None:
    """Allow tools to reach this machine."""
    settings.TOOL_ALLOWED_NETWORKS = (ipaddress.ip_network("127.0.0.1/32"),)


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The look-ups of names, which are resolved from a table."""
    return resolve_names(monkeypatch)


def tool(url: str, **config: Any) -> CallableTool:
    """Return a tool with a valid configuration. Raises ConfigError."""
    config = http_config.validate_config(
        {"method": "GET", "timeout_seconds": 5, **config, "url": url}
    )
    parameters = {"type": "object", "properties": {}}
    return CallableTool(uuid.uuid4(), "t", "d", parameters, "http", config, "")


def get(url: str, arguments: str = "{}", seconds: float = 5, **config: Any) -> ToolResult:
    return call(tool(url, **config), arguments, deadline=time.monotonic() + seconds)


def http_failure(url: str) -> tuple[str | None, str]:
    """Call a tool and return the code and the text of its error. Raises ConfigError."""
    result = get(url)
    return result.error, result.text


def mcp_failure(url: str) -> tuple[str | None, str]:
    config = mcp.validate_config({"url": url, "tool": "t"})
    parameters = {"type": "object", "properties": {}}
    tool = CallableTool(uuid.uuid4(), "t", "d", parameters, "mcp", config, "")
    result = call(tool, "{}", deadline=time.monotonic() + 5)
    return result.error, result.text


def import_failure(url: str, kind: str = "mcp") -> tuple[str | None, str]:
    serializer = import_serializer({"kind": kind})(data={"kind": kind, "url": url})
    if not serializer.is_valid():
        assert list(serializer.errors) == ["url"]
        raise ConfigError([])
    with pytest.raises(ToolServerError) as failure:
        serializer.candidates()
    return failure.value.details["reason"], failure.value.details["text"]


def openapi_failure(url: str) -> tuple[str | None, str]:
    return import_failure(url, "openapi")


@pytest.mark.parametrize("failure", [http_failure, mcp_failure, import_failure, openapi_failure])
@pytest.mark.parametrize("url", HOSTILE)
def test_a_call_does_not_connect_to_a_hostile_url(
    url: str,
    failure: Callable[[str], tuple[str | None, str]],
    port: int,
    names: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reached: list[object] = []
    monkeypatch.setattr(socket.socket, "connect", lambda _, address: reached.append(address))
    url = url.replace("PORT", str(port))
    try:
        error, text = failure(url)
    except ConfigError:
        pass  # the tool cannot be saved
    else:
        assert error in {"refused", "unreachable"}, text
        assert "127.0.0.1" not in text
    assert reached == []


@pytest.mark.parametrize("host", ["a..b", "a" * 64, "256.1.1.1", "a b", "a,b"])
def test_a_stored_url_that_is_not_valid_is_a_clear_error(
    host: str, caplog: pytest.LogCaptureFixture
) -> None:
    stored = tool("http://a.example/")
    config = {**stored.config, "url": f"http://{host}/"}
    result = call(replace(stored, config=config), "{}", deadline=time.monotonic() + 5)
    assert result.error == "bad_request"
    assert "The URL of the tool is not valid" in result.text
    assert not caplog.records


def test_the_table_has_no_duplicates() -> None:
    assert len(HOSTILE) == len(set(HOSTILE)) >= 40


def test_a_public_address_is_connected_to_as_it_was_resolved(
    names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    reached: list[object] = []

    def connect(_: object, address: object) -> None:
        reached.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket.socket, "connect", connect)
    assert get("http://public.test:8080/").error == "unreachable"
    assert (reached, names) == ([("93.184.215.14", 8080)], ["public.test"])


@pytest.mark.usefixtures("loopback")
def test_a_name_is_looked_up_once(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """DNS rebinding: the second answer, which leads to another address, is not used."""
    answers = [["127.0.0.1"], ["127.0.0.2"], ["10.0.0.1"]]

    def look_up(host: str, port: int, **_: object) -> list[Any]:
        return [(2, 1, 6, "", (text, port)) for text in answers.pop(0)]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    result = get(f"http://rebinding.test:{port}/echo")
    assert result.error is None, result
    assert json.loads(result.text)["headers"]["host"] == f"rebinding.test:{port}"
    assert len(answers) == 2


@pytest.mark.usefixtures("loopback")
def test_every_address_of_a_name_must_be_allowed(
    port: int, names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(RESOLVED, "both.test", ["127.0.0.1", "127.0.0.2"])
    assert get(f"http://both.test:{port}/").error == "refused"
    monkeypatch.setitem(RESOLVED, "both.test", ["127.0.0.1"])
    assert get(f"http://both.test:{port}/").error is None


@pytest.mark.usefixtures("loopback")
def test_the_next_address_is_tried_if_the_first_refuses(
    port: int, names: list[str], settings: LazySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.TOOL_ALLOWED_NETWORKS = (ipaddress.ip_network("127.0.0.0/8"),)
    monkeypatch.setitem(RESOLVED, "two.test", ["127.0.0.9", "127.0.0.1"])
    assert get(f"http://two.test:{port}/").error is None


def test_allowed_networks_are_reached(port: int, settings: LazySettings) -> None:
    url = f"http://127.0.0.1:{port}/"
    assert get(url).error == "refused"
    settings.TOOL_ALLOWED_NETWORKS = (ipaddress.ip_network("127.0.0.2/32"),)
    assert get(url).error == "refused"
    settings.TOOL_ALLOWED_NETWORKS = (ipaddress.ip_network("127.0.0.0/8"),)
    assert get(url).error is None
    # The setting does not extend to the same address embedded in 6to4.
    assert get(f"http://[2002:7f00:1::]:{port}/").error == "refused"


@pytest.mark.usefixtures("loopback")
@pytest.mark.parametrize("to", ["http://127.0.0.1:PORT/echo", "/echo", "http://10.0.0.1/"])
def test_redirects_are_not_followed(port: int, to: str) -> None:
    result = get(f"http://127.0.0.1:{port}/redirect?to={to.replace('PORT', str(port))}")
    assert result.error == "http_302"
    assert "not followed" in result.text


@pytest.mark.usefixtures("loopback")
def test_proxy_and_netrc_of_the_environment_are_not_used(
    port: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in (
        "http_proxy",
        "HTTP_PROXY",
        "https_proxy",
        "HTTPS_PROXY",
        "all_proxy",
        "ALL_PROXY",
    ):
        monkeypatch.setenv(name, "http://127.0.0.1:1/")
    (tmp_path / ".netrc").write_text("default login user password secret")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    result = get(f"http://127.0.0.1:{port}/echo")
    assert result.error is None
    assert "authorization" not in json.loads(result.text)["headers"]


@pytest.mark.usefixtures("loopback")
@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("slow?seconds=20", "timeout"),
        ("drip", "timeout"),
        ("drip_headers", "timeout"),
        ("headers", "bad_answer"),
        ("line", "bad_answer"),
        ("continue", "bad_answer"),
        ("chunks", "bad_answer"),
        ("tiny_chunks", "bad_answer"),
        ("gzip", "bad_answer"),
        ("garbage", "bad_answer"),
        ("truncated", "bad_answer"),
        ("nothing", "bad_answer"),
        ("image", "not_text"),
    ],
)
def test_a_hostile_server_costs_little_time_and_memory(port: int, path: str, error: str) -> None:
    started, memory = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    timeout_seconds = 1 if error == "timeout" else 10
    result = get(f"http://127.0.0.1:{port}/{path}", timeout_seconds=timeout_seconds)
    assert result.error == error, result
    assert time.monotonic() - started < 8
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 20_000  # KiB


@pytest.mark.usefixtures("loopback")
def test_only_the_beginning_of_ten_gigabytes_is_read(port: int) -> None:
    started, memory = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    result = get(f"http://127.0.0.1:{port}/big")
    assert result.error is None
    assert result.text.startswith("x" * 65536 + "\n[cut here")
    assert time.monotonic() - started < 3
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 20_000


@pytest.mark.usefixtures("loopback")
def test_the_deadline_of_the_caller_limits_the_timeout_of_the_tool(port: int) -> None:
    started = time.monotonic()
    assert get(f"http://127.0.0.1:{port}/drip", seconds=0.5, timeout_seconds=60).error == "timeout"
    assert time.monotonic() - started < 2
    assert get(f"http://127.0.0.1:{port}/echo", seconds=-1).error == "timeout"


def test_a_look_up_that_hangs_ends_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: released.wait(20) and [])
    started = time.monotonic()
    assert get("http://hanging.test/", seconds=0.5).error == "timeout"
    assert time.monotonic() - started < 2
    released.set()


def test_look_ups_that_hang_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()
    monkeypatch.setattr(network, "lookup_permits", threading.BoundedSemaphore(2))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: released.wait(20) and [])
    before = threading.active_count()
    for _ in range(5):
        assert get("http://hanging.test/", seconds=0.2).error == "timeout"
    assert threading.active_count() - before <= 2
    released.set()
    # A permit is free again once a look-up ends.
    assert get("http://hanging.test/", seconds=5).error == "unreachable"


@pytest.mark.usefixtures("loopback")
def test_a_request_to_a_server_that_does_not_read_ends_at_the_deadline() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=1) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        started = time.monotonic()
        result = get(
            f"http://127.0.0.1:{server.getsockname()[1]}/",
            json.dumps({"text": "x" * 60_000}),
            method="POST",
            timeout_seconds=1,
        )
    assert result.error == "timeout"
    assert time.monotonic() - started < 3


@pytest.mark.usefixtures("loopback")
def test_a_refused_connection_is_unreachable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert get(f"http://127.0.0.1:{port}/").error == "unreachable"


@pytest.mark.usefixtures("loopback")
def test_no_socket_is_left_open(port: int) -> None:
    gc.collect()
    before = len(list(Path("/proc/self/fd").iterdir()))
    for path in ("echo", "drip", "garbage", "big", "gzip"):
        get(f"http://127.0.0.1:{port}/{path}", seconds=0.5)
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 1


@pytest.mark.parametrize(
    "arguments",
    ['{"a": "1\\r\\nX-Evil: 1"}', '{"a": "x HTTP/1.1\\r\\nHost: evil"}', '{"a": "\\u0000#?&=/"}'],
)
@pytest.mark.parametrize("path", ["{a}", "?b={a}", "", "x?b=c"])
@pytest.mark.usefixtures("loopback")
def test_no_argument_changes_the_rest_of_the_request(port: int, arguments: str, path: str) -> None:
    result = get(f"http://127.0.0.1:{port}/echo/{path}", arguments)
    if result.error == "bad_arguments":
        assert "\\u0000" in arguments
        return
    request = json.loads(result.text)
    assert set(request["headers"]) == {
        *("host", "connection", "accept-encoding", "user-agent", "accept"),
    }
    assert request["headers"]["host"] == f"127.0.0.1:{port}"
    assert not set(request["path"].partition("echo")[2]) & set("\r\n\0# ")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a self-signed certificate for `tool.test`, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    write_certificate("tool.test", folder / "cert.pem", folder / "key.pem")
    return folder


class TestTls:
    """HTTPS, with a certificate authority of the test."""

    @pytest.fixture
    def tls_port(self, certificates: Path) -> Iterator[int]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificates / "cert.pem", certificates / "key.pem")
        server_names: list[str | None] = []
        context.sni_callback = lambda _, name, __: server_names.append(name)
        with socket.create_server(("127.0.0.1", 0)) as server:

            def serve() -> None:
                connection, _ = server.accept()
                try:
                    with context.wrap_socket(connection, server_side=True) as stream:
                        stream.recv(65536)
                        text = f"{server_names}".encode()
                        head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(text)
                        stream.sendall(head + text)
                except OSError:
                    connection.close()

            thread = threading.Thread(target=serve, daemon=True)
            thread.start()
            yield server.getsockname()[1]

    @pytest.fixture(autouse=True)
    def _resolved(
        self, loopback: None, names: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> Iterator[None]:
        for name in ("tool.test", "other.test"):
            monkeypatch.setitem(RESOLVED, name, ["127.0.0.1"])
        transport.tls_context.cache_clear()
        yield
        transport.tls_context.cache_clear()

    @pytest.fixture
    def _trusted(self, certificates: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificates / "cert.pem"))

    @pytest.mark.usefixtures("_trusted")
    def test_the_name_is_sent_and_verified(self, tls_port: int) -> None:
        result = get(f"https://tool.test:{tls_port}/")
        assert (result.error, result.text) == (None, "['tool.test']")

    @pytest.mark.usefixtures("_trusted")
    def test_a_certificate_for_another_name_is_refused(self, tls_port: int) -> None:
        result = get(f"https://other.test:{tls_port}/")
        assert result.error == "tls_failed"
        assert "certificate" in result.text

    def test_an_unknown_authority_is_refused(self, tls_port: int) -> None:
        assert get(f"https://tool.test:{tls_port}/").error == "tls_failed"

    def test_a_server_without_tls_is_an_error(self, port: int) -> None:
        assert get(f"https://tool.test:{port}/").error == "tls_failed"

    def test_a_handshake_that_hangs_ends_in_time(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            started = time.monotonic()
            url = f"https://tool.test:{server.getsockname()[1]}/"
            assert get(url, timeout_seconds=1).error == "timeout"
            assert time.monotonic() - started < 3


_GEVENT = """
from gevent import monkey; monkey.patch_all()
import socket, sys, time
import django, gevent
django.setup()
from tools.outbound import Origin, OutboundError, send

def request(host):
    try:
        return send(
            Origin("http", host, int(sys.argv[1])), method="GET", path="/slow?seconds=1", headers=[],
            body=b"", max_bytes=100, deadline=time.monotonic() + 10,
        ).body
    except OutboundError as error:
        return error.code

started = time.monotonic()
requests = [gevent.spawn(request, "127.0.0.1") for _ in range(40)]
assert {request.get() for request in requests} == {b"at last"}
assert time.monotonic() - started < 20
"""


def test_under_gevent_requests_wait_at_the_same_time(port: int) -> None:
    """The server runs in gevent's worker: one after another, the requests would take 40 s."""
    environment = {**os.environ, "TOOL_ALLOWED_NETWORKS": "127.0.0.1/32"}
    subprocess.run([sys.executable, "-c", _GEVENT, str(port)], env=environment, check=True)


_GEVENT_NAMES = """
from gevent import monkey; monkey.patch_all()
import time
import django
django.setup()
from tools.outbound import Origin, OutboundError, send

for host in ("a..b", ".a", "a" * 64):
    try:
        send(
            Origin("http", host, 80), method="GET", path="/", headers=[], body=b"", max_bytes=100,
            deadline=time.monotonic() + 10,
        )
    except OutboundError as error:
        print(error.code)
"""


def test_under_gevent_an_invalid_name_leaves_no_traceback() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", _GEVENT_NAMES], capture_output=True, text=True, check=True
    )
    assert ended.stderr == ""
    assert ended.stdout.split() == ["unreachable"] * 3


# Modules with which connections can be opened.
OPENERS = {
    *("socket", "ssl", "socketserver", "asyncio", "http.client", "http.server", "urllib.request"),
    *("ftplib", "imaplib", "poplib", "smtplib", "telnetlib", "xmlrpc", "multiprocessing"),
    *("httpx2", "httpcore2", "httpx", "httpcore", "urllib3", "requests", "aiohttp", "websockets"),
    *("openai", "anthropic", "redis", "psycopg"),
}
# The other modules that import one of these, and what they use of it.
OTHER_OPENERS = {
    # Providers: their SDKs send requests with the client in `http.py`, whose transport is the outbound one.
    "agents/base_urls.py": "httpx2.URL, to parse",
    "executions/providers/anthropic/__init__.py": "the SDK",
    "executions/providers/anthropic/output_schemas.py": "the SDK's conversion of schemas",
    "executions/providers/http.py": "the client of the SDKs, on OutboundTransport",
    "executions/providers/openai/__init__.py": "the SDK",
    "executions/providers/openai/completions.py": "the SDK's types",
    "executions/providers/openai/requests.py": "httpx2.URL, to parse",
    "executions/providers/openai/stream.py": "the SDK's types",
    # PostgreSQL and Redis, the servers in the settings.
    "executions/events/notices.py": "Redis, for notices of events",
    "executions/events/open_streams.py": "Redis, for notices of events",
    "executions/inserts.py": "psycopg.errors",
    "map_project/api/views.py": "Redis, for /health",
    "map_project/environment.py": "redis.exceptions, and ssl, to check SSL_CERT_FILE",
    "map_project/postgresql/base.py": "the database backend",
    "map_project/settings.py": "the client of Redis",
    "ratelimit/limiter.py": "Redis, for the limiter",
    # This machine.
    "executions/jobs/leases.py": "socket.gethostname",
    "executions/jobs/readiness.py": "http.server, for the probes of a worker",
    "executions/jobs/tasks.py": "asyncio, to run threads",
    "executions/jobs/worker.py": "asyncio, to run threads",
    "map_project/embedded/management/commands/up.py": "the port of the server that it starts",
    "map_project/embedded/ports.py": "free ports of this machine",
    "map_project/embedded/redis.py": "the embedded Redis, through its Unix socket",
}


def imported_names(source: str) -> Iterator[str]:
    """Yield the names that a module imports, wherever the statement is."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def opens_connections(source: str) -> bool:
    names = [f"{name}." for name in imported_names(source)]
    return any(name.startswith(f"{opener}.") for name in names for opener in OPENERS)


@pytest.mark.parametrize(
    "source",
    [
        *("import socket", "import os, socket as s", "from socket import create_connection"),
        *("from urllib import request", "import urllib.request", "from http import client"),
        "def f():\n    if True:\n        from http.client import HTTPConnection",
    ],
)
def test_an_import_is_found(source: str) -> None:
    assert opens_connections(source)
    assert not opens_connections("import os\nfrom urllib.parse import quote\nimport sockets")


def test_only_the_outbound_package_opens_connections() -> None:
    root = Path(outbound.__file__).parents[2]
    openers = {
        str(path.relative_to(root))
        for package in ("map_project", "tools", "agents", "executions", "ratelimit")
        for path in (root / package).rglob("*.py")
        if opens_connections(path.read_text())
    }
    outside = {path for path in openers if not path.startswith("tools/outbound/")}
    assert outside == OTHER_OPENERS.keys()
    assert outside < openers
