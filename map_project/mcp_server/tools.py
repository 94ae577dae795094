"""Agents as tools. The name of a tool is an alias of the agent's name (`executions.aliases`)."""

import re
from typing import Any

from django.db.models import QuerySet

from agents.models import Agent
from executions.aliases import aliases
from map_project.mcp_server.errors import InvalidParams

# An agent's schema has at most 32 KiB, and a response at most 4 MiB.
PAGE_SIZE = 100
# How long a client may keep the list.
TTL_MS = 60_000
CACHING = {"ttlMs": TTL_MS, "cacheScope": "private"}

_MAX_SHOWN_CHARACTERS = 100
_CURSOR = re.compile("[0-9]{1,9}")
_INPUT_SCHEMA = {
    "type": "object",
    "properties": {"prompt": {"type": "string", "description": "The prompt for the agent."}},
    "required": ["prompt"],
    "additionalProperties": False,
}


def tool_page(agents: QuerySet[Agent], cursor: Any) -> dict[str, Any]:
    """Return a page of the tools, the oldest agent first. Raises InvalidParams."""
    start = _start(cursor)
    names = aliases(_names(agents))
    page = [*agents.order_by("created_at", "id")[start : start + PAGE_SIZE + 1]]
    tools = [
        # An agent may have been renamed between the two queries.
        _tool(agent, names.get(agent.name) or aliases([agent.name])[agent.name])
        for agent in page[:PAGE_SIZE]
    ]
    more = {"nextCursor": str(start + PAGE_SIZE)} if len(page) > PAGE_SIZE else {}
    return {"tools": tools, **more, **CACHING}


def find_agent(agents: QuerySet[Agent], name: Any) -> Agent:
    """Return the agent whose tool has this name. Raises InvalidParams."""
    if not isinstance(name, str):
        raise InvalidParams("The name of the tool must be a string.")
    agent = None
    # No tool has another name, and PostgreSQL has no NUL in texts.
    if aliases([name])[name] == name:
        agent = agents.filter(name=name).first() or _find_by_alias(agents, name)
    if agent is None:
        raise InvalidParams(f"Unknown tool: {name[:_MAX_SHOWN_CHARACTERS]}")
    return agent


def _find_by_alias(agents: QuerySet[Agent], alias: str) -> Agent | None:
    names = {each: name for name, each in aliases(_names(agents)).items()}
    return agents.filter(name=names[alias]).first() if alias in names else None


def _names(agents: QuerySet[Agent]) -> QuerySet[Agent, str]:
    return agents.values_list("name", flat=True)


def _tool(agent: Agent, alias: str) -> dict[str, Any]:
    tool = {
        "name": alias,
        "title": agent.name,
        "description": agent.description,
        "inputSchema": _INPUT_SCHEMA,
    }
    if agent.output_schema is not None:
        # An output is always an object. Old revisions require the schema to say so.
        tool["outputSchema"] = {**agent.output_schema, "type": "object"}
    return tool


def _start(cursor: Any) -> int:
    if cursor is None:
        return 0
    if not (isinstance(cursor, str) and _CURSOR.fullmatch(cursor)):
        raise InvalidParams("The cursor must be the nextCursor of a result.")
    return int(cursor)
