"""Writing agents. The API and the admin call these functions."""

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from django.db import transaction
from django.db.models.functions import Now

from agents.errors import CrossTenantTool, DuplicateAgentName
from agents.models import Agent, AgentTool
from map_project.api.constraints import constraint_errors
from tools.models import Tool


@transaction.atomic
def create_agent(
    *, tenant_id: uuid.UUID, tool_ids: Sequence[uuid.UUID] = (), **fields: Any
) -> Agent:
    """Create an agent with its tools. Raises CrossTenantTool and DuplicateAgentName."""
    _lock_tools(tenant_id, tool_ids)
    agent = Agent(tenant_id=tenant_id, **fields)
    with _unique_name(agent):
        agent.save(force_insert=True)
    _add_tools(agent, tool_ids)
    return Agent.objects.with_tools().get(pk=agent.pk)


@transaction.atomic
def update_agent(*, agent: Agent, fields: Mapping[str, Any]) -> Agent:
    """Change the given fields of an agent, and return it.

    `tool_ids` replaces the tools. Raises as `create_agent`, and Agent.DoesNotExist.
    """
    if not fields:
        return agent
    columns = dict(fields)
    tool_ids = columns.pop("tool_ids", None)
    # Tools are locked before agents everywhere: a changed tool increments the version of its agents.
    _lock_tools(agent.tenant_id, tool_ids or ())
    Agent.objects.select_for_update().get(pk=agent.pk)
    if tool_ids is not None:
        AgentTool.objects.filter(agent=agent).exclude(tool__in=tool_ids).delete()
        _add_tools(agent, tool_ids)
    with _unique_name(Agent(**columns)):
        Agent.objects.filter(pk=agent.pk).update(**columns, updated_at=Now())
    return Agent.objects.with_tools().get(pk=agent.pk)


@transaction.atomic
def delete_agent(*, agent: Agent) -> None:
    """Delete an agent; its executions are kept. Raises Agent.DoesNotExist."""
    Agent.objects.select_for_update().get(pk=agent.pk).delete()


def _unique_name(agent: Agent) -> Any:
    return constraint_errors({"agent_name_unique": DuplicateAgentName(name=agent.name)})


def _lock_tools(tenant_id: uuid.UUID, tool_ids: Sequence[uuid.UUID]) -> None:
    """Lock the tools until the transaction ends, so that none is deleted while it is added to an agent.

    FOR SHARE (which the ORM does not have) lets several transactions add the same tool. A transaction that
    changes a tool waits for them, and so increments the version of each agent that has it. Raises
    CrossTenantTool for the first id that is not a tool of the tenant.
    """
    if not tool_ids:
        return
    sql = "SELECT id FROM tools_tool WHERE tenant_id = %s AND id = ANY(%s) ORDER BY id FOR SHARE"
    locked = {tool.pk for tool in Tool.objects.raw(sql, [tenant_id, list(tool_ids)])}
    for tool_id in tool_ids:
        if tool_id not in locked:
            raise CrossTenantTool(tool_id=tool_id)


def _add_tools(agent: Agent, tool_ids: Sequence[uuid.UUID]) -> None:
    """Add the tools that the agent does not have yet, or that a concurrent transaction has just added."""
    AgentTool.objects.bulk_create(
        (AgentTool(agent=agent, tool_id=tool_id) for tool_id in tool_ids), ignore_conflicts=True
    )
