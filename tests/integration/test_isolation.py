"""Tenant isolation: one table with all routes and methods of the API.

If a route or method of the URLconf is missing in the table, a test fails.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from django.urls import URLPattern, URLResolver, get_resolver
from django.utils import timezone

from agents.models import Agent, AgentTool
from executions.models import Approval, Conversation, Execution
from map_project.api.fields import parse_uuid
from map_project.tenants.keys import issue_key
from map_project.tenants.models import ApiKey, Tenant
from map_project.tenants.scopes import SCOPES
from map_project.webhooks.models import WebhookDelivery, WebhookEndpoint
from tests.api import Answer, Api
from tests.conftest import api_of
from tests.factories import (
    AgentFactory,
    ApprovalFactory,
    DeliveryFactory,
    ExecutionFactory,
    TenantFactory,
    ToolFactory,
    WebhookFactory,
)
from tools.models import Tool

TOOL = {"name": "new", "description": "d"}
AGENT = {"name": "new", "role": "r", "description": "d"}
Row = Tool | Agent | Execution | Approval | Conversation | WebhookEndpoint | ApiKey
RUN = {"prompt": "p", "model": "gpt-4o"}
# The configuration of a callable tool whose server is not reachable.
UNREACHABLE = {
    "method": "GET",
    "url": "http://127.0.0.1:1/",
    "arguments_in": "query",
    "headers": {},
    "timeout_seconds": 1,
}
# An import from a server that is not reachable.
UNREACHABLE_IMPORT = {"kind": "mcp", "url": "http://127.0.0.1:1/"}

MINUTE_AGO = timezone.now() - timedelta(minutes=1)
WEBHOOK = {"url": "https://example.com/hook", "event_types": ["*"]}
# No wider than a key with the scope `keys` alone.
KEY = {"name": "new", "scopes": ["keys"]}

# By method and route: the body, the kind of the resource ("" for a collection), and the status for its
# own tenant.
TABLE: dict[tuple[str, str], tuple[Any, str, int]] = {
    ("GET", "tools"): (None, "", 200),
    ("POST", "tools"): (TOOL, "", 201),
    ("GET", "tools/<str:pk>"): (None, "tool", 200),
    ("PUT", "tools/<str:pk>"): (TOOL, "tool", 200),
    ("PATCH", "tools/<str:pk>"): ({"name": "new"}, "tool", 200),
    ("DELETE", "tools/<str:pk>"): (None, "tool", 204),
    ("POST", "tools/<str:pk>/test"): ({"arguments": {}}, "tool", 200),
    ("POST", "tools/<str:pk>/refresh"): (None, "tool", 400),
    ("POST", "tools/import"): (UNREACHABLE_IMPORT, "", 400),
    ("GET", "agents"): (None, "", 200),
    ("POST", "agents"): (AGENT, "", 201),
    ("GET", "agents/<str:pk>"): (None, "agent", 200),
    ("PUT", "agents/<str:pk>"): (AGENT, "agent", 200),
    ("PATCH", "agents/<str:pk>"): ({"name": "new"}, "agent", 200),
    ("DELETE", "agents/<str:pk>"): (None, "agent", 204),
    ("POST", "agents/<str:pk>/run"): (RUN, "agent", 200),
    ("GET", "models"): (None, "", 200),
    ("GET", "me"): (None, "", 200),
    ("GET", "usage"): (None, "", 200),
    ("GET", "history"): (None, "", 200),
    ("GET", "history/export"): (None, "", 200),
    ("GET", "history/<str:pk>"): (None, "execution", 200),
    ("GET", "history/<str:pk>/steps"): (None, "execution", 200),
    ("GET", "history/<str:pk>/events"): (None, "execution", 200),
    ("POST", "history/<str:pk>/cancel"): (None, "execution", 200),
    ("GET", "approvals"): (None, "", 200),
    ("GET", "approvals/<str:pk>"): (None, "approval", 200),
    ("POST", "approvals/<str:pk>"): ({"approve": True}, "approval", 200),
    ("GET", "conversations"): (None, "", 200),
    ("POST", "conversations"): ({}, "", 201),
    ("GET", "conversations/<str:pk>"): (None, "conversation", 200),
    ("DELETE", "conversations/<str:pk>"): (None, "conversation", 204),
    ("GET", "conversations/<str:pk>/items"): (None, "conversation", 200),
    ("GET", "webhooks"): (None, "", 200),
    ("POST", "webhooks"): (WEBHOOK, "", 201),
    ("GET", "webhooks/<str:pk>"): (None, "webhook", 200),
    ("PUT", "webhooks/<str:pk>"): (WEBHOOK, "webhook", 200),
    ("PATCH", "webhooks/<str:pk>"): ({"is_active": False}, "webhook", 200),
    ("DELETE", "webhooks/<str:pk>"): (None, "webhook", 204),
    ("POST", "webhooks/<str:pk>/rotate-secret"): (None, "webhook", 200),
    ("GET", "webhooks/<str:pk>/deliveries"): (None, "webhook", 200),
    ("POST", "webhooks/<str:pk>/deliveries/<str:delivery_pk>/retry"): (None, "webhook", 202),
    ("POST", "webhooks/<str:pk>/test"): (None, "webhook", 202),
    ("GET", "keys"): (None, "", 200),
    ("POST", "keys"): (KEY, "", 201),
    ("GET", "keys/<str:pk>"): (None, "key", 200),
    ("DELETE", "keys/<str:pk>"): (None, "key", 204),
    ("POST", "keys/<str:pk>/rotate"): ({"grace_seconds": 60}, "key", 201),
}
# At `/v1`, likewise. An ID is that of the agent or of the execution, in the form that is used there.
_V1_RUN = {"input": "p", "messages": [{"role": "user", "content": "p"}]}
V1_TABLE: dict[tuple[str, str], tuple[Any, str, int]] = {
    ("GET", "models"): (None, "", 200),
    ("GET", "models/<path:name>"): (None, "agent", 200),
    ("POST", "responses"): (_V1_RUN, "agent", 200),
    ("GET", "responses/<str:pk>"): (None, "response", 200),
    ("DELETE", "responses/<str:pk>"): (None, "response", 200),
    ("POST", "responses/<str:pk>/cancel"): (None, "response", 200),
    ("GET", "responses/<str:pk>/input_items"): (None, "response", 200),
    ("POST", "chat/completions"): (_V1_RUN, "agent", 200),
    ("POST", "conversations"): ({}, "", 200),
    ("GET", "conversations/<str:pk>"): (None, "conversation", 200),
    ("DELETE", "conversations/<str:pk>"): (None, "conversation", 200),
    ("GET", "conversations/<str:pk>/items"): (None, "conversation", 200),
}
RESOURCES = {endpoint: row for endpoint, row in TABLE.items() if row[1]}
COLLECTIONS = {endpoint: row for endpoint, row in TABLE.items() if not row[1]}


@dataclass
class TenantRows:
    """A tenant with one row of each kind, and a client whose key has all scopes."""

    tenant: Tenant
    api: Api
    rows: dict[str, Row]
    delivery: WebhookDelivery

    @classmethod
    def create(cls) -> "TenantRows":
        tenant = TenantFactory.create()
        agent = AgentFactory.create(tenant=tenant, model="gpt-4o")
        webhook = WebhookFactory.create(tenant=tenant)
        rows: dict[str, Row] = {
            "webhook": webhook,
            "tool": ToolFactory.create(tenant=tenant, kind="http", config=UNREACHABLE),
            "agent": agent,
            # Newer ones are not exported.
            "execution": (execution := ExecutionFactory.create(agent=agent, created_at=MINUTE_AGO)),
            "approval": ApprovalFactory.create(execution=execution),
            "conversation": Conversation.objects.create(tenant=tenant),
            "key": issue_key(tenant=tenant, scopes=["keys"])[0],
        }
        delivery = DeliveryFactory.create(endpoint=webhook)
        return cls(tenant, api_of(tenant, SCOPES), rows, delivery)

    def snapshot(self) -> list[Any]:
        """Return all rows of the tenant."""
        return [
            list(model.objects.filter(tenant=self.tenant).order_by("pk").values())
            for model in (
                Tool,
                Agent,
                Execution,
                Approval,
                Conversation,
                WebhookEndpoint,
                WebhookDelivery,
            )
        ] + [
            list(AgentTool.objects.filter(agent__tenant=self.tenant).values()),
            # Without the last use, which a thread writes.
            list(
                ApiKey.objects.filter(tenant=self.tenant).values("id", "expires_at", "revoked_at")
            ),
        ]


@pytest.fixture
def own() -> TenantRows:
    return TenantRows.create()


@pytest.fixture
def other() -> TenantRows:
    return TenantRows.create()


def call(api: Api, endpoint: tuple[str, str], pk: object = "") -> Answer:
    method, route = endpoint
    # The delivery of the webhook, if it is one.
    webhook_id = parse_uuid(str(pk))
    delivery = WebhookDelivery.objects.filter(endpoint_id=webhook_id).first()
    route = route.replace("<str:delivery_pk>", str(delivery and delivery.pk))
    return api.call(method, route.replace("<str:pk>", str(pk)), TABLE[endpoint][0])


def call_v1(api: Api, endpoint: tuple[str, str], rows: dict[str, Row]) -> Answer:
    method, route = endpoint
    body, kind, _ = V1_TABLE[endpoint]
    model = f"agent:{rows['agent'].pk}"
    pk = f"conv_{rows['conversation'].pk.hex}"
    if kind == "response":
        pk = f"resp_{rows['execution'].pk.hex}"
    path = route.replace("<str:pk>", pk).replace("<path:name>", model)
    return api.call(method, f"/v1/{path}", None if body is None else {"model": model, **body})


def routes(patterns: list[Any], prefix: str = "") -> Iterator[tuple[str, URLPattern]]:
    for pattern in patterns:
        path = f"{prefix}{pattern.pattern}"
        if isinstance(pattern, URLResolver):
            yield from routes(pattern.url_patterns, path)
        else:
            yield path, pattern


def methods_of(view: Any) -> set[str]:
    """Return the methods of a view, without HEAD."""
    methods = getattr(view, "actions", None) or {
        name for name in view.view_class.http_method_names if hasattr(view.view_class, name)
    }
    return {name.upper() for name in methods} - {"HEAD"}


def test_the_table_contains_every_route_and_method_of_the_api() -> None:
    found = {
        (method, path.removeprefix("api/v1/"))
        for path, pattern in routes(get_resolver().url_patterns)
        if path.startswith("api/")
        for method in methods_of(pattern.callback)
    }
    assert found == TABLE.keys()


def test_the_table_of_v1_contains_every_route_and_method() -> None:
    found = {
        (method, path.removeprefix("v1/"))
        for path, pattern in routes(get_resolver().url_patterns)
        if path.startswith("v1/")
        for method in methods_of(pattern.callback)
    }
    assert found == V1_TABLE.keys()


@pytest.mark.parametrize("endpoint", V1_TABLE, ids=" ".join)
class TestV1:
    def test_only_its_own_tenant_has_access(
        self, own: TenantRows, other: TenantRows, endpoint: tuple[str, str]
    ) -> None:
        _, kind, status = V1_TABLE[endpoint]
        before = other.snapshot()
        assert call_v1(own.api, endpoint, own.rows).status == status
        if kind:
            own_rows = own.snapshot()
            response = call_v1(own.api, endpoint, other.rows)
            assert response.status == 403
            assert response.json["error"]["code"] == "tenant_isolation_violation"
            assert own.snapshot() == own_rows
        assert other.snapshot() == before

    @pytest.mark.parametrize(
        ("api_key", "code"), [(None, "missing_api_key"), ("wrong", "invalid_api_key")]
    )
    def test_without_a_key_there_is_no_access(
        self, own: TenantRows, endpoint: tuple[str, str], api_key: str | None, code: str
    ) -> None:
        before = own.snapshot()
        response = call_v1(Api(api_key), endpoint, own.rows)
        assert (response.status, response.json["error"]["code"]) == (401, code)
        assert own.snapshot() == before


def test_routes_without_an_api_key() -> None:
    others = {
        path
        for path, _ in routes(get_resolver().url_patterns)
        if not path.startswith(("api/", "v1/", "mcp", "admin"))
    }
    assert others == {"", "health", "live", "ready", "schema", "docs", "redoc"}


@pytest.mark.parametrize("endpoint", RESOURCES, ids=" ".join)
class TestOneResource:
    def test_its_own_tenant_has_access(self, own: TenantRows, endpoint: tuple[str, str]) -> None:
        _, kind, status = TABLE[endpoint]
        assert call(own.api, endpoint, own.rows[kind].pk).status == status

    def test_another_tenant_has_no_access(
        self, own: TenantRows, other: TenantRows, endpoint: tuple[str, str]
    ) -> None:
        kind = TABLE[endpoint][1]
        foreign = other.rows[kind]
        before = other.snapshot(), own.snapshot()
        response = call(own.api, endpoint, foreign.pk)
        assert (response.status, response.error_code) == (403, "TENANT_ISOLATION_VIOLATION")
        assert response.details == {"resource_type": kind, "resource_id": str(foreign.pk)}
        assert (other.snapshot(), own.snapshot()) == before

    def test_the_error_contains_nothing_of_the_resource(
        self, own: TenantRows, other: TenantRows, endpoint: tuple[str, str]
    ) -> None:
        foreign = other.rows[TABLE[endpoint][1]]
        texts = [value for value in vars(foreign).values() if isinstance(value, str)]
        response = call(own.api, endpoint, foreign.pk).content.decode()
        assert not [text for text in texts if len(text) > 5 and text in response]
        assert str(other.tenant.pk) not in response

    def test_an_unknown_id_is_not_found(
        self, own: TenantRows, unknown_id: str, endpoint: tuple[str, str]
    ) -> None:
        kind = TABLE[endpoint][1]
        for pk in (unknown_id, "no-id", str(own.tenant.pk)):
            response = call(own.api, endpoint, pk)
            assert (response.status, response.error_code) == (404, f"{kind.upper()}_NOT_FOUND")
            assert response.details == {f"{kind}_id": pk}

    def test_the_id_of_another_kind_is_not_found(
        self, own: TenantRows, endpoint: tuple[str, str]
    ) -> None:
        kind = TABLE[endpoint][1]
        for other_kind in own.rows.keys() - {kind}:
            assert call(own.api, endpoint, own.rows[other_kind].pk).status == 404

    @pytest.mark.parametrize(
        ("api_key", "code"), [(None, "MISSING_API_KEY"), ("wrong", "INVALID_API_KEY")]
    )
    def test_without_a_key_all_responses_are_the_same(
        self,
        *,
        own: TenantRows,
        unknown_id: str,
        endpoint: tuple[str, str],
        api_key: str | None,
        code: str,
    ) -> None:
        before = own.snapshot()
        contents = set()
        for pk in (own.rows[TABLE[endpoint][1]].pk, unknown_id, "no-id"):
            response = call(Api(api_key), endpoint, pk)
            assert (response.status, response.error_code) == (401, code)
            contents.add(response.content)
        assert len(contents) == 1
        assert own.snapshot() == before


@pytest.mark.parametrize("endpoint", COLLECTIONS, ids=" ".join)
class TestCollections:
    def test_each_tenant_has_its_own(
        self, own: TenantRows, other: TenantRows, endpoint: tuple[str, str]
    ) -> None:
        before = other.snapshot()
        response = call(own.api, endpoint)
        assert response.status == TABLE[endpoint][2]
        found = [json.loads(line) for line in response.content.splitlines()]
        # Without groups, the usage has no items.
        if "items" in found[0] and endpoint != ("GET", "usage"):
            found = found[0]["items"]
        # Models belong to the operator, not to a tenant. The key of the client is one more.
        assert len(found) == (2 if endpoint == ("GET", "keys") else 1) or endpoint[1] == "models"
        assert not {item.get("id") for item in found} & {str(row.pk) for row in other.rows.values()}
        assert other.snapshot() == before

    @pytest.mark.parametrize(
        ("api_key", "code"), [(None, "MISSING_API_KEY"), ("wrong", "INVALID_API_KEY")]
    )
    def test_without_a_key_there_is_no_access(
        self, endpoint: tuple[str, str], api_key: str | None, code: str
    ) -> None:
        response = call(Api(api_key), endpoint)
        assert (response.status, response.error_code) == (401, code)


def test_totals_and_pages_contain_only_own_rows(own: TenantRows, other: TenantRows) -> None:
    ToolFactory.create_batch(3, tenant=other.tenant)
    for route in ("tools", "agents", "history", "approvals", "webhooks"):
        assert own.api.get(f"{route}?limit=1").json["total"] == 1
        assert own.api.get(f"{route}?limit=1").json["has_more"] is False
        assert own.api.get(f"{route}?offset=1").json["items"] == []
    assert own.api.get("keys?limit=2").json["total"] == 2
    for group in ("day", "model", "agent", "key", "status"):
        usage = own.api.get(f"usage?group_by={group}").json
        assert [item["runs"] for item in (usage["totals"], *usage["items"])] == [1, 1]


@pytest.mark.parametrize("field", ["tenant", "tenant_id", "id"])
def test_a_body_cannot_choose_the_tenant(own: TenantRows, other: TenantRows, field: str) -> None:
    before = other.snapshot(), own.snapshot()
    chosen = str(other.tenant.pk)
    for (method, route), (body, kind, _) in TABLE.items():
        if body:
            pk = own.rows[kind].pk if kind else ""
            path = route.replace("<str:pk>", str(pk))
            response = own.api.call(method, path, {**body, field: chosen})
            assert response.fields == {field: ["Unknown field."]}
    assert (other.snapshot(), own.snapshot()) == before


def test_a_tool_of_another_tenant_is_never_associated(own: TenantRows, other: TenantRows) -> None:
    before = other.snapshot(), own.snapshot()
    body = {**AGENT, "tool_ids": [str(other.rows["tool"].pk)]}
    agent = f"agents/{own.rows['agent'].pk}"
    for method, path in (("POST", "agents"), ("PUT", agent), ("PATCH", agent)):
        response = own.api.call(method, path, body)
        assert (response.status, response.error_code) == (403, "CROSS_TENANT_TOOL")
    assert (other.snapshot(), own.snapshot()) == before


def test_an_execution_of_a_deleted_agent_belongs_to_its_tenant(
    own: TenantRows, other: TenantRows
) -> None:
    other.api.delete(f"agents/{other.rows['agent'].pk}")
    response = own.api.get(f"history/{other.rows['execution'].pk}")
    assert (response.status, response.details["resource_type"]) == (403, "execution")
