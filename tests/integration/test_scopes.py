"""Scopes of API keys: each operation requires exactly one.

If a route or method of the URLconf is missing in the tables, a test fails.
"""

from collections.abc import Sequence
from typing import Any

import pytest
from django.urls import get_resolver

from executions.models import Execution
from map_project.tenants.keys import issue_key
from map_project.tenants.models import ApiKey, Tenant
from map_project.tenants.scopes import DEFAULT_SCOPES
from map_project.tenants.scopes import SCOPES as ALL
from ratelimit.limiter import Quota, default_limiter
from tests.api import Answer, Api
from tests.conftest import api_of
from tests.factories import AgentFactory
from tests.integration.test_isolation import (
    TABLE,
    V1_TABLE,
    TenantRows,
    call,
    call_v1,
    methods_of,
    routes,
)
from tests.mcp import MODERN, OLD, McpClient

SCOPES = {
    ("GET", "tools"): "read",
    ("POST", "tools"): "write",
    ("GET", "tools/<str:pk>"): "read",
    ("PUT", "tools/<str:pk>"): "write",
    ("PATCH", "tools/<str:pk>"): "write",
    ("DELETE", "tools/<str:pk>"): "write",
    ("POST", "tools/<str:pk>/test"): "write",
    ("POST", "tools/<str:pk>/refresh"): "write",
    ("POST", "tools/import"): "write",
    ("GET", "agents"): "read",
    ("POST", "agents"): "write",
    ("GET", "agents/<str:pk>"): "read",
    ("PUT", "agents/<str:pk>"): "write",
    ("PATCH", "agents/<str:pk>"): "write",
    ("DELETE", "agents/<str:pk>"): "write",
    ("POST", "agents/<str:pk>/run"): "run",
    ("GET", "models"): "read",
    ("GET", "me"): "read",
    ("GET", "usage"): "read",
    ("GET", "history"): "read",
    ("GET", "history/export"): "read",
    ("GET", "history/<str:pk>"): "read",
    ("GET", "history/<str:pk>/steps"): "read",
    ("GET", "history/<str:pk>/events"): "read",
    ("POST", "history/<str:pk>/cancel"): "run",
    ("GET", "approvals"): "read",
    ("GET", "approvals/<str:pk>"): "read",
    ("POST", "approvals/<str:pk>"): "approve",
    ("GET", "conversations"): "read",
    ("POST", "conversations"): "run",
    ("GET", "conversations/<str:pk>"): "read",
    ("DELETE", "conversations/<str:pk>"): "write",
    ("GET", "conversations/<str:pk>/items"): "read",
    ("GET", "webhooks"): "read",
    ("POST", "webhooks"): "write",
    ("GET", "webhooks/<str:pk>"): "read",
    ("PUT", "webhooks/<str:pk>"): "write",
    ("PATCH", "webhooks/<str:pk>"): "write",
    ("DELETE", "webhooks/<str:pk>"): "write",
    ("POST", "webhooks/<str:pk>/rotate-secret"): "write",
    ("GET", "webhooks/<str:pk>/deliveries"): "read",
    ("POST", "webhooks/<str:pk>/deliveries/<str:delivery_pk>/retry"): "write",
    ("POST", "webhooks/<str:pk>/test"): "write",
    ("GET", "keys"): "keys",
    ("POST", "keys"): "keys",
    ("GET", "keys/<str:pk>"): "keys",
    ("DELETE", "keys/<str:pk>"): "keys",
    ("POST", "keys/<str:pk>/rotate"): "keys",
}
V1_SCOPES = {
    ("GET", "models"): "read",
    ("GET", "models/<path:name>"): "read",
    ("POST", "responses"): "run",
    ("GET", "responses/<str:pk>"): "read",
    ("DELETE", "responses/<str:pk>"): "write",
    ("POST", "responses/<str:pk>/cancel"): "run",
    ("GET", "responses/<str:pk>/input_items"): "read",
    ("POST", "chat/completions"): "run",
    ("POST", "conversations"): "run",
    ("GET", "conversations/<str:pk>"): "read",
    ("DELETE", "conversations/<str:pk>"): "write",
    ("GET", "conversations/<str:pk>/items"): "read",
}
MCP_SCOPES = {"tools/list": "read", "tools/call": "run"}


@pytest.fixture
def own() -> TenantRows:
    return TenantRows.create()


def all_but(scope: str) -> list[str]:
    return [each for each in ALL if each != scope]


def used_quota(tenant: Tenant) -> int:
    return default_limiter().peek([Quota(tenant.pk, 100, 60)])[0].used


def pk_of(own: TenantRows, endpoint: tuple[str, str]) -> Any:
    kind = TABLE[endpoint][1]
    return own.rows[kind].pk if kind else ""


def test_the_tables_contain_every_route_and_method() -> None:
    assert SCOPES.keys() == TABLE.keys()
    assert V1_SCOPES.keys() == V1_TABLE.keys()


def test_every_action_of_every_view_with_a_key_has_one_known_scope() -> None:
    views: list[Any] = [
        pattern.callback
        for path, pattern in routes(get_resolver().url_patterns)
        if path.startswith(("api/", "v1/", "mcp"))
    ]
    assert len(views) > 30
    for view in views:
        for method in methods_of(view):
            assert view.cls.scopes[view.actions[method.lower()]] in ALL


@pytest.mark.parametrize("endpoint", TABLE, ids=" ".join)
class TestApi:
    def test_a_key_without_the_scope_is_refused_and_nothing_happens(
        self, own: TenantRows, endpoint: tuple[str, str]
    ) -> None:
        required = SCOPES[endpoint]
        api = api_of(own.tenant, all_but(required))
        before = own.snapshot()
        # The scope comes before the ID and the body.
        for pk in (pk_of(own, endpoint), "no-id"):
            response = call(api, endpoint, pk)
            assert (response.status, response.error_code) == (403, "INSUFFICIENT_SCOPE")
            assert response.details == {"required": required, "granted": all_but(required)}
            assert "x-ratelimit-limit" not in response.headers
        assert own.snapshot() == before
        assert used_quota(own.tenant) == 0

    def test_the_scope_alone_is_enough(self, own: TenantRows, endpoint: tuple[str, str]) -> None:
        api = api_of(own.tenant, [SCOPES[endpoint]])
        assert call(api, endpoint, pk_of(own, endpoint)).status == TABLE[endpoint][2]


@pytest.mark.parametrize("endpoint", V1_TABLE, ids=" ".join)
class TestV1:
    def test_a_key_without_the_scope_is_refused_and_nothing_happens(
        self, own: TenantRows, endpoint: tuple[str, str]
    ) -> None:
        required = V1_SCOPES[endpoint]
        api = api_of(own.tenant, all_but(required))
        before = own.snapshot()
        response = call_v1(api, endpoint, own.rows)
        assert response.status == 403
        assert response.json["error"] == {
            "message": f"The API key does not have the scope '{required}'.",
            "type": "permission_error",
            "param": None,
            "code": "insufficient_scope",
        }
        assert own.snapshot() == before
        assert used_quota(own.tenant) == 0

    def test_the_scope_alone_is_enough(self, own: TenantRows, endpoint: tuple[str, str]) -> None:
        api = api_of(own.tenant, [V1_SCOPES[endpoint]])
        assert call_v1(api, endpoint, own.rows).status == V1_TABLE[endpoint][2]


@pytest.mark.parametrize("revision", [MODERN, OLD])
@pytest.mark.parametrize("method", MCP_SCOPES)
class TestMcp:
    def send(self, tenant: Tenant, scopes: Sequence[str], method: str, revision: str) -> Answer:
        client = McpClient(api_of(tenant, scopes), revision)
        agent = AgentFactory.create(tenant=tenant, name="helper", model="gpt-4o")
        return client.tool(agent.name) if method == "tools/call" else client.call(method)

    def test_a_key_without_the_scope_is_refused_and_nothing_happens(
        self, tenant: Tenant, method: str, revision: str
    ) -> None:
        required = MCP_SCOPES[method]
        response = self.send(tenant, all_but(required), method, revision)
        assert response.status == 403
        error = response.json["error"]
        assert error["code"] == -32600
        assert error["data"]["error_code"] == "INSUFFICIENT_SCOPE"
        assert error["data"]["details"]["required"] == required
        assert not Execution.objects.filter(tenant=tenant).exists()
        assert used_quota(tenant) == 0

    def test_the_scope_alone_is_enough(self, tenant: Tenant, method: str, revision: str) -> None:
        response = self.send(tenant, [MCP_SCOPES[method]], method, revision)
        assert response.status == 200
        assert not response.json["result"].get("isError")


@pytest.mark.parametrize("method", ["initialize", "ping", "unknown"])
def test_other_methods_of_mcp_require_read(tenant: Tenant, method: str) -> None:
    client = McpClient(api_of(tenant, ["run"]), OLD)
    assert client.call(method).json["error"]["data"]["error_code"] == "INSUFFICIENT_SCOPE"


class TestKeys:
    def test_a_key_without_a_list_has_all_scopes_but_keys(self, tenant: Tenant) -> None:
        api = api_of(tenant)
        assert ApiKey.objects.get(tenant=tenant).scopes is None
        assert api.get("me").json["scopes"] == ["read", "write", "run", "approve"]
        assert "keys" not in DEFAULT_SCOPES

    def test_me_lists_the_scopes_in_a_fixed_order(self, tenant: Tenant) -> None:
        api = api_of(tenant, ["keys", "run", "read", "run"])
        assert api.get("me").json["scopes"] == ["read", "run", "keys"]

    def test_a_key_with_an_empty_list_allows_nothing(self, own: TenantRows) -> None:
        row, key = issue_key(tenant=own.tenant)
        ApiKey.objects.filter(pk=row.pk).update(scopes=[])
        for endpoint in TABLE:
            response = call(Api(key), endpoint, pk_of(own, endpoint))
            assert response.error_code == "INSUFFICIENT_SCOPE"

    def test_an_invalid_key_is_401_whatever_the_scope(self, own: TenantRows) -> None:
        row, key = issue_key(tenant=own.tenant, scopes=["read"])
        ApiKey.objects.filter(pk=row.pk).update(revoked_at=row.created_at)
        assert Api(key).run(own.rows["agent"].pk).status == 401

    def test_a_method_that_a_route_does_not_have_is_405(self, own: TenantRows) -> None:
        api = api_of(own.tenant, ["read"])
        for method in ("DELETE", "OPTIONS"):
            assert api.call(method, "tools").error_code == "METHOD_NOT_ALLOWED"
        assert api.call("HEAD", "tools").status == 200

    def test_a_replay_requires_the_scope_too(self, own: TenantRows) -> None:
        headers = {"Idempotency-Key": "once"}
        body = {"prompt": "p", "model": "gpt-4o"}
        path = f"agents/{own.rows['agent'].pk}/run"
        first = api_of(own.tenant, ["run"]).post(path, body, headers=headers)
        again = api_of(own.tenant, ["read"]).post(path, body, headers=headers)
        assert (first.status, again.error_code) == (200, "INSUFFICIENT_SCOPE")
