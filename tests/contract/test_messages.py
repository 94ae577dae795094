"""Error messages that clients see most often. They may change, but only on purpose."""

from typing import Any

import pytest

from tests.api import Api
from tests.contract.writes import AGENT, TOOL, Rows

HTTP = {"method": "GET", "url": "https://api.example.com/x"}


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (
            "tools?limit=0",
            "limit must be an integer from 1 to 100, and offset must be an integer from 0 to 2147483647.",
        ),
        (
            "nowhere",
            "No such endpoint. API paths start with /api/v1 or /v1 and have no trailing slash.",
        ),
    ],
)
def test_messages_of_reads(api: Api, path: str, message: str) -> None:
    assert api.get(path).json["message"] == message


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("tools", {}, "The request body is invalid. See details.fields."),
        ("tools", TOOL, "A tool with this name already exists."),
        (
            "agents/{agent}/run",
            {"prompt": "x" * 10_001, "model": "gpt-4o"},
            "The prompt is too long: 10,001 characters (maximum 10,000).",
        ),
        (
            "tools/{tool}/test",
            {},
            "Declared tools cannot be called. Only http and mcp tools can be tested.",
        ),
    ],
)
def test_messages_of_writes(path: str, body: Any, message: str) -> None:
    rows = Rows()
    rows.api.post("tools", TOOL)
    response = rows.api.post(path.format(agent=rows.agent.pk, tool=rows.tool.pk), body)
    assert response.json["message"] == message


@pytest.mark.parametrize(
    ("changes", "field", "message"),
    [
        ({"kind": "http"}, "http", 'Required when kind is "http".'),
        ({"http": HTTP}, "http", 'Allowed only when kind is "http".'),
        (
            {"kind": "http", "http": {**HTTP, "url": "https://example.com/{city}"}},
            "http",
            "url: {city} is not defined in parameters.properties.",
        ),
        (
            {"kind": "http", "http": {**HTTP, "url": "https://example.com/}"}},
            "http",
            'url: Unmatched "}" in the URL. Percent-encode a literal %, { or } as %25, %7B or %7D.',
        ),
        (
            {"kind": "http", "http": {**HTTP, "headers": {"X-Key": "{{secret.k}}"}}},
            "http",
            'Secret "k" is not set. Add it to secrets.',
        ),
        (
            {"parameters": {"type": "array"}},
            "parameters",
            'The schema must have "type": "object" at the top level.',
        ),
    ],
)
def test_messages_of_tool_fields(
    api: Api, changes: dict[str, Any], field: str, message: str
) -> None:
    assert api.post("tools", {**TOOL, **changes}).fields == {field: [message]}


def test_a_tool_in_use(api: Api) -> None:
    tool_id = api.post("tools", TOOL).json["id"]
    api.post("agents", {**AGENT, "tool_ids": [tool_id]})
    message = api.delete(f"tools/{tool_id}").json["message"]
    assert message == "This tool is used by agents. Remove it from them first."
