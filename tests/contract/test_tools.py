"""`/api/v1/tools`"""

import uuid

import pytest

from agents.models import AgentTool
from map_project.tenants.models import Tenant
from tests.api import Api
from tests.contract.shapes import ids, is_time
from tests.contract.writes import TOOL
from tests.factories import AgentFactory, ToolFactory
from tools.models import Tool

FIELDS = [
    "id",
    "name",
    "description",
    "kind",
    "parameters",
    "http",
    "mcp",
    "state",
    "idempotent",
    "approval",
    "approval_timeout_seconds",
    "secret_names",
    "created_at",
    "updated_at",
]


@pytest.fixture
def tool(tenant: Tenant) -> Tool:
    return ToolFactory.create(tenant=tenant)


def test_a_tool_is_created_and_read(api: Api) -> None:
    created = api.post("tools", {"name": " web ", "description": " as is "})
    assert created.status == 201
    assert list(created.json) == FIELDS
    assert (created.json["name"], created.json["description"]) == ("web", " as is ")
    assert is_time(created.json["created_at"])
    assert created.json["updated_at"] == created.json["created_at"]
    assert uuid.UUID(created.json["id"]).version == 7
    read = api.get(f"tools/{created.json['id']}")
    assert (read.status, read.json) == (200, created.json)
    assert api.get("tools").json["items"] == [created.json]


def test_tools_are_listed_oldest_first(api: Api) -> None:
    created = [api.post("tools", {**TOOL, "name": name}).json["id"] for name in "cab"]
    assert ids(api.get("tools").json) == created


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_a_change_keeps_the_time_of_creation(api: Api, tool: Tool, method: str) -> None:
    before = api.get(f"tools/{tool.pk}").json
    changed = api.call(method, f"tools/{tool.pk}", {"name": "new", "description": "newer"})
    assert changed.status == 200
    assert list(changed.json) == FIELDS
    assert changed.json == {
        **before,
        "name": "new",
        "description": "newer",
        "updated_at": changed.json["updated_at"],
    }
    assert changed.json["updated_at"] > before["updated_at"]
    assert api.get(f"tools/{tool.pk}").json == changed.json


@pytest.mark.parametrize("field", ["name", "description"])
def test_patch_changes_only_what_is_sent(api: Api, tool: Tool, field: str) -> None:
    before = api.get(f"tools/{tool.pk}").json
    changed = api.patch(f"tools/{tool.pk}", {field: "new"})
    updated = changed.json["updated_at"]
    assert changed.json == {**before, field: "new", "updated_at": updated}


def test_an_empty_patch_changes_nothing(api: Api, tool: Tool) -> None:
    before = api.get(f"tools/{tool.pk}").json
    response = api.patch(f"tools/{tool.pk}", {})
    assert (response.status, response.json) == (200, before)


@pytest.mark.parametrize("field", ["name", "description"])
def test_put_requires_every_field(api: Api, tool: Tool, field: str) -> None:
    before = api.get(f"tools/{tool.pk}").json
    response = api.put(f"tools/{tool.pk}", {key: TOOL[key] for key in TOOL if key != field})
    assert (response.status, response.fields) == (400, {field: ["This field is required."]})
    assert api.get(f"tools/{tool.pk}").json == before


def test_names_are_unique(api: Api, tenant: Tenant) -> None:
    taken = ToolFactory.create(tenant=tenant, name="taken")
    other = ToolFactory.create(tenant=tenant)
    for response in (
        api.post("tools", {**TOOL, "name": " taken "}),
        api.put(f"tools/{other.pk}", {**TOOL, "name": "taken"}),
        api.patch(f"tools/{other.pk}", {"name": "taken"}),
    ):
        assert (response.status, response.error_code) == (400, "DUPLICATE_TOOL_NAME")
        assert response.details == {"name": "taken"}
    assert Tool.objects.filter(tenant=tenant).count() == 2
    assert api.put(f"tools/{taken.pk}", {**TOOL, "name": "taken"}).status == 200


def test_another_tenant_may_use_the_same_name(api: Api, other_api: Api) -> None:
    assert api.post("tools", TOOL).status == 201
    assert other_api.post("tools", TOOL).status == 201


def test_the_name_of_a_deleted_tool_can_be_used_again(api: Api, tool: Tool) -> None:
    assert api.delete(f"tools/{tool.pk}").status == 204
    assert api.post("tools", {**TOOL, "name": tool.name}).status == 201


def test_a_deleted_tool_is_not_found(api: Api, tool: Tool) -> None:
    deleted = api.delete(f"tools/{tool.pk}")
    assert (deleted.status, deleted.content) == (204, b"")
    for method in ("GET", "PUT", "PATCH", "DELETE"):
        again = api.call(method, f"tools/{tool.pk}", TOOL if method[0] == "P" else None)
        assert (again.status, again.error_code) == (404, "TOOL_NOT_FOUND")
        assert again.details == {"tool_id": str(tool.pk)}


def test_a_tool_in_use_cannot_be_deleted(api: Api, tenant: Tenant, tool: Tool) -> None:
    agents = [AgentFactory.create(tenant=tenant, name=name) for name in ("b", "a", "B")]
    for agent in agents:
        AgentTool.objects.create(agent=agent, tool=tool)
    AgentFactory.create(tenant=tenant, with_tools=1)
    response = api.delete(f"tools/{tool.pk}")
    assert (response.status, response.error_code) == (400, "TOOL_IN_USE")
    by_name = sorted(agents, key=lambda agent: agent.name)
    assert response.details == {
        "dependent_agents": [{"id": str(agent.pk), "name": agent.name} for agent in by_name]
    }
    assert list(response.details["dependent_agents"][0]) == ["id", "name"]
    assert api.get(f"tools/{tool.pk}").status == 200
    for agent in agents:
        assert api.patch(f"agents/{agent.pk}", {"tool_ids": []}).status == 200
    assert api.delete(f"tools/{tool.pk}").status == 204


def test_the_filter_by_agent_compares_the_exact_name(api: Api, tenant: Tenant) -> None:
    ToolFactory.create(tenant=tenant)
    agent = AgentFactory.create(tenant=tenant, name="Ada", with_tools=3)
    AgentFactory.create(tenant=tenant, name="ada", with_tools=1)
    expected = [str(tool.pk) for tool in agent.tools.order_by("created_at", "id")]
    response = api.get("tools?agent_name=Ada")
    assert response.status == 200
    assert ids(response.json) == expected
    assert response.json["total"] == 3
    page = api.get("tools?agent_name=Ada&limit=1&offset=1").json
    assert (ids(page), page["total"], page["has_more"]) == ([expected[1]], 3, True)


@pytest.mark.parametrize("name", ["", "A", "ad", "Ada%20", "%20Ada", "ADA", "%25", "A_a", "Ad%"])
def test_an_unknown_agent_has_an_empty_list(api: Api, tenant: Tenant, name: str) -> None:
    AgentFactory.create(tenant=tenant, name="Ada", with_tools=1)
    response = api.get(f"tools?agent_name={name}")
    assert (response.status, response.json["items"], response.json["total"]) == (200, [], 0)


def test_the_filter_finds_no_rows_of_another_tenant(api: Api, other_tenant: Tenant) -> None:
    AgentFactory.create(tenant=other_tenant, name="Ada", with_tools=1)
    assert api.get("tools?agent_name=Ada").json["items"] == []
