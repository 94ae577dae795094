"""Rules for all pages of the admin."""

import os
import subprocess
import sys

import pytest
from django.conf import LazySettings, settings
from django.contrib import admin
from django.db import OperationalError, connection, transaction
from django.test import Client
from django.urls import reverse

from map_project.desk import dashboard
from map_project.desk.site import DeskSite
from map_project.desk.tenants import TenantAdmin
from map_project.tenants.models import Tenant
from ratelimit.limiter import Limiter, LimiterUnavailable
from tests.factories import AgentFactory, ExecutionFactory
from tests.live import database_url


@pytest.mark.parametrize(
    "path", ["/admin/", "/admin/login/", "/admin/tenants/tenant/", "/admin/jsi18n/"]
)
def test_a_page_loads_from_its_own_origin_only(operator: Client, path: str) -> None:
    response = operator.get(path, follow=True)
    policy = response["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe-inline" not in policy.partition("script-src")[2].partition(";")[0]
    assert b"http://" not in response.content.replace(b"http://www.w3.org/", b"")
    assert b"https://" not in response.content


def test_pages_are_served_without_redis(
    operator: Client, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    ExecutionFactory.create(agent=AgentFactory.create(tenant=tenant))

    def raise_unavailable(*_: object) -> None:
        raise LimiterUnavailable("gone")

    monkeypatch.setattr(Limiter, "peek", raise_unavailable)
    for path in ("/admin/", f"/admin/tenants/tenant/{tenant.pk}/change/", "/admin/tenants/tenant/"):
        response = operator.get(path)
        assert response.status_code == 200
        assert b"Redis is unavailable" in response.content


def test_without_a_database_an_error_page_is_served(
    operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def raise_database_error(*_: object) -> None:
        raise OperationalError("gone")

    monkeypatch.setattr(dashboard, "latest_runs", raise_database_error)
    response = operator.get("/admin/")
    assert (response.status_code, response["Retry-After"]) == (503, "5")
    assert b"The database is unavailable" in response.content


def test_a_slow_query_is_not_a_lost_database(
    operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sleep(*_: object) -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SET LOCAL statement_timeout = 10")
            cursor.execute("SELECT pg_sleep(60)")

    monkeypatch.setattr(TenantAdmin, "get_queryset", sleep)
    response = operator.get("/admin/tenants/tenant/")
    assert response.status_code == 503
    assert b"This took too long" in response.content
    assert b"unavailable" not in response.content


def test_no_list_offers_counts(superuser: Client) -> None:
    for model, model_admin in admin.site._registry.items():
        assert model_admin.show_facets is admin.ShowFacets.NEVER
        path = reverse(f"admin:{model._meta.label_lower.replace('.', '_')}_changelist")
        for query in ("", "?_facets=True"):
            assert b" counts" not in superuser.get(f"{path}{query}").content.lower()


def test_an_add_page_has_no_read_only_fields(superuser: Client) -> None:
    shown = []
    for model in admin.site._registry:
        path = reverse(f"admin:{model._meta.label_lower.replace('.', '_')}_add")
        response = superuser.get(path)
        if response.status_code == 403:
            continue
        shown.append(model.__name__)
        assert b"DatabaseDefault" not in response.content
        for fieldset in response.context["adminform"]:
            fields = [field for line in fieldset for field in line]
            assert fields
            assert not any(field.is_readonly for field in fields), path
    assert {"Tenant", "Agent", "Tool", "LanguageModel", "User", "Group"} <= {*shown}


def test_cookies_are_limited_to_the_admin(operator: Client) -> None:
    response = Client().get("/admin/login/")
    assert response.cookies["map_csrf"]["path"] == "/admin"
    assert operator.cookies[settings.SESSION_COOKIE_NAME].value


@pytest.mark.parametrize(
    "cookie", ["map_csrf=malformed", "map_session=", "map_csrf=; map_session=x"]
)
@pytest.mark.parametrize("path", ["/api/v1/tools", "/api/v1/nowhere", "/health", "/nowhere"])
def test_the_api_sets_no_cookies(path: str, cookie: str) -> None:
    response = Client(headers={"Cookie": cookie}).get(path)
    assert not response.cookies
    assert "Cookie" not in response.get("Vary", "")


def run_manage(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `manage.py` with the environment of a production server."""
    base = {"SECRET_KEY": "0123456789" * 5 + "abcdef", "DATABASE_URL": database_url()}
    # The password may be in this variable of libpq.
    base["PGPASSWORD"] = os.environ.get("PGPASSWORD", "")
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=settings.BASE_DIR,
        env={"REDIS_URL": settings.REDIS_URL, **base, **environment},
        capture_output=True,
        text=True,
    )


@pytest.mark.slow
def test_a_deployment_with_https_passes_the_checks() -> None:
    secure = {"HTTPS": "1", "ALLOWED_HOSTS": "admin.example.com"}
    # Other tests have stored secrets that are encrypted with this key.
    secure["SECRETS_KEYS"] = ",".join(settings.SECRETS_KEYS)
    secure["CSRF_TRUSTED_ORIGINS"] = "https://admin.example.com"
    completed = run_manage("check", "--deploy", "--fail-level", "WARNING", **secure)
    assert completed.returncode == 0, completed.stderr
    completed = run_manage(
        "check", "--deploy", "--fail-level", "WARNING", ALLOWED_HOSTS="a.example"
    )
    assert completed.returncode == 1
    assert "security.W008" in completed.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "value"),
    [("CSRF_TRUSTED_ORIGINS", "admin.example.com"), ("TRUSTED_PROXIES", "all"), ("HTTPS", "maybe")],
)
def test_an_invalid_value_is_an_error_with_its_name(name: str, value: str) -> None:
    completed = run_manage("check", **{name: value})
    assert completed.returncode == 1
    assert completed.stderr.startswith(name)
    assert completed.stderr.count("\n") == 1


def test_probes_are_not_redirected(settings: LazySettings) -> None:
    settings.SECURE_SSL_REDIRECT = True
    settings.SECURE_REDIRECT_EXEMPT = ["^(live|ready|health)$"]
    client = Client()
    assert [client.get(path).status_code for path in ("/live", "/ready", "/health")] == [200] * 3
    assert client.get("/admin/login/")["location"] == "https://testserver/admin/login/"


def test_a_page_without_permission_says_so(operator: Client) -> None:
    forbidden = operator.get(reverse("admin:auth_user_changelist"))
    expired = Client(enforce_csrf_checks=True).post(reverse("admin:login"), {"username": "a"})
    for response in (forbidden, expired):
        text = response.content.decode()
        assert response.status_code == 403
        assert "Your account may not open this page" in text
        assert f'href="{reverse("admin:index")}"' in text
        assert "Request ID" in text


def test_errors_of_signed_in_users_have_the_menu(operator: Client) -> None:
    for path, status in (("/admin/auth/user/", 403), ("/admin/no-such-page/", 404)):
        response = operator.get(path)
        assert response.status_code == status
        assert 'id="nav-sidebar"' in response.content.decode()
        assert response.content.count(b"<main") == 1


def test_errors_of_signed_in_users_are_pages_without_a_database(
    operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def raise_database_error(*_: object) -> None:
        raise OperationalError("gone")

    monkeypatch.setattr(DeskSite, "each_context", raise_database_error)
    response = operator.get("/admin/auth/user/")
    assert response.status_code == 403
    assert b"No permission" in response.content
