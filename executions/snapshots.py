"""Agents as this process last read them, so that a run need not read its agent again.

A snapshot may be old at any time, and is never believed: the statement that records a run writes
nothing where the agent's version is another by now (`queries.RECORD`), and then it is read anew.
"""

import uuid
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import orjson

from agents.models import Agent
from executions import queries
from executions.aliases import aliases
from executions.prompts import system_prompt
from executions.providers import Asker, ToolDefinition
from tools.invokers import INVOKERS, CallableTool

CAPACITY = 10_000


@dataclass(frozen=True, slots=True)
class Snapshot:
    """An agent at one version, and what a model is told of it.

    `tools` are the names of all its tools, ordered by code point; `callable_tools` those that can be
    called, by what models call them, and `definitions` what models are told of these.
    """

    tenant_id: uuid.UUID
    agent_id: uuid.UUID
    name: str
    role: str
    version: int
    model: str | None
    max_steps: int
    temperature: float | None
    max_output_tokens: int | None
    tools: tuple[str, ...]
    callable_tools: Mapping[str, CallableTool] = field(repr=False)
    definitions: tuple[ToolDefinition, ...]
    system_prompt: str
    asker: Asker

    @classmethod
    def of(cls, tenant_id: uuid.UUID, agent_id: uuid.UUID, row: Mapping[str, Any]) -> "Snapshot":
        """Of a row of `queries.AGENT`."""
        rows = map(orjson.loads, row["tool_rows"])
        from types import SimpleNamespace

        objs = [
            SimpleNamespace(
                **{
                    **r,
                    "id": uuid.UUID(r["id"]),
                    "parameters": orjson.loads(r["parameters"]),
                    "config": orjson.loads(r["config"] or "null"),
                }
            )
            for r in rows
        ]
        tools = sorted((CallableTool.of(tool) for tool in objs), key=lambda tool: tool.name)
        callable_tools = [tool for tool in tools if tool.kind in INVOKERS]
        functions = aliases(tool.name for tool in callable_tools)
        settings = orjson.loads(row["settings"])
        names = tuple(tool.name for tool in tools)
        return cls(
            tenant_id=tenant_id,
            agent_id=agent_id,
            name=row["name"],
            role=row["role"],
            version=row["version"],
            model=row["model"],
            max_steps=row["max_steps"],
            temperature=settings.get("temperature"),
            max_output_tokens=settings.get("max_output_tokens"),
            tools=names,
            callable_tools={functions[tool.name]: tool for tool in callable_tools},
            definitions=tuple(
                ToolDefinition(functions[tool.name], tool.name, tool.description, tool.parameters)
                for tool in callable_tools
            ),
            system_prompt=system_prompt(
                name=row["name"],
                role=row["role"],
                description=row["description"],
                tools=tools,
                functions=functions,
            ),
            asker=Asker(agent_id, row["name"], row["role"], names),
        )


_kept: OrderedDict[tuple[uuid.UUID, uuid.UUID], Snapshot] = OrderedDict()
_lock = Lock()


def snapshot(tenant_id: uuid.UUID, agent_id: uuid.UUID) -> Snapshot:
    """The tenant's agent as it was when it was last read. Raises Agent.DoesNotExist."""
    found = _kept.get((tenant_id, agent_id))
    if found is None:
        found = read(tenant_id, agent_id)
        with _lock:
            _kept[tenant_id, agent_id] = found
            if len(_kept) > CAPACITY:
                _kept.popitem(last=False)
    return found


def forget(outdated: Snapshot) -> None:
    """It was found to be old; the next one is read."""
    _kept.pop((outdated.tenant_id, outdated.agent_id), None)


def read(tenant_id: uuid.UUID, agent_id: uuid.UUID) -> Snapshot:
    """The tenant's agent as it is. Raises Agent.DoesNotExist."""
    row = queries.AGENT(tenant_id=tenant_id, pk=agent_id).first()
    if row is None:
        raise Agent.DoesNotExist
    return Snapshot.of(tenant_id, agent_id, row)
