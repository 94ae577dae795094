"""No tenant sees, changes or runs what is another's: one table over all routes of the API.

The table must name every route and method that the URLconf has; a new one fails here until it stands
in the table.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from django.urls import URLPattern, URLResolver, get_resolver

from agents.models import Agent, AgentTool
from executions.models import Execution
from map_project.tenants.models import Tenant
from tests.api import Answer, Api
from tests.conftest import api_of
from tests.factories import AgentFactory, ExecutionFactory, TenantFactory, ToolFactory
from tools.models import Tool

TOOL = {"name": "new", "description": "d"}
AGENT = {"name": "new", "role": "r", "description": "d"}
RUN = {"prompt": "p", "model": "gpt-4o"}
# A tool that can be called, and goes nowhere.
UNREACHABLE = {
    "method": "GET",
    "url": "http://127.0.0.1:1/",
    "arguments_in": "query",
    "headers": {},
    "timeout_seconds": 1,
}

# Method and route, the body, the kind of its resource ("" for a collection), and the status for the
# tenant itself. Whose resource it is decides the rest.
TABLE: dict[tuple[str, str], tuple[Any, str, int]] = {
    ("GET", "tools"): (None, "", 200),
    ("POST", "tools"): (TOOL, "", 201),
    ("GET", "tools/<str:pk>"): (None, "tool", 200),
    ("PUT", "tools/<str:pk>"): (TOOL, "tool", 200),
    ("PATCH", "tools/<str:pk>"): ({"name": "new"}, "tool", 200),
    ("DELETE", "tools/<str:pk>"): (None, "tool", 204),
    ("POST", "tools/<str:pk>/test"): ({"arguments": {}}, "tool", 200),
    ("GET", "agents"): (None, "", 200),
    ("POST", "agents"): (AGENT, "", 201),
    ("GET", "agents/<str:pk>"): (None, "agent", 200),
    ("PUT", "agents/<str:pk>"): (AGENT, "agent", 200),
    ("PATCH", "agents/<str:pk>"): ({"name": "new"}, "agent", 200),
    ("DELETE", "agents/<str:pk>"): (None, "agent", 204),
    ("POST", "agents/<str:pk>/run"): (RUN, "agent", 200),
    ("GET", "models"): (None, "", 200),
    ("GET", "history"): (None, "", 200),
    ("GET", "history/<str:pk>"): (None, "execution", 200),
}
OF_ONE = {key: row for key, row in TABLE.items() if row[1]}
OF_ALL = {key: row for key, row in TABLE.items() if not row[1]}


@dataclass
class Shop:
    """A tenant with one of each."""

    tenant: Tenant
    api: Api
    rows: dict[str, Tool | Agent | Execution]

    @classmethod
    def open(cls) -> "Shop":
        tenant = TenantFactory.create()
        agent = AgentFactory.create(tenant=tenant)
        rows: dict[str, Tool | Agent | Execution] = {
            "tool": ToolFactory.create(tenant=tenant, kind="http", config=UNREACHABLE),
            "agent": agent,
            "execution": ExecutionFactory.create(agent=agent),
        }
        return cls(tenant, api_of(tenant), rows)

    def snapshot(self) -> list[Any]:
        """All that the tenant has."""
        return [
            list(model.objects.filter(tenant=self.tenant).order_by("pk").values())
            for model in (Tool, Agent, Execution)
        ] + [list(AgentTool.objects.filter(agent__tenant=self.tenant).values())]


@pytest.fixture
def shop() -> Shop:
    return Shop.open()


@pytest.fixture
def other_shop() -> Shop:
    return Shop.open()


def ask(api: Api, key: tuple[str, str], pk: object = "") -> Answer:
    method, route = key
    return api.call(method, route.replace("<str:pk>", str(pk)), TABLE[key][0])


def routes(patterns: list[Any], prefix: str = "") -> Iterator[tuple[str, URLPattern]]:
    for pattern in patterns:
        path = f"{prefix}{pattern.pattern}"
        if isinstance(pattern, URLResolver):
            yield from routes(pattern.url_patterns, path)
        else:
            yield path, pattern


def methods_of(view: Any) -> set[str]:
    """What a view answers; HEAD goes with GET."""
    answered = getattr(view, "actions", None) or {
        name for name in view.view_class.http_method_names if hasattr(view.view_class, name)
    }
    return {name.upper() for name in answered} - {"HEAD"}


def test_the_table_names_every_route_and_method_of_the_api() -> None:
    found = {
        (method, path.removeprefix("api/v1/"))
        for path, pattern in routes(get_resolver().url_patterns)
        if path.startswith("api/")
        for method in methods_of(pattern.callback)
    }
    assert found == TABLE.keys()


def test_what_is_open_without_a_key_is_known() -> None:
    others = {
        path
        for path, _ in routes(get_resolver().url_patterns)
        if not path.startswith(("api/", "admin"))
    }
    assert others == {"", "health", "live", "ready", "schema", "docs", "redoc"}


@pytest.mark.parametrize("key", OF_ONE, ids=" ".join)
class TestOneResource:
    def test_its_own_tenant_reaches_it(self, shop: Shop, key: tuple[str, str]) -> None:
        _, kind, status = TABLE[key]
        assert ask(shop.api, key, shop.rows[kind].pk).status == status

    def test_another_tenant_is_told_whose_it_is_not(
        self, shop: Shop, other_shop: Shop, key: tuple[str, str]
    ) -> None:
        kind = TABLE[key][1]
        foreign = other_shop.rows[kind]
        before = other_shop.snapshot(), shop.snapshot()
        answer = ask(shop.api, key, foreign.pk)
        assert (answer.status, answer.error_code) == (403, "TENANT_ISOLATION_VIOLATION")
        assert answer.details == {"resource_type": kind, "resource_id": str(foreign.pk)}
        assert (other_shop.snapshot(), shop.snapshot()) == before

    def test_nothing_of_another_tenants_resource_is_told(
        self, shop: Shop, other_shop: Shop, key: tuple[str, str]
    ) -> None:
        foreign = other_shop.rows[TABLE[key][1]]
        texts = [value for value in vars(foreign).values() if isinstance(value, str)]
        answer = ask(shop.api, key, foreign.pk).content.decode()
        assert not [text for text in texts if len(text) > 5 and text in answer]
        assert str(other_shop.tenant.pk) not in answer

    def test_what_is_nobodys_is_not_found(
        self, shop: Shop, unknown_id: str, key: tuple[str, str]
    ) -> None:
        kind = TABLE[key][1]
        for pk in (unknown_id, "no-id", str(shop.tenant.pk)):
            answer = ask(shop.api, key, pk)
            assert (answer.status, answer.error_code) == (404, f"{kind.upper()}_NOT_FOUND")
            assert answer.details == {f"{kind}_id": pk}

    def test_the_id_of_another_kind_is_not_found(self, shop: Shop, key: tuple[str, str]) -> None:
        kind = TABLE[key][1]
        for other in shop.rows.keys() - {kind}:
            assert ask(shop.api, key, shop.rows[other].pk).status == 404

    @pytest.mark.parametrize(
        ("sent", "code"), [(None, "MISSING_API_KEY"), ("wrong", "INVALID_API_KEY")]
    )
    def test_without_a_key_all_are_told_alike(
        self, *, shop: Shop, unknown_id: str, key: tuple[str, str], sent: str | None, code: str
    ) -> None:
        before = shop.snapshot()
        contents = set()
        for pk in (shop.rows[TABLE[key][1]].pk, unknown_id, "no-id"):
            answer = ask(Api(sent), key, pk)
            assert (answer.status, answer.error_code) == (401, code)
            contents.add(answer.content)
        assert len(contents) == 1
        assert shop.snapshot() == before


@pytest.mark.parametrize("key", OF_ALL, ids=" ".join)
class TestCollections:
    def test_each_tenant_has_its_own(
        self, shop: Shop, other_shop: Shop, key: tuple[str, str]
    ) -> None:
        before = other_shop.snapshot()
        answer = ask(shop.api, key)
        assert answer.status == TABLE[key][2]
        found = answer.json.get("items", [answer.json])
        # Models are the operator's; no tenant has any of its own.
        assert len(found) == 1 or key == ("GET", "models")
        assert not {item.get("id") for item in found} & {
            str(row.pk) for row in other_shop.rows.values()
        }
        assert other_shop.snapshot() == before

    @pytest.mark.parametrize(
        ("sent", "code"), [(None, "MISSING_API_KEY"), ("wrong", "INVALID_API_KEY")]
    )
    def test_without_a_key_there_is_nothing(
        self, key: tuple[str, str], sent: str | None, code: str
    ) -> None:
        answer = ask(Api(sent), key)
        assert (answer.status, answer.error_code) == (401, code)


def test_totals_and_pages_count_the_tenants_own(shop: Shop, other_shop: Shop) -> None:
    ToolFactory.create_batch(3, tenant=other_shop.tenant)
    for route in ("tools", "agents", "history"):
        assert shop.api.get(f"{route}?limit=1").json["total"] == 1
        assert shop.api.get(f"{route}?limit=1").json["has_more"] is False
        assert shop.api.get(f"{route}?offset=1").json["items"] == []


@pytest.mark.parametrize("field", ["tenant", "tenant_id", "id"])
def test_a_body_cannot_choose_the_tenant(shop: Shop, other_shop: Shop, field: str) -> None:
    before = other_shop.snapshot(), shop.snapshot()
    chosen = str(other_shop.tenant.pk)
    for key, (body, kind, _) in TABLE.items():
        if body:
            pk = shop.rows[kind].pk if kind else ""
            path = key[1].replace("<str:pk>", str(pk))
            answer = shop.api.call(key[0], path, {**body, field: chosen})
            assert answer.fields == {field: ["Unknown field."]}
    assert (other_shop.snapshot(), shop.snapshot()) == before


def test_a_tool_of_another_tenant_is_never_associated(shop: Shop, other_shop: Shop) -> None:
    before = other_shop.snapshot(), shop.snapshot()
    body = {**AGENT, "tool_ids": [str(other_shop.rows["tool"].pk)]}
    agent = f"agents/{shop.rows['agent'].pk}"
    for method, path in (("POST", "agents"), ("PUT", agent), ("PATCH", agent)):
        answer = shop.api.call(method, path, body)
        assert (answer.status, answer.error_code) == (403, "CROSS_TENANT_TOOL")
    assert (other_shop.snapshot(), shop.snapshot()) == before


def test_an_execution_stays_its_tenants_when_its_agent_is_gone(
    shop: Shop, other_shop: Shop
) -> None:
    other_shop.api.delete(f"agents/{other_shop.rows['agent'].pk}")
    answer = shop.api.get(f"history/{other_shop.rows['execution'].pk}")
    assert (answer.status, answer.details["resource_type"]) == (403, "execution")
