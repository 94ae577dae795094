"""`/api/v1/agents`"""

import json
import uuid
from typing import Any

import pytest

from agents.models import MAX_TOOLS, Agent
from executions.models import Execution
from map_project.tenants.models import Tenant
from tests.api import Api
from tests.contract.shapes import ids, is_time
from tests.contract.writes import AGENT
from tests.factories import AgentFactory, ToolFactory
from tools.models import Tool

FIELDS = [
    "id",
    "name",
    "role",
    "description",
    "tools",
    "model",
    "max_steps",
    "max_tool_calls",
    "max_context_characters",
    "settings",
    "output_schema",
    "created_at",
    "updated_at",
]


@pytest.fixture
def agent(tenant: Tenant) -> Agent:
    return AgentFactory.create(tenant=tenant, with_tools=2)


def tools_of(tenant: Tenant, *names: str) -> list[Tool]:
    return [ToolFactory.create(tenant=tenant, name=name) for name in names]


def id_list(*tools: Tool) -> list[str]:
    return [str(tool.pk) for tool in tools]


def names(agent_json: Any) -> list[str]:
    return [tool["name"] for tool in agent_json["tools"]]


def test_an_agent_is_created_and_read(api: Api, tenant: Tenant) -> None:
    (tool,) = tools_of(tenant, "web")
    body = {"name": " Ada ", "role": " r ", "description": " d ", "tool_ids": id_list(tool)}
    created = api.post("agents", body)
    assert created.status == 201
    assert list(created.json) == FIELDS
    assert created.json == {
        "id": created.json["id"],
        "name": "Ada",
        "role": " r ",
        "description": " d ",
        "tools": [{"id": str(tool.pk), "name": "web", "description": tool.description}],
        "model": None,
        "max_steps": 8,
        "max_tool_calls": 100,
        "max_context_characters": 200_000,
        "settings": {},
        "output_schema": None,
        "created_at": created.json["created_at"],
        "updated_at": created.json["created_at"],
    }
    assert list(created.json["tools"][0]) == ["id", "name", "description"]
    assert is_time(created.json["created_at"])
    assert uuid.UUID(created.json["id"]).version == 7
    read = api.get(f"agents/{created.json['id']}")
    assert (read.status, read.json) == (200, created.json)
    assert api.get("agents").json["items"] == [created.json]


def test_an_agent_needs_no_tools(api: Api) -> None:
    bodies: list[dict[str, Any]] = [{**AGENT, "name": "a"}, {**AGENT, "tool_ids": []}]
    for body in bodies:
        created = api.post("agents", body)
        assert (created.status, created.json["tools"]) == (201, [])


def test_agents_are_listed_oldest_first(api: Api) -> None:
    created = [api.post("agents", {**AGENT, "name": name}).json["id"] for name in "cab"]
    assert ids(api.get("agents").json) == created


def test_tools_are_ordered_by_the_code_points_of_their_names(api: Api, tenant: Tenant) -> None:
    ordered = ["A", "B", "_", "a", "aB", "a b", "a-b", "b", "z", "\u00e9", "\uff5e", "\U0001f600"]
    ordered.sort()
    tools = tools_of(tenant, *reversed(ordered))
    created = api.post("agents", {**AGENT, "tool_ids": id_list(*tools)})
    path = f"agents/{created.json['id']}"
    assert names(created.json) == ordered
    assert names(api.get(path).json) == ordered
    assert names(api.patch(path, {"role": "new"}).json) == ordered
    assert names(api.get("agents").json["items"][0]) == ordered
    assert api.run(created.json["id"]).json["tools_available"] == ordered


def test_a_repeated_tool_id_counts_once(api: Api, tenant: Tenant) -> None:
    (tool,) = tools_of(tenant, "web")
    twice = [str(tool.pk), str(tool.pk).upper(), str(tool.pk)]
    created = api.post("agents", {**AGENT, "tool_ids": twice})
    assert (created.status, names(created.json)) == (201, ["web"])
    changed = api.patch(f"agents/{created.json['id']}", {"tool_ids": twice})
    assert (changed.status, names(changed.json)) == (200, ["web"])


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_without_tool_ids_the_tools_are_unchanged(api: Api, agent: Agent, method: str) -> None:
    before = api.get(f"agents/{agent.pk}").json
    changed = api.call(method, f"agents/{agent.pk}", AGENT)
    assert changed.status == 200
    updated = changed.json["updated_at"]
    assert changed.json == {**before, **AGENT, "updated_at": updated}
    assert updated > before["updated_at"]
    assert api.get(f"agents/{agent.pk}").json == changed.json


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_an_empty_list_removes_the_tools(api: Api, agent: Agent, method: str) -> None:
    changed = api.call(method, f"agents/{agent.pk}", {**AGENT, "tool_ids": []})
    assert (changed.status, changed.json["tools"]) == (200, [])
    assert api.get(f"agents/{agent.pk}").json["tools"] == []


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_tool_ids_replace_the_tools(api: Api, tenant: Tenant, agent: Agent, method: str) -> None:
    kept = agent.tools.first()
    assert kept
    (new,) = tools_of(tenant, "a new one")
    body = {**AGENT, "tool_ids": id_list(new, kept)}
    changed = api.call(method, f"agents/{agent.pk}", body)
    assert names(changed.json) == ["a new one", kept.name]
    assert api.get(f"agents/{agent.pk}").json == changed.json


def test_patch_of_the_tools_changes_no_other_field(api: Api, agent: Agent) -> None:
    before = api.get(f"agents/{agent.pk}").json
    changed = api.patch(f"agents/{agent.pk}", {"tool_ids": []}).json
    assert changed == {**before, "tools": [], "updated_at": changed["updated_at"]}
    assert changed["updated_at"] > before["updated_at"]


@pytest.mark.parametrize("field", AGENT)
def test_patch_changes_only_what_is_sent(api: Api, agent: Agent, field: str) -> None:
    before = api.get(f"agents/{agent.pk}").json
    changed = api.patch(f"agents/{agent.pk}", {field: "new"}).json
    assert changed == {**before, field: "new", "updated_at": changed["updated_at"]}


def test_an_empty_patch_changes_nothing(api: Api, agent: Agent) -> None:
    before = api.get(f"agents/{agent.pk}").json
    response = api.patch(f"agents/{agent.pk}", {})
    assert (response.status, response.json) == (200, before)
    assert api.get(f"agents/{agent.pk}").json == before


@pytest.mark.parametrize("field", AGENT)
def test_put_requires_every_field_except_tool_ids(api: Api, agent: Agent, field: str) -> None:
    response = api.put(f"agents/{agent.pk}", {key: AGENT[key] for key in AGENT if key != field})
    assert (response.status, response.fields) == (400, {field: ["This field is required."]})


INVALID_LISTS: dict[str, tuple[Any, str]] = {
    "null": (None, "This field may not be null."),
    "a text": ("0197a3c0-5b7e-7c1a-9f60-3a2f4f0f7a11", "Expected a list of IDs."),
    "an empty text": ("", "Expected a list of IDs."),
    "a number": (1, "Expected a list of IDs."),
    "false": (False, "Expected a list of IDs."),
    "an object": ({"0": "0197a3c0-5b7e-7c1a-9f60-3a2f4f0f7a11"}, "Expected a list of IDs."),
}
_NOT_AN_ID = "Every item must be a UUID."
INVALID_IDS: dict[str, Any] = {
    "null": None,
    "a number": 1,
    "a large number": 2**127,
    "true": True,
    "empty": "",
    "a word": "web",
    "no hyphens": "0197a3c05b7e7c1a9f603a2f4f0f7a11",
    "braces": "{0197a3c0-5b7e-7c1a-9f60-3a2f4f0f7a11}",
    "a URN": "urn:uuid:0197a3c0-5b7e-7c1a-9f60-3a2f4f0f7a11",
    "blanks around": " 0197a3c0-5b7e-7c1a-9f60-3a2f4f0f7a11",
    "a line break after": "0197a3c0-5b7e-7c1a-9f60-3a2f4f0f7a11\n",
    "other digits": "\u0660197a3c0-5b7e-7c1a-9f60-3a2f4f0f7a11"[:36],
    "NUL": "\0",
    "a list": ["0197a3c0-5b7e-7c1a-9f60-3a2f4f0f7a11"],
    "an object": {"id": "0197a3c0-5b7e-7c1a-9f60-3a2f4f0f7a11"},
}


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
@pytest.mark.parametrize(
    ("sent", "message"),
    [
        *INVALID_LISTS.values(),
        *(([value], _NOT_AN_ID) for value in INVALID_IDS.values()),
    ],
    ids=[*INVALID_LISTS, *(f"a list of {name}" for name in INVALID_IDS)],
)
def test_tool_ids_are_a_list_of_uuids(
    api: Api, agent: Agent, method: str, sent: Any, message: str
) -> None:
    before = api.get("agents").json
    path = "agents" if method == "POST" else f"agents/{agent.pk}"
    response = api.call(method, path, {**AGENT, "tool_ids": sent})
    assert (response.status, response.fields) == (400, {"tool_ids": [message]})
    assert api.get("agents").json == before


def test_errors_of_list_items_are_a_flat_list(api: Api) -> None:
    response = api.post("agents", {"name": 1, "tool_ids": [1, "x", None, []], "extra": 1})
    assert response.fields == {
        "extra": ["Unknown field."],
        "name": ["Not a valid string."],
        "role": ["This field is required."],
        "description": ["This field is required."],
        "tool_ids": [_NOT_AN_ID],
    }


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
@pytest.mark.parametrize("kind", ["foreign", "unknown"])
def test_a_tool_that_the_tenant_does_not_have_is_rejected(
    *, api: Api, agent: Agent, other_tenant: Tenant, unknown_id: str, method: str, kind: str
) -> None:
    foreign = str(ToolFactory.create(tenant=other_tenant).pk)
    wrong = foreign if kind == "foreign" else unknown_id
    own = str(agent.tools.all()[0].pk)
    before = api.get("agents").json
    path = "agents" if method == "POST" else f"agents/{agent.pk}"
    response = api.call(method, path, {**AGENT, "tool_ids": [own, wrong.upper()]})
    assert (response.status, response.error_code) == (403, "CROSS_TENANT_TOOL")
    assert response.details == {"tool_id": wrong}
    assert api.get("agents").json == before


def test_foreign_and_unknown_tools_have_the_same_response(
    api: Api, other_tenant: Tenant, unknown_id: str
) -> None:
    foreign = str(ToolFactory.create(tenant=other_tenant).pk)
    bodies = [
        json.dumps(api.post("agents", {**AGENT, "tool_ids": [tool_id]}).json).replace(tool_id, "ID")
        for tool_id in (foreign, unknown_id)
    ]
    assert bodies[0] == bodies[1]


def test_the_longest_list_of_unknown_tools(api: Api) -> None:
    wrong = [str(uuid.uuid4()) for _ in range(MAX_TOOLS)]
    response = api.post("agents", {**AGENT, "tool_ids": wrong})
    assert (response.error_code, response.details) == ("CROSS_TENANT_TOOL", {"tool_id": wrong[0]})


def test_names_are_unique(api: Api, tenant: Tenant) -> None:
    taken = AgentFactory.create(tenant=tenant, name="taken")
    other = AgentFactory.create(tenant=tenant, with_tools=1)
    before = api.get(f"agents/{other.pk}").json
    for response in (
        api.post("agents", {**AGENT, "name": " taken "}),
        api.put(f"agents/{other.pk}", {**AGENT, "name": "taken", "tool_ids": []}),
        api.patch(f"agents/{other.pk}", {"name": "taken", "tool_ids": []}),
    ):
        assert (response.status, response.error_code) == (400, "DUPLICATE_AGENT_NAME")
        assert response.details == {"name": "taken"}
    assert api.get(f"agents/{other.pk}").json == before
    assert Agent.objects.filter(tenant=tenant).count() == 2
    assert api.put(f"agents/{taken.pk}", {**AGENT, "name": "taken"}).status == 200


def test_another_tenant_may_use_the_same_name(api: Api, other_api: Api) -> None:
    assert api.post("agents", AGENT).status == 201
    assert other_api.post("agents", AGENT).status == 201


def test_deleting_an_agent_keeps_its_tools_and_executions(api: Api, agent: Agent) -> None:
    tools = api.get("tools").json
    execution = api.run(agent.pk).json["execution_id"]
    deleted = api.delete(f"agents/{agent.pk}")
    assert (deleted.status, deleted.content) == (204, b"")
    for method in ("GET", "PUT", "PATCH", "DELETE"):
        again = api.call(method, f"agents/{agent.pk}", AGENT if method[0] == "P" else None)
        assert (again.status, again.error_code) == (404, "AGENT_NOT_FOUND")
        assert again.details == {"agent_id": str(agent.pk)}
    assert api.get("tools").json == tools
    assert Execution.objects.get(pk=execution).agent_id == agent.pk
    assert api.get(f"history/{execution}").json["agent_name"] == agent.name


def test_the_filter_by_tool_compares_the_exact_name(api: Api, tenant: Tenant) -> None:
    (web,) = tools_of(tenant, "web")
    (other,) = tools_of(tenant, "Web")
    expected = [
        api.post("agents", {**AGENT, "name": name, "tool_ids": id_list(web, other)}).json
        for name in "ba"
    ]
    api.post("agents", {**AGENT, "name": "c", "tool_ids": id_list(other)})
    page = api.get("agents?tool_name=web").json
    assert page["items"] == expected
    assert page["total"] == 2
    page = api.get("agents?tool_name=web&limit=1").json
    assert (page["items"], page["total"], page["has_more"]) == ([expected[0]], 2, True)
    for other_name in ("", "we", "WEB", "web%20", "%25"):
        empty = api.get(f"agents?tool_name={other_name}")
        assert (empty.status, empty.json["items"], empty.json["total"]) == (200, [], 0)


def test_the_filter_finds_no_rows_of_another_tenant(api: Api, other_tenant: Tenant) -> None:
    agent = AgentFactory.create(tenant=other_tenant, with_tools=1)
    assert api.get(f"agents?tool_name={agent.tools.all()[0].name}").json["items"] == []
