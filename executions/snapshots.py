"""A cache of agents in this process, so that a run need not read its agent.

A snapshot may be outdated at any time. The statement that inserts an execution checks the agent's version
(`executions.inserts`); if the agent has changed, nothing is inserted and the agent is read again.
"""

import uuid
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from agents.models import Agent
from executions.aliases import aliases
from executions.prompts import system_prompt
from executions.providers import AgentProfile, ToolDefinition
from executions.providers.tool_schemas import sent_parameters
from tools.invokers import INVOKERS, CallableTool

MAX_SNAPSHOTS = 10_000


@dataclass(frozen=True, slots=True)
class AgentSnapshot:
    """An agent and its tools at one version, in the form that a run needs.

    `tool_names` are the names of all its tools, by code point. `callable_tools` are keyed by the function
    names that models use, and `definitions` describe the same tools.
    """

    tenant_id: uuid.UUID
    agent_id: uuid.UUID
    name: str
    version: int
    model: str | None
    max_steps: int
    max_tool_calls: int
    max_context_characters: int
    temperature: float | None
    max_output_tokens: int | None
    output_schema: Mapping[str, Any] | None = field(repr=False)
    tool_names: tuple[str, ...]
    callable_tools: Mapping[str, CallableTool] = field(repr=False)
    definitions: tuple[ToolDefinition, ...]
    system_prompt: str
    profile: AgentProfile

    @classmethod
    def of(cls, agent: Agent) -> "AgentSnapshot":
        """Return the snapshot of an agent. Reads its tools."""
        tools = [CallableTool.of(tool) for tool in agent.tools_by_name()]
        tool_names = tuple(tool.name for tool in tools)
        callable_tools = [tool for tool in tools if tool.kind in INVOKERS]
        functions = aliases(tool.name for tool in callable_tools)
        return cls(
            tenant_id=agent.tenant_id,
            agent_id=agent.pk,
            name=agent.name,
            version=agent.version,
            model=agent.model,
            max_steps=agent.max_steps,
            max_tool_calls=agent.max_tool_calls,
            max_context_characters=agent.max_context_characters,
            temperature=agent.settings.get("temperature"),
            max_output_tokens=agent.settings.get("max_output_tokens"),
            output_schema=agent.output_schema,
            tool_names=tool_names,
            callable_tools={functions[tool.name]: tool for tool in callable_tools},
            definitions=tuple(
                ToolDefinition(
                    functions[tool.name],
                    tool.name,
                    tool.description,
                    sent_parameters(tool.parameters),
                )
                for tool in callable_tools
            ),
            system_prompt=system_prompt(
                name=agent.name,
                role=agent.role,
                description=agent.description,
                tools=tools,
                aliases=functions,
            ),
            profile=AgentProfile(agent.pk, agent.name, agent.role, tool_names),
        )


_snapshots: OrderedDict[tuple[uuid.UUID, uuid.UUID], AgentSnapshot] = OrderedDict()
_lock = Lock()


def get(tenant_id: uuid.UUID, agent_id: uuid.UUID) -> AgentSnapshot:
    """Return the cached snapshot of the tenant's agent, else read it. Raises Agent.DoesNotExist."""
    snapshot = _snapshots.get((tenant_id, agent_id))
    if snapshot is None:
        snapshot = read(tenant_id, agent_id)
        with _lock:
            _snapshots[tenant_id, agent_id] = snapshot
            if len(_snapshots) > MAX_SNAPSHOTS:
                _snapshots.popitem(last=False)
    return snapshot


def discard(snapshot: AgentSnapshot) -> None:
    """Remove an outdated snapshot from the cache."""
    _snapshots.pop((snapshot.tenant_id, snapshot.agent_id), None)


def read(tenant_id: uuid.UUID, agent_id: uuid.UUID) -> AgentSnapshot:
    """Read the tenant's agent. Raises Agent.DoesNotExist."""
    # The row of the agent is read before its tools. If a tool changes in between, a trigger of the database
    # increments the agent's version: the snapshot is outdated, and no run can be stored with it.
    return AgentSnapshot.of(Agent.objects.get(tenant_id=tenant_id, pk=agent_id))
