"""Settings from the environment: valid values, and the errors of invalid values."""

import os
import re
import runpy
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from map_project.environment import stored_secret
from map_project.tenants.models import MAX_REQUESTS, MAX_WINDOW_SECONDS

ROOT = Path(__file__).parents[3]
VALID = {
    "DATABASE_URL": "postgresql://user:pass@db.example:5433/map",
    "REDIS_URL": "redis://:pass@redis.example:6380/1",
    "SECRET_KEY": "x" * 50,
}
NAMES = {
    "DEBUG",
    "ALLOWED_HOSTS",
    "RATE_LIMIT_REQUESTS",
    "RATE_LIMIT_WINDOW_SECONDS",
    "RATE_LIMIT_TIMEOUT_MS",
    "MAX_PROMPT_LENGTH",
    "STATEMENT_TIMEOUT_MS",
    "HOST",
    "PORT",
    "WEB_CONCURRENCY",
    "WEB_CONNECTIONS",
    "DATABASE_POOL_SIZE",
    *VALID,
}


def read(monkeypatch: pytest.MonkeyPatch, **environment: str) -> dict[str, Any]:
    """Return the settings for this environment."""
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    for name, value in {**VALID, **environment}.items():
        monkeypatch.setenv(name, value)
    return runpy.run_path(str(ROOT / "map_project" / "settings.py"))


NUMBERS = {
    "RATE_LIMIT_REQUESTS": (100, 1, MAX_REQUESTS),
    "RATE_LIMIT_WINDOW_SECONDS": (60, 1, MAX_WINDOW_SECONDS),
    "RATE_LIMIT_TIMEOUT_MS": (250, 10, 10_000),
    "MAX_PROMPT_LENGTH": (10_000, 1, 1_000_000),
    "PORT": (8000, 1, 65_535),
    "WEB_CONCURRENCY": (None, 1, 64),
    "WEB_CONNECTIONS": (4_000, 10, 20_000),
    "DATABASE_POOL_SIZE": (10, 1, 100),
}
INVALID_NUMBERS = [
    "x",
    "1.5",
    "-1",
    "+1",
    "1_0",
    "1e3",
    "0x10",
    "\u0665",
    "1 0",
    "9" * 5000,
    "None",
    "1,5",
]


def test_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = read(monkeypatch)
    for name, (default, _, _) in NUMBERS.items():
        assert default is None or settings[name] == default
    assert settings["DEBUG"] is False
    assert settings["DEVELOPMENT"] is False
    assert settings["ALLOWED_HOSTS"] == ["localhost", "127.0.0.1", "[::1]"]
    assert settings["HOST"] == "127.0.0.1"


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_must_be_within_their_bounds(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    _, minimum, maximum = NUMBERS[name]
    for value in (minimum, maximum):
        assert read(monkeypatch, **{name: f" {value} "})[name] == value
    for text in (*INVALID_NUMBERS, str(minimum - 1), str(maximum + 1)):
        with pytest.raises(ImproperlyConfigured) as caught:
            read(monkeypatch, **{name: text})
        assert str(caught.value) == (
            f"{name} must be an integer from {minimum} to {maximum}, not {text!r}."
        )


@pytest.mark.parametrize("name", [*NUMBERS, "DEBUG", "ALLOWED_HOSTS", "HOST"])
def test_an_empty_value_is_the_default(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    default = read(monkeypatch)[name]
    for empty in ("", "  "):
        assert read(monkeypatch, **{name: empty})[name] == default


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *((text, True) for text in ("1", "TRUE", "yes", "On", " true ")),
        *((text, False) for text in ("0", "False", "NO", "off")),
    ],
)
def test_the_values_of_debug(monkeypatch: pytest.MonkeyPatch, text: str, value: bool) -> None:
    settings = read(monkeypatch, DEBUG=text)
    assert (settings["DEBUG"], settings["DEVELOPMENT"]) == (value, value)


INVALID = [
    ("DEBUG", "maybe"),
    ("DEBUG", "2"),
    ("DEBUG", "truee"),
    ("SECRET_KEY", ""),
    ("SECRET_KEY", "   "),
    ("DATABASE_URL", "mysql://user@host/map"),
    ("DATABASE_URL", "sqlite:///map.db"),
    ("DATABASE_URL", "map"),
    ("DATABASE_URL", "postgresql:map"),
    ("DATABASE_URL", "postgresql://host"),
    ("DATABASE_URL", "postgresql://host/"),
    ("DATABASE_URL", "postgresql://host:port/map"),
    ("DATABASE_URL", "postgresql://host:65536/map"),
    ("DATABASE_URL", "postgresql://[::1/map"),
    ("DATABASE_URL", "postgresql://host/map?port=x"),
    ("DATABASE_URL", "postgresql://host/map?sslmode=perhaps"),
    ("DATABASE_URL", "postgresql://host/map?unknown=1"),
    ("DATABASE_URL", "postgresql://host/map?options=-c%20statement_timeout=0"),
    ("REDIS_URL", "http://host"),
    ("REDIS_URL", "host:6379"),
    ("REDIS_URL", "redis:host"),
    ("REDIS_URL", "redis://host:port"),
    ("REDIS_URL", "redis://host:65536"),
    ("REDIS_URL", "redis://host/database"),
    ("REDIS_URL", "redis://host/1/2"),
    ("REDIS_URL", "redis://host/0?unknown=1"),
    ("REDIS_URL", "redis://host/0?socket_timeout=soon"),
    ("ALLOWED_HOSTS", ","),
    ("ALLOWED_HOSTS", " , "),
    ("ALLOWED_HOSTS", "https://example.org"),
    ("ALLOWED_HOSTS", "example.org:8000"),
    ("ALLOWED_HOSTS", "example.org example.com"),
    ("ALLOWED_HOSTS", "example.org,*.example.com"),
    ("HOST", "not a host"),
    ("HOST", "http://127.0.0.1"),
    ("HOST", "127.0.0.1:8000"),
    ("HOST", "[::1]"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "grpc://collector:4317"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:port"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:65536"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://[::1"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/?token=x"),
    ("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "all"),
]


@pytest.mark.parametrize(("name", "text"), INVALID)
def test_the_error_of_an_invalid_value_is_a_sentence_with_its_name(
    monkeypatch: pytest.MonkeyPatch, name: str, text: str
) -> None:
    with pytest.raises(ImproperlyConfigured) as caught:
        read(monkeypatch, **{name: text})
    message = str(caught.value)
    assert message.startswith(f"{name} ")
    assert message.endswith(".")
    assert "\n" not in message


def test_traces_are_off_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = read(monkeypatch)
    assert settings["OTEL_EXPORTER_OTLP_ENDPOINT"] == ""
    assert settings["OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"] is False


def test_traces_have_one_protocol(monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": "https://collector.example/otlp"}
    for name in ("", "http/protobuf"):
        settings = read(monkeypatch, **endpoint, OTEL_EXPORTER_OTLP_PROTOCOL=name)
        assert settings["OTEL_EXPORTER_OTLP_ENDPOINT"] == "https://collector.example/otlp"
    with pytest.raises(ImproperlyConfigured, match="OTEL_EXPORTER_OTLP_PROTOCOL must be "):
        read(monkeypatch, **endpoint, OTEL_EXPORTER_OTLP_PROTOCOL="grpc")


@pytest.mark.parametrize(
    "module", ["opentelemetry.exporter.otlp.proto", "opentelemetry.exporter.otlp.proto.http"]
)
def test_traces_need_the_packages_of_the_extra(
    monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    for name in [name for name in sys.modules if name.startswith(module)]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImproperlyConfigured) as caught:
        read(monkeypatch, OTEL_EXPORTER_OTLP_ENDPOINT="http://collector:4318")
    assert str(caught.value) == (
        "OTEL_EXPORTER_OTLP_ENDPOINT is set, but the packages of the extra `otel` are not installed: "
        "see docs/operate.md."
    )


@pytest.mark.parametrize("name", ["DATABASE_URL", "REDIS_URL"])
@pytest.mark.parametrize("rest", ["host:port/x/y", "host/x/y?a=b", "[host/x"])
def test_no_error_contains_a_password(
    monkeypatch: pytest.MonkeyPatch, name: str, rest: str
) -> None:
    scheme = {"DATABASE_URL": "postgresql", "REDIS_URL": "redis"}[name]
    for url in (f"{scheme}://user:hidden@{rest}", f"wrong://user:hidden@{rest}"):
        with pytest.raises(ImproperlyConfigured) as caught:
            read(monkeypatch, **{name: url})
        assert "hidden" not in str(caught.value)
        assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (
            "postgresql://us%65r:p%40ss%2F@db.example:5433/my%20map",
            {
                "NAME": "my map",
                "USER": "user",
                "PASSWORD": "p@ss/",
                "HOST": "db.example",
                "PORT": "5433",
            },
        ),
        (
            "postgres://u@/map?host=%2Frun%2Fpostgresql&port=5444",
            {"NAME": "map", "USER": "u", "PASSWORD": "", "HOST": "/run/postgresql", "PORT": "5444"},
        ),
        (
            "postgresql://[::1]:5432/map",
            {"NAME": "map", "USER": "", "PASSWORD": "", "HOST": "::1", "PORT": "5432"},
        ),
    ],
)
def test_a_database_url_is_parsed_as_by_libpq(
    monkeypatch: pytest.MonkeyPatch, url: str, expected: dict[str, str]
) -> None:
    database = read(monkeypatch, DATABASE_URL=url)["DATABASES"]["default"]
    assert {name: database[name] for name in expected} == expected


def test_tls_of_the_database_can_be_required(monkeypatch: pytest.MonkeyPatch) -> None:
    url = "postgresql://h/map?sslmode=verify-full&sslrootcert=%2Fca.pem"
    options = read(monkeypatch, DATABASE_URL=url)["DATABASES"]["default"]["OPTIONS"]
    assert (options["sslmode"], options["sslrootcert"]) == ("verify-full", "/ca.pem")


@pytest.mark.parametrize(
    "url",
    ["redis://h", "redis://h/", "redis://h:1/15", "rediss://:p@h/0", "unix:///run/redis.sock?db=1"],
)
def test_valid_redis_urls(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    assert read(monkeypatch, REDIS_URL=url)["CACHES"]["default"]["LOCATION"] == url


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("*", ["*"]),
        (" a.example , .b.example,", ["a.example", ".b.example"]),
        ("[::1],192.0.2.1,api-1,a_b", ["[::1]", "192.0.2.1", "api-1", "a_b"]),
    ],
)
def test_valid_allowed_hosts(monkeypatch: pytest.MonkeyPatch, text: str, hosts: list[str]) -> None:
    assert read(monkeypatch, ALLOWED_HOSTS=text)["ALLOWED_HOSTS"] == hosts


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "::1", "localhost", "api-1.example", "fe80::1"])
def test_valid_hosts(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    assert read(monkeypatch, HOST=host)["HOST"] == host


def test_hsts_is_for_this_host_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A subdomain can be another service, which has no TLS."""
    settings = read(monkeypatch, HTTPS="1")
    assert not settings.get("SECURE_HSTS_INCLUDE_SUBDOMAINS")
    header = f"max-age={settings['SECURE_HSTS_SECONDS']}"
    assert header == "max-age=31536000"
    assert header in (ROOT / "deploy" / "env.example").read_text()


def test_without_the_embedded_servers_the_addresses_are_required(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("map_project.embedded.installed", lambda: False)
    for name in ("DATABASE_URL", "REDIS_URL", "SECRET_KEY"):
        with pytest.raises(ImproperlyConfigured, match=f"^{name} .*\\.$"):
            read(monkeypatch, **{name: ""})


def test_with_the_embedded_servers_nothing_is_required(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = read(monkeypatch, DATABASE_URL="", REDIS_URL="", SECRET_KEY="")
    assert settings["DEVELOPMENT"] is True
    assert len(settings["SECRET_KEY"]) >= 50
    assert settings["DATABASE_URL"].startswith("postgresql://")
    assert settings["REDIS_URL"].startswith("unix://")


def test_concurrent_starts_store_one_secret(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "secret_key"
    with ThreadPoolExecutor(16) as pool:
        secrets = set(pool.map(lambda _: stored_secret("SECRET_KEY", path), range(64)))
    assert len(secrets) == 1
    assert len(secrets.pop()) >= 50
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(path.parent) == ["secret_key"]  # noqa: PTH208  only this file


def test_no_other_file_reads_the_environment() -> None:
    """Other files only set DJANGO_SETTINGS_MODULE, as Django's templates do."""
    reading = re.compile(r"os\.environ(?!\[\"DJANGO_SETTINGS_MODULE\"\] = )|os\.getenv")
    sources = [
        path
        for package in ("map_project", "tools", "agents", "executions", "ratelimit")
        for path in (ROOT / package).rglob("*.py")
    ]
    readers = {str(path.relative_to(ROOT)) for path in sources if reading.search(path.read_text())}
    assert readers == {"map_project/environment.py"}


@pytest.mark.parametrize(
    "command",
    [
        ["manage.py", "check"],
        ["-m", "map_project.server"],
        ["-m", "gunicorn", "-c", "python:map_project.gunicorn_conf"],
    ],
    ids=" ".join,
)
def test_a_program_exits_with_one_line_and_a_code(command: list[str]) -> None:
    completed = subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env={**os.environ, "RATE_LIMIT_REQUESTS": "many"},
        capture_output=True,
        text=True,
    )
    assert completed.returncode != 0
    assert completed.stderr.strip().splitlines()[-1] == (
        "RATE_LIMIT_REQUESTS must be an integer from 1 to 1000000, not 'many'."
    )
    assert "Traceback" not in completed.stderr
