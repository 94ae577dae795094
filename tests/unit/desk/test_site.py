"""What holds for every page of the desk."""

import os
import subprocess
import sys

import pytest
from django.conf import LazySettings, settings
from django.db import OperationalError
from django.test import Client

from map_project.desk import dashboard
from map_project.tenants.models import Tenant
from ratelimit.limiter import Limiter, LimiterUnavailable
from tests.factories import AgentFactory, ExecutionFactory
from tests.live import database_url


@pytest.mark.parametrize(
    "path", ["/admin/", "/admin/login/", "/admin/tenants/tenant/", "/admin/jsi18n/"]
)
def test_a_page_loads_from_its_own_origin_only(operator: Client, path: str) -> None:
    answer = operator.get(path, follow=True)
    policy = answer["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe-inline" not in policy.partition("script-src")[2].partition(";")[0]
    assert b"http://" not in answer.content.replace(b"http://www.w3.org/", b"")
    assert b"https://" not in answer.content


def test_the_desk_opens_without_redis(
    operator: Client, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    ExecutionFactory.create(agent=AgentFactory.create(tenant=tenant))

    def lost(*_: object) -> None:
        raise LimiterUnavailable("gone")

    monkeypatch.setattr(Limiter, "peek", lost)
    for path in ("/admin/", f"/admin/tenants/tenant/{tenant.pk}/change/", "/admin/tenants/tenant/"):
        answer = operator.get(path)
        assert answer.status_code == 200
        assert b"Redis is unavailable" in answer.content


def test_without_a_database_there_is_a_page_for_people(
    operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(*_: object) -> None:
        raise OperationalError("gone")

    monkeypatch.setattr(dashboard, "latest_runs", lost)
    answer = operator.get("/admin/")
    assert (answer.status_code, answer["Retry-After"]) == (503, "5")
    assert b"The database is unavailable" in answer.content


def test_cookies_are_the_desks_alone(operator: Client) -> None:
    answer = Client().get("/admin/login/")
    assert answer.cookies["map_csrf"]["path"] == "/admin"
    assert operator.cookies[settings.SESSION_COOKIE_NAME].value


@pytest.mark.parametrize(
    "cookie", ["map_csrf=malformed", "map_session=", "map_csrf=; map_session=x"]
)
@pytest.mark.parametrize("path", ["/api/v1/tools", "/api/v1/nowhere", "/health", "/nowhere"])
def test_the_api_sets_no_cookies(path: str, cookie: str) -> None:
    response = Client(headers={"Cookie": cookie}).get(path)
    assert not response.cookies
    assert "Cookie" not in response.get("Vary", "")


def in_a_process(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`manage.py`, as production would have it."""
    base = {"SECRET_KEY": "0123456789" * 5 + "abcdef", "DATABASE_URL": database_url()}
    # libpq's own variable: some keep the password there.
    base["PGPASSWORD"] = os.environ.get("PGPASSWORD", "")
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=settings.BASE_DIR,
        env={"REDIS_URL": settings.REDIS_URL, **base, **environment},
        capture_output=True,
        text=True,
    )


@pytest.mark.slow
def test_a_deployment_with_https_has_nothing_to_complain_of() -> None:
    secure = {"HTTPS": "1", "ALLOWED_HOSTS": "desk.example.com"}
    # The tests' own, since other tests have left secrets under it.
    secure["SECRETS_KEYS"] = ",".join(settings.SECRETS_KEYS)
    secure["CSRF_TRUSTED_ORIGINS"] = "https://desk.example.com"
    found = in_a_process("check", "--deploy", "--fail-level", "WARNING", **secure)
    assert found.returncode == 0, found.stderr
    found = in_a_process("check", "--deploy", "--fail-level", "WARNING", ALLOWED_HOSTS="a.example")
    assert found.returncode == 1
    assert "security.W008" in found.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "value"),
    [("CSRF_TRUSTED_ORIGINS", "desk.example.com"), ("TRUSTED_PROXIES", "all"), ("HTTPS", "maybe")],
)
def test_a_bad_value_stops_the_start_with_its_name(name: str, value: str) -> None:
    found = in_a_process("check", **{name: value})
    assert found.returncode == 1
    assert found.stderr.startswith(name)
    assert found.stderr.count("\n") == 1


def test_probes_are_not_redirected(settings: LazySettings) -> None:
    settings.SECURE_SSL_REDIRECT = True
    settings.SECURE_REDIRECT_EXEMPT = ["^(live|ready|health)$"]
    client = Client()
    assert [client.get(path).status_code for path in ("/live", "/ready", "/health")] == [200] * 3
    assert client.get("/admin/login/")["location"] == "https://testserver/admin/login/"
