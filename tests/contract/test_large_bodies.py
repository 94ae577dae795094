"""Bodies near 1 MiB: the response is short, and the work is bounded."""

import uuid
from typing import Any

import pytest

from agents.models import MAX_TOOLS
from map_project.api.fields import MAX_UNKNOWN_NAMES
from map_project.tenants.models import Tenant
from tests.api import Api
from tests.factories import ToolFactory

MANY = {f"field{number}": 1 for number in range(40_000)}
TOOL = {"name": "n", "description": "d"}
HTTP_TOOL = {**TOOL, "kind": "http", "http": {"method": "GET", "url": "https://a.example/"}}
AGENT = {"name": "n", "role": "r", "description": "d"}


@pytest.mark.parametrize("path", ["tools", "agents"])
def test_the_first_unknown_fields_are_reported(api: Api, path: str) -> None:
    response = api.post(path, MANY | AGENT)
    unknown = [name for name, texts in response.fields.items() if texts == ["Unknown field."]]
    assert len(unknown) == MAX_UNKNOWN_NAMES


@pytest.mark.parametrize(
    ("path", "field", "body"),
    [
        ("tools", "http", {**HTTP_TOOL, "http": MANY}),
        ("tools", "secrets", {**HTTP_TOOL, "secrets": MANY}),
        ("tools", "secrets", {**HTTP_TOOL, "secrets": dict.fromkeys(MANY, "value")}),
        ("tools", "parameters", {**TOOL, "parameters": MANY}),
        ("agents", "settings", {**AGENT, "settings": MANY}),
        ("agents", "tool_ids", {**AGENT, "tool_ids": [1] * 300_000}),
    ],
)
def test_a_field_with_many_errors_reports_the_first_ones(
    api: Api, path: str, field: str, body: dict[str, Any]
) -> None:
    response = api.post(path, body)
    assert list(response.fields) == [field]
    assert 1 <= len(response.fields[field]) <= MAX_UNKNOWN_NAMES + 5


def test_an_agent_has_at_most_128_tools(api: Api, tenant: Tenant) -> None:
    tools = [str(tool.pk) for tool in ToolFactory.create_batch(MAX_TOOLS, tenant=tenant)]
    created = api.post("agents", {**AGENT, "tool_ids": tools})
    assert (created.status, len(created.json["tools"])) == (201, MAX_TOOLS)
    too_many = {"tool_ids": [*tools, str(uuid.uuid4())]}
    response = api.patch(f"agents/{created.json['id']}", too_many)
    assert response.fields == {"tool_ids": ["Expected at most 128 ids."]}
