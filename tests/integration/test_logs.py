"""The log: what a line says, what none says, and in which form."""

import json
import logging
import re
import sys
from collections.abc import Callable
from typing import Any

import pytest
from django.db import IntegrityError, OperationalError, connection

from map_project.api import logs, request_id
from map_project.tenants.keys import issue_key
from map_project.tenants.models import Tenant
from tests.api import Api, LiveApi
from tests.contract.wire import exchange
from tests.factories import AgentFactory
from tests.live import serving

PROMPT = "the prompt that no log may ever hold"


Log = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def log(capfd: pytest.CaptureFixture[str]) -> Log:
    """What was logged since the last call."""
    return lambda: [json.loads(line) for line in capfd.readouterr().err.splitlines()]


def test_a_run_is_one_line_that_says_who_what_and_how_long(tenant: Tenant, log: Log) -> None:
    issued, key = issue_key(tenant=tenant)
    agent = AgentFactory.create(tenant=tenant)

    answer = Api(key).call(
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
        "execution_id": answer.json["execution_id"],
    }


def test_of_a_stranger_it_says_nothing_that_was_sent(log: Log) -> None:
    Api("a key of nobody").get("tools?agent_name=a-secret-query", headers={"X-Request-ID": "x"})
    Api().get("/a-secret-path")

    refused, lost = log()
    assert (refused["route"], refused["status"]) == ("tool-list", 401)
    assert lost["status"] == 404
    for line in (refused, lost):
        assert "tenant_id" not in line
        assert "key_prefix" not in line
        assert "secret" not in json.dumps(line)
        assert "nobody" not in json.dumps(line)


@pytest.mark.parametrize("path", ["/health", "/live", "/ready"])
def test_a_probe_is_told_when_it_finds_something(
    path: str, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [Api().call(method, path).status for method in ("GET", "HEAD")] == [200, 200]
    assert log() == []

    def lost(*_: object) -> None:
        raise OperationalError("gone")

    monkeypatch.setattr(connection, "cursor", lost)
    statuses = [Api().call(method, path).status for method in ("POST", "GET")]
    assert statuses == [405, 200 if path == "/live" else 503]
    told = [line["status"] for line in log() if line["logger"] == "map.request"]
    assert told == [status for status in statuses if status != 200]


def test_an_error_of_ours_is_told_with_its_traceback_and_no_prompt(
    api: Api, tenant: Tenant, monkeypatch: pytest.MonkeyPatch, log: Log
) -> None:
    def fail(**_: object) -> str:
        # As PostgreSQL words a refused row.
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


def test_secrets_in_the_words_of_others_are_cut(api: Api) -> None:
    for told in (f"key {api.key} refused", "postgresql://map:p@ss-word@db/map is down"):
        line = json.loads(formatted("a.library", told))
        assert str(api.key) not in line["event"]
        assert "ss-word" not in line["event"]
        assert "***" in line["event"]


@pytest.mark.parametrize(
    ("told", "kept"),
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
def test_gunicorn_does_not_quote_what_was_sent(told: str, kept: str) -> None:
    assert json.loads(formatted("gunicorn.error", told))["event"] == kept


def test_causes_are_told_first() -> None:
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


def test_text_that_is_not_unicode_is_logged_all_the_same() -> None:
    assert json.loads(formatted("a.library", "half a pair: %s", "\ud800"))["event"].endswith(
        "\ud800"
    )


def test_in_development_a_line_is_for_people() -> None:
    request_id.begin("mine.2")
    line = formatted("a.library", "something is %s", "odd", readable=True)
    told = r"\S+ \[warning *\] something is odd +\[a\.library\] request_id=mine\.2"
    assert re.fullmatch(told, line), line


def test_a_server_logs_in_one_form(tenant: Tenant, log: Log) -> None:
    """Requests, and what gunicorn says of something that is no request."""
    key = issue_key(tenant=tenant)[1]
    with serving() as port:
        LiveApi(port, key).get("tools?agent_name=a-secret-name")
        no_request = b"GET /live HTTP/1.1\r\nX-API-KEY : %b\r\n\r\n" % key.encode()
        assert exchange(port, no_request).status == 400

    lines = log()
    assert {line["logger"] for line in lines} == {"map.request", "gunicorn.error"}
    (told,) = [line["event"] for line in lines if line["logger"] == "gunicorn.error"]
    assert told == "Invalid request from ip=127.0.0.1: Invalid HTTP header name"
    (line,) = [line for line in lines if line.get("route") == "tool-list"]
    assert line["tenant_id"] == str(tenant.pk)
    assert key not in json.dumps(lines)
    assert "a-secret-name" not in json.dumps(lines)
