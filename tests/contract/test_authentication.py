"""Authentication: the headers of a key, and the response to a missing or invalid key."""

import secrets
import time
from datetime import timedelta

import pytest
from django.utils import timezone

from map_project.tenants import last_used
from map_project.tenants.keys import issue_key, revoke_key, store_key
from map_project.tenants.models import ApiKey, Tenant
from tests.api import Answer, Api, LiveApi
from tests.factories import AgentFactory, TenantFactory

ROUTES = [
    ("GET", "tools"),
    ("POST", "tools"),
    ("GET", "agents/0197a3c0-5b7e-7c1a-9f60-3a2f4f0f7a11"),
    ("DELETE", "agents/no-id"),
    ("POST", "agents/0197a3c0-5b7e-7c1a-9f60-3a2f4f0f7a11/run"),
    ("GET", "history?limit=0"),
]


def is_unauthorized(response: Answer, error_code: str) -> bool:
    """Check that the response is a 401 with this code and no details."""
    assert response.status == 401
    assert response.error_code == error_code
    assert response.details == {}
    assert response.headers["www-authenticate"] == (
        'Bearer realm="map", ApiKey realm="map" header="X-API-KEY"'
    )
    return True


@pytest.fixture
def issued(tenant: Tenant) -> tuple[ApiKey, str]:
    return issue_key(tenant=tenant)


@pytest.mark.parametrize(
    "headers",
    [
        {"X-API-KEY": "{key}"},
        {"x-api-key": "{key}"},
        {"X-API-KEY": "  {key}\t"},
        {"Authorization": "Bearer {key}"},
        {"Authorization": "bearer {key}"},
        {"Authorization": "BEARER   {key} "},
        {"X-API-KEY": "{key}", "Authorization": "Bearer wrong"},
        {"X-API-KEY": "{key}", "Authorization": "Basic d3Jvbmc="},
        {"X-API-KEY": "", "Authorization": "Bearer {key}"},
    ],
)
def test_a_key_is_accepted_in_these_headers(
    issued: tuple[ApiKey, str], headers: dict[str, str]
) -> None:
    with_key = {name: value.format(key=issued[1]) for name, value in headers.items()}
    assert Api().get("tools", headers=with_key).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-API-KEY": ""},
        {"X-API-KEY": "  "},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer "},
        {"Authorization": "Basic dXNlcjpwYXNz"},
        {"Authorization": "{key}"},
        {"Authorization": "Token {key}"},
        {"X-API-TOKEN": "{key}"},
        {"Cookie": "X-API-KEY={key}"},
    ],
)
@pytest.mark.parametrize(("method", "route"), ROUTES)
def test_a_missing_key_is_reported(
    issued: tuple[ApiKey, str], method: str, route: str, headers: dict[str, str]
) -> None:
    with_key = {name: value.format(key=issued[1]) for name, value in headers.items()}
    assert is_unauthorized(Api().call(method, route, headers=with_key), "MISSING_API_KEY")


def test_a_key_in_the_query_is_ignored(issued: tuple[ApiKey, str]) -> None:
    assert is_unauthorized(
        Api().get(f"tools?api_key={issued[1]}&X-API-KEY={issued[1]}"), "MISSING_API_KEY"
    )


@pytest.mark.parametrize(
    "key",
    [
        "wrong",
        "map_" + "A" * 43,
        "x" * 10_240,
        "k\u00e9y",
        "\u00ff" * 40,
        "a b",
        "a,b",
        "'; DROP TABLE tenants_apikey; --",
        "%00",
        "11111111-1111-1111-1111-111111111111",
    ],
)
@pytest.mark.parametrize("form", ["X-API-KEY", "Authorization"])
def test_an_unknown_key_is_rejected(key: str, form: str) -> None:
    value = key if form == "X-API-KEY" else f"Bearer {key}"
    for method, route in ROUTES:
        response = Api().call(method, route, headers={form: value})
        assert is_unauthorized(response, "INVALID_API_KEY")


def test_parts_and_variants_of_a_key_are_rejected(issued: tuple[ApiKey, str]) -> None:
    row, key = issued
    for variant in (row.prefix, row.key_hash, str(row.pk), key[:-1], f"{key}x", key.swapcase()):
        assert is_unauthorized(Api(variant).get("tools"), "INVALID_API_KEY")
    assert Api(key).get("tools").status == 200


def test_all_invalid_keys_have_the_same_response(tenant: Tenant) -> None:
    revoked, revoked_key = issue_key(tenant=tenant)
    revoke_key(key=revoked)
    expired, expired_key = issue_key(tenant=tenant)
    expired.expires_at = timezone.now() - timedelta(seconds=1)
    expired.save()
    inactive_key = issue_key(tenant=TenantFactory.create(is_active=False))[1]
    responses = [
        Api(key).get("tools", headers={"X-Request-ID": "same"})
        for key in ("unknown", revoked_key, expired_key, inactive_key)
    ]
    for response in responses:
        assert is_unauthorized(response, "INVALID_API_KEY")
        assert (response.content, response.headers) == (responses[0].content, responses[0].headers)


def test_a_key_is_valid_until_it_expires(tenant: Tenant) -> None:
    row, key = issue_key(tenant=tenant, expires_in=timedelta(seconds=30))
    assert Api(key).get("tools").status == 200
    ApiKey.objects.filter(pk=row.pk).update(expires_at=timezone.now())
    time.sleep(1)
    assert is_unauthorized(Api(key).get("tools"), "INVALID_API_KEY")


def test_the_other_keys_of_a_tenant_stay_valid(tenant: Tenant) -> None:
    (first, first_key), (_, second_key) = (issue_key(tenant=tenant) for _ in range(2))
    revoke_key(key=first)
    assert Api(first_key).get("tools").status == 401
    assert Api(second_key).get("tools").status == 200


def test_a_new_key_is_valid_at_once_even_if_it_was_rejected_before(tenant: Tenant) -> None:
    key = f"map_{secrets.token_urlsafe(32)}"
    assert Api(key).get("tools").status == 401
    store_key(tenant=tenant, key=key)
    assert Api(key).get("tools").status == 200


def test_revocation_and_deactivation_reach_all_processes_within_a_second(live_port: int) -> None:
    tenant = TenantFactory.create()
    agent = AgentFactory.create(tenant=tenant)
    row, revoked_key = issue_key(tenant=tenant)
    revoked, valid = (
        LiveApi(live_port, revoked_key),
        LiveApi(live_port, issue_key(tenant=tenant)[1]),
    )

    def statuses(api: LiveApi) -> set[int]:
        """Return the statuses of enough calls to reach every process."""
        return {
            response.status for _ in range(8) for response in (api.get("tools"), api.run(agent.pk))
        }

    assert statuses(revoked) == statuses(valid) == {200}
    revoke_key(key=row)
    time.sleep(1)
    assert statuses(revoked) == {401}
    assert statuses(valid) == {200}
    Tenant.objects.filter(pk=tenant.pk).update(is_active=False)
    time.sleep(1)
    assert statuses(valid) == {401}
    Tenant.objects.filter(pk=tenant.pk).update(is_active=True)
    time.sleep(1)
    assert statuses(valid) == {200}


def test_the_key_is_checked_before_all_except_the_size_of_the_body() -> None:
    for api, code in ((Api(), "MISSING_API_KEY"), (Api("wrong"), "INVALID_API_KEY")):
        assert is_unauthorized(api.post("tools", raw=b"{"), code)
        assert is_unauthorized(api.get("tools?limit=%ff"), code)
        assert is_unauthorized(api.call("PATCH", "history"), code)
        assert is_unauthorized(
            api.post("tools", raw=b"a", headers={"Content-Type": "text/plain"}), code
        )
        assert api.post("tools", raw=b" " * (2**20 + 1)).status == 413


def test_the_last_use_is_recorded(issued: tuple[ApiKey, str]) -> None:
    row, key = issued
    before = timezone.now()
    assert row.last_used_at is None
    Api(key).get("tools")
    last_used.flush()
    row.refresh_from_db()
    assert row.last_used_at is not None
    assert before <= row.last_used_at <= timezone.now()
