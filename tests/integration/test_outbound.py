"""Outbound requests of tools: the address guard, and the limits against hostile servers.

The servers are real and run in another process; a resolver of the test answers name look-ups.
"""

import gc
import ipaddress
import json
import os
import re
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
from tests.tool_server import tool_server
from tools import outbound
from tools.errors import ToolServerError
from tools.imports import import_serializer
from tools.invokers import CallableTool, ConfigError, ToolResult, call, http_config, mcp
from tools.outbound import network, transport

# PORT is the port of a server on loopback that must not be reached.
HOSTILE = [
    # Loopback in its notations, some of which only the C library accepts.
    "http://127.0.0.1:PORT/",
    "http://127.1:PORT/",
    "http://127.0.1:PORT/",
    "http://2130706433:PORT/",
    "http://0x7f000001:PORT/",
    "http://0x7f.0.0.1:PORT/",
    "http://0x7F.1:PORT/",
    "http://017700000001:PORT/",
    "http://0177.0.0.1:PORT/",
    "http://0177.0.0.01:PORT/",
    "http://127.0.0.1.:PORT/",
    "http://127.000.000.001:PORT/",
    "http://0:PORT/",
    "http://0.0.0.0:PORT/",
    "http://127.255.255.254:PORT/",
    "http://localhost:PORT/",
    "http://LOCALHOST:PORT/",
    "http://localhost.:PORT/",
    # Non-ASCII characters: full-width digits, circled ones, ideographic full stops.
    "http://\uff11\uff12\uff17.\uff10.\uff10.\uff11:PORT/",
    "http://①②⑦.⓪.⓪.①:PORT/",
    "http://127。0。0。1:PORT/",
    "http://ⓛocalhost:PORT/",
    "http://\u0661\u0662\u0667.\u0660.\u0660.\u0661:PORT/",
    # IPv6, and IPv4 embedded in it.
    "http://[::1]:PORT/",
    "http://[0:0:0:0:0:0:0:1]:PORT/",
    "http://[::]:PORT/",
    "http://[::ffff:127.0.0.1]:PORT/",
    "http://[::ffff:7f00:1]:PORT/",
    "http://[::ffff:0:127.0.0.1]:PORT/",
    "http://[::127.0.0.1]:PORT/",
    "http://[64:ff9b::127.0.0.1]:PORT/",
    "http://[64:ff9b::7f00:1]:PORT/",
    "http://[64:ff9b:1::7f00:1]:PORT/",
    "http://[2002:7f00:1::]:PORT/",
    "http://[2001:0:7f00:1::]:PORT/",
    "http://[fe80::1]:PORT/",
    "http://[fe80::1%25lo]:PORT/",
    "http://[::1%25lo]:PORT/",
    "http://[fc00::1]:PORT/",
    "http://[fd00:ec2::254]/latest/meta-data",
    "http://[ff02::1]:PORT/",
    "http://[2001:db8::1]:PORT/",
    "http://[100::1]:PORT/",
    "http://[fec0::1]:PORT/",
    "http://[::1]evil.example:PORT/",
    "http://::1:PORT/",
    # Private, metadata and other special-purpose addresses.
    "http://10.0.0.1/",
    "http://172.16.0.1/",
    "http://172.31.255.255/",
    "http://192.168.1.1/",
    "http://169.254.169.254/latest/meta-data/iam",
    "http://169.254.170.2/",
    "http://100.100.100.200/",
    "http://168.63.129.16/",
    "http://192.0.0.192/",
    "http://100.64.0.1/",
    "http://198.18.0.1/",
    "http://192.0.2.1/",
    "http://203.0.113.5/",
    "http://224.0.0.1/",
    "http://240.0.0.1/",
    "http://255.255.255.255/",
    "https://10.0.0.1/",
    # URLs whose host differs between parsers.
    "http://user@127.0.0.1:PORT/",
    "http://user:password@public.test:PORT/",
    "http://public.test@127.0.0.1:PORT/",
    "http://public.test%40127.0.0.1:PORT/",
    "http://public.test:80@127.0.0.1:PORT/",
    "http://public.test:80:PORT/",
    "http://127.0.0.1:PORT\\@public.test/",
    "http://public.test\\.127.0.0.1:PORT/",
    "http://127.0.0.1:PORT#@public.test/",
    "http://127.0.0.1:PORT?@public.test/",
    "http:///127.0.0.1:PORT/",
    "http:127.0.0.1:PORT/",
    "//127.0.0.1:PORT/",
    "http://127.0.0.1%00.public.test:PORT/",
    "http://127.0.0.1\x00.public.test:PORT/",
    "http://127.0.0.1:PORT\r\nHost: public.test/",
    "http://127.0.0.1\t:PORT/",
    " http://127.0.0.1:PORT/",
    "http://public.test:0/",
    "http://public.test:65536/",
    "http://public.test:-1/",
    "http://public.test:8e1/",
    "http://public.test:/",
    "http://:PORT/",
    "http://.public.test/",
    "http://a..test/",
    "http://-/",
    "http://" + "a" * 64 + ".test/",
    "http://" + "a." * 127 + "test/",
    "http://{host}:PORT/",
    "http://{{secret.host}}:PORT/",
    "http://public.test:{port}/",
    "{scheme}://public.test/",
    # Other schemes.
    "file:///etc/passwd",
    "ftp://public.test/",
    "gopher://127.0.0.1:PORT/_GET",
    "dict://127.0.0.1:PORT/",
    "unix:/run/docker.sock",
    "http+unix://%2Frun%2Fdocker.sock/",
    "javascript:alert(1)",
    "data:text/plain,hello",
    "HTTPS\x0b://public.test/",
    # Names whose addresses are not public; see `RESOLVED`.
    "http://private.test:PORT/",
    "http://mixed.test:PORT/",
    "http://mapped.test:PORT/",
    "http://nat64.test:PORT/",
    "http://zone.test:PORT/",
    "http://metadata.test/",
    "http://empty.test/",
    "http://bad.test/",
]
RESOLVED = {
    "public.test": ["93.184.215.14"],
    "private.test": ["10.1.2.3"],
    "mixed.test": ["93.184.215.14", "127.0.0.1"],
    "mapped.test": ["::ffff:127.0.0.1"],
    "nat64.test": ["64:ff9b::a00:1"],
    "zone.test": ["fe80::1%lo"],
    "metadata.test": ["169.254.169.254"],
    "localhost": ["127.0.0.1"],
    "localhost.": ["127.0.0.1"],
    "empty.test": [],
    "bad.test": ["not an address"],
}

Resolver = Callable[..., list[Any]]


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
    """Resolve names from `RESOLVED`, and record the look-ups."""
    looked_up: list[str] = []

    def look_up(host: str, port: int, **_: object) -> list[Any]:
        looked_up.append(host)
        try:
            return [(2, 1, 6, "", (text, port)) for text in RESOLVED[host]]
        except KeyError:
            raise socket.gaierror(socket.EAI_NONAME, "unknown") from None

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return looked_up


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


# Other modules that import a module with which connections can be opened, and what they use of it.
# PostgreSQL and Redis are reached through psycopg and redis-py, the servers that are listed in the settings.
OTHER_OPENERS = {
    "agents/base_urls.py": "httpx2.URL, to parse",
    "executions/jobs/leases.py": "socket.gethostname",
    "executions/providers/http.py": "the client of the providers' SDKs, on OutboundTransport",
    "executions/providers/openai/requests.py": "httpx2.URL, to parse",
    "map_project/embedded/management/commands/up.py": "the port of the server that it starts",
    "map_project/embedded/ports.py": "free ports of this machine",
    "map_project/embedded/redis.py": "the embedded Redis, through its Unix socket",
    "map_project/environment.py": "ssl, to check SSL_CERT_FILE",
}


def test_only_the_outbound_package_opens_connections() -> None:
    openers = [
        *("socket", "ssl", "urllib.request", "http.client", "urllib3"),
        *("requests", "httpx", "httpx2", "httpcore2"),
    ]
    pattern = re.compile(
        rf"^\s*(import|from) ({'|'.join(map(re.escape, openers))})\b", re.MULTILINE
    )
    root = Path(outbound.__file__).parents[2]
    openers_of = {
        str(path.relative_to(root))
        for package in ("map_project", "tools", "agents", "executions", "ratelimit")
        for path in (root / package).rglob("*.py")
        if pattern.search(path.read_text())
    }
    outside = {path for path in openers_of if not path.startswith("tools/outbound/")}
    assert outside == OTHER_OPENERS.keys()
    assert outside < openers_of
