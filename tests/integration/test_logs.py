"""The log: the content and format of its lines, and what they must not contain."""

import json
import logging
import re
import sys
from collections.abc import Callable
from typing import Any

import pytest
from django.db import IntegrityError, OperationalError, connection

from executions.models import Execution
from map_project.api import logs, request_id
from map_project.tenants.keys import issue_key
from map_project.tenants.models import Tenant
from tests.api import Api, LiveApi
from tests.contract.wire import exchange
from tests.factories import AgentFactory
from tests.live import serving

PROMPT = "the prompt that must not be logged"


Log = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def log(capfd: pytest.CaptureFixture[str]) -> Log:
    """Return a function that returns the lines logged since its last call."""
    return lambda: [json.loads(line) for line in capfd.readouterr().err.splitlines()]


def test_a_run_is_logged_as_one_line(tenant: Tenant, log: Log) -> None:
    issued, key = issue_key(tenant=tenant)
    agent = AgentFactory.create(tenant=tenant)

    response = Api(key).call(
        "POST",
        f"agents/{agent.pk}/run",
        {"prompt": PROMPT, "model": "gpt-4o"},
        headers={"X-Request-ID": "mine.1"},
    )

    (line,) = log()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", line.pop("timestamp"))
    assert 0 < line.pop("latency_ms") < 10_000
    assert line == {
        "level": "info",
        "logger": "map.request",
        "event": "request",
        "request_id": "mine.1",
        "method": "POST",
        "route": "agent-run",
        "status": 200,
        "tenant_id": str(tenant.pk),
        "key_prefix": issued.prefix,
        "execution_id": response.json["execution_id"],
    }


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", ["agents/{}/run", "/v1/responses", "/v1/chat/completions"])
def test_the_execution_is_in_the_line_of_its_request(
    tenant: Tenant, log: Log, path: str, stream: bool
) -> None:
    _, key = issue_key(tenant=tenant)
    agent = AgentFactory.create(tenant=tenant, model="gpt-4o")
    body: dict[str, object] = {"stream": stream}
    match path:
        case "/v1/responses":
            body |= {"model": agent.name, "input": PROMPT}
        case "/v1/chat/completions":
            body |= {"model": agent.name, "messages": [{"role": "user", "content": PROMPT}]}
        case _:
            body |= {"prompt": PROMPT}

    Api(key).post(path.format(agent.pk), body)

    (line,) = log()
    assert line["execution_id"] == str(Execution.objects.get(tenant=tenant).pk)
    Api(key).get("history")
    assert "execution_id" not in log()[-1]


def test_an_unauthenticated_request_is_logged_without_its_contents(log: Log) -> None:
    Api("an-invalid-key").get("tools?agent_name=a-secret-query", headers={"X-Request-ID": "x"})
    Api().get("/a-secret-path")

    unauthorized, not_found = log()
    assert (unauthorized["route"], unauthorized["status"]) == ("tool-list", 401)
    assert not_found["status"] == 404
    for line in (unauthorized, not_found):
        assert "tenant_id" not in line
        assert "key_prefix" not in line
        assert "secret" not in json.dumps(line)
        assert "an-invalid-key" not in json.dumps(line)


@pytest.mark.parametrize("path", ["/health", "/live", "/ready"])
def test_a_probe_is_logged_only_if_it_fails(
    path: str, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [Api().call(method, path).status for method in ("GET", "HEAD")] == [200, 200]
    assert log() == []

    def fail(*_: object) -> None:
        raise OperationalError("gone")

    monkeypatch.setattr(connection, "cursor", fail)
    statuses = [Api().call(method, path).status for method in ("POST", "GET")]
    assert statuses == [405, 200 if path == "/live" else 503]
    logged = [line["status"] for line in log() if line["logger"] == "map.request"]
    assert logged == [status for status in statuses if status != 200]


def test_an_unhandled_exception_is_logged_with_its_traceback_and_without_the_prompt(
    api: Api, tenant: Tenant, monkeypatch: pytest.MonkeyPatch, log: Log
) -> None:
    def fail(**_: object) -> str:
        # The format of PostgreSQL's message about an invalid row.
        raise IntegrityError(f"violates a constraint\nDETAIL:  Failing row contains ({PROMPT})")

    monkeypatch.setattr("executions.providers.mock.respond", fail)
    agent = AgentFactory.create(tenant=tenant)

    assert api.run(agent.pk, PROMPT).status == 500

    error, request = log()
    assert (error["level"], error["logger"]) == ("error", "map.errors")
    assert error["event"] == "unhandled IntegrityError"
    assert "in run_agent" in error["exception"]
    assert error["exception"].endswith("IntegrityError: violates a constraint")
    assert PROMPT not in json.dumps(error)
    assert error["request_id"] == request["request_id"]
    assert (request["level"], request["status"]) == ("error", 500)


def formatted(name: str, message: str, *arguments: object, readable: bool = False) -> str:
    record = logging.LogRecord(
        name, logging.WARNING, __file__, 1, message, arguments, exc_info_or_none()
    )
    return logs.formatter(readable=readable).format(record)


def exc_info_or_none() -> Any:
    return sys.exc_info() if sys.exc_info()[1] else None


def test_secrets_in_messages_of_libraries_are_redacted(api: Api) -> None:
    for message in (f"key {api.key} refused", "postgresql://map:p@ss-word@db/map is down"):
        line = json.loads(formatted("a.library", message))
        assert str(api.key) not in line["event"]
        assert "ss-word" not in line["event"]
        assert "***" in line["event"]


@pytest.mark.parametrize(
    ("message", "logged"),
    [
        (
            "Invalid request from ip=10.0.0.1: Invalid HTTP Header: 'X-API-KEY: abc'",
            "Invalid request from ip=10.0.0.1: Invalid HTTP Header",
        ),
        (
            "Error handling request GET /api/v1/tools?key=abc",
            "Error handling request GET /api/v1/tools",
        ),
        ("WORKER TIMEOUT (pid:12)", "WORKER TIMEOUT (pid:12)"),
    ],
)
def test_messages_of_gunicorn_contain_nothing_of_the_request(message: str, logged: str) -> None:
    assert json.loads(formatted("gunicorn.error", message))["event"] == logged


def test_causes_are_logged_first() -> None:
    try:
        try:
            raise KeyError("the first")
        except KeyError as error:
            raise ValueError("x" * 1_000) from error
    except ValueError:
        exception = json.loads(formatted("map.errors", "unhandled"))["exception"]
    first, second = re.findall(r"^\w+Error: .*$", exception, re.MULTILINE)
    assert first == "KeyError: 'the first'"
    assert second == "ValueError: " + "x" * 200


def test_invalid_unicode_is_logged() -> None:
    assert json.loads(formatted("a.library", "half a pair: %s", "\ud800"))["event"].endswith(
        "\ud800"
    )


def test_the_format_in_development() -> None:
    request_id.begin("mine.2")
    line = formatted("a.library", "something is %s", "odd", readable=True)
    pattern = r"\S+ \[warning *\] something is odd +\[a\.library\] request_id=mine\.2"
    assert re.fullmatch(pattern, line), line


def test_all_lines_of_a_server_have_the_same_format(tenant: Tenant, log: Log) -> None:
    """Requests, and messages of gunicorn about invalid requests."""
    key = issue_key(tenant=tenant)[1]
    with serving() as port:
        LiveApi(port, key).get("tools?agent_name=a-secret-name")
        invalid = b"GET /live HTTP/1.1\r\nX-API-KEY : %b\r\n\r\n" % key.encode()
        assert exchange(port, invalid).status == 400

    lines = log()
    assert {line["logger"] for line in lines} == {"map.request", "gunicorn.error"}
    (event,) = [line["event"] for line in lines if line["logger"] == "gunicorn.error"]
    assert event == "Invalid request from ip=127.0.0.1: Invalid HTTP header name"
    (line,) = [line for line in lines if line.get("route") == "tool-list"]
    assert line["tenant_id"] == str(tenant.pk)
    assert key not in json.dumps(lines)
    assert "a-secret-name" not in json.dumps(lines)
