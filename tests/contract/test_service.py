"""Health, liveness, readiness and the documentation, which need no key."""

import json
import re
from typing import Any
from unittest import mock

import pytest
from django.db import OperationalError, connection
from redis.exceptions import ConnectionError as RedisConnectionError

from map_project.api import views
from tests.api import Api, LiveApi
from tests.contract.document import COMMITTED

PUBLIC = ["/health", "/live", "/ready", "/docs", "/redoc", "/schema"]


@pytest.mark.parametrize("key", [None, "wrong", "x" * 10_240])
@pytest.mark.parametrize("path", PUBLIC)
def test_no_key_is_needed_and_an_invalid_one_is_ignored(path: str, key: str | None) -> None:
    assert Api(key).get(path).status == 200


def test_the_root_redirects_to_the_docs() -> None:
    for method in ("GET", "HEAD"):
        response = Api().call(method, "/")
        assert (response.status, response.headers["location"]) == (302, "/docs")


def test_health_reports_both_dependencies() -> None:
    response = Api().get("/health")
    assert response.json == {"status": "ok", "checks": {"database": "ok", "redis": "ok"}}
    assert list(response.json) == ["status", "checks"]


def raise_database_error(*args: Any) -> None:
    raise OperationalError("connection to server at 10.1.2.3 failed")


def raise_redis_error(*args: Any) -> None:
    raise RedisConnectionError("Error connecting to 10.1.2.3:6379")


def test_health_is_503_without_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "get_redis_connection", raise_redis_error)
    response = Api().get("/health")
    assert response.status == 503
    assert response.json == {
        "status": "unavailable",
        "checks": {"database": "ok", "redis": "unavailable"},
    }


def test_health_and_ready_are_503_without_the_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "cursor", raise_database_error)
    health, ready = Api().get("/health"), Api().get("/ready")
    assert (health.status, ready.status) == (503, 503)
    assert health.json["checks"] == {"database": "unavailable", "redis": "ok"}
    assert ready.json == {
        "status": "unavailable",
        "checks": {"database": "unavailable", "migrations": "unavailable"},
    }


def test_ready_does_not_need_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "get_redis_connection", raise_redis_error)
    response = Api().get("/ready")
    assert (response.status, response.json) == (
        200,
        {"status": "ok", "checks": {"database": "ok", "migrations": "ok"}},
    )


def test_ready_is_503_while_a_migration_is_not_applied(monkeypatch: pytest.MonkeyPatch) -> None:
    more = {**views._migrations(), ("tools", "9999_to_come"): None}
    monkeypatch.setattr(views, "_migrations", lambda: more)
    response = Api().get("/ready")
    assert response.status == 503
    assert response.json["checks"] == {"database": "ok", "migrations": "unavailable"}


def test_a_newer_database_than_this_release_is_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    """Migrations are applied before the new code starts. Until then the old code must be ready."""
    fewer = dict(list(views._migrations().items())[:-1])
    monkeypatch.setattr(views, "_migrations", lambda: fewer)
    assert Api().get("/ready").status == 200


def test_live_uses_no_dependency(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "get_redis_connection", raise_redis_error)
    with mock.patch(
        "django.db.backends.base.base.BaseDatabaseWrapper.cursor", raise_database_error
    ):
        response = Api("any").get("/live")
    assert (response.status, response.json) == (200, {"status": "ok"})


def test_the_schema_is_the_committed_document() -> None:
    response = Api().get("/schema")
    assert response.headers["content-type"] == "application/json"
    assert response.json == json.loads(COMMITTED.read_bytes())
    assert response.json["openapi"].startswith("3.1.")


@pytest.mark.parametrize(("path", "tool"), [("/docs", "swagger-ui"), ("/redoc", "redoc")])
def test_the_pages_load_all_files_from_this_server(live_port: int, path: str, tool: str) -> None:
    live = LiveApi(live_port)
    page = live.get(path)
    assert page.status == 200
    assert page.headers["content-type"].startswith("text/html")
    text = page.content.decode()
    loaded = re.findall(r'<(?:script|link|img)[^>]*?(?:src|href)="([^"]+)"', text)
    assert any(tool in address for address in loaded)
    for address in loaded:
        assert re.match("/[^/]", address), address
        assert live.get(address).status == 200
    assert "/schema" in text
    assert page.headers["content-security-policy"].startswith("default-src 'self';")
    assert not re.search(r"https?://(?!localhost|127)", text)
