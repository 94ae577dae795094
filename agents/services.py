"""Writes that take more than one step; the API and the admin call the same ones."""

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from django.db import transaction
from django.db.models.functions import Now

from agents.models import Agent, AgentTool
from map_project.api.errors import ApiError
from tools.models import Tool


@transaction.atomic
def create_agent(*, tenant_id: uuid.UUID, tool_ids: Sequence[uuid.UUID], **fields: Any) -> Agent:
    """A new agent with its tools. Raises ApiError `CROSS_TENANT_TOOL`, and IntegrityError where the
    name is taken.
    """
    lock_tools(tenant_id, tool_ids)
    agent = Agent.objects.create(tenant_id=tenant_id, **fields)
    _associate(agent, tool_ids)
    return agent


@transaction.atomic
def change_agent(
    *, agent: Agent, fields: Mapping[str, Any], tool_ids: Sequence[uuid.UUID] | None
) -> None:
    """Changes the fields that are given, and the tools unless they are None. Raises as above, and
    Agent.DoesNotExist where the agent was deleted meanwhile.
    """
    # Tools first, as everywhere: a change of a tool counts its agents' versions up.
    lock_tools(agent.tenant_id, tool_ids or ())
    Agent.objects.select_for_update().get(pk=agent.pk)
    if tool_ids is not None:
        AgentTool.objects.filter(agent=agent).exclude(tool__in=tool_ids).delete()
        _associate(agent, tool_ids)
    Agent.objects.filter(pk=agent.pk).update(**fields, updated_at=Now())


@transaction.atomic
def delete_agent(*, agent: Agent) -> None:
    """Deletes an agent and its associations; its executions stay. Raises Agent.DoesNotExist."""
    Agent.objects.select_for_update().get(pk=agent.pk).delete()


def lock_tools(tenant_id: uuid.UUID, tool_ids: Sequence[uuid.UUID]) -> None:
    """Holds the tools until the transaction ends, so that none is deleted under an association.

    Any number of associations may, at once; a change of a tool waits for them, and so finds all the
    agents whose versions it has to count up.
    Raises ApiError `CROSS_TENANT_TOOL` for the first that is not this tenant's.
    """
    if not tool_ids:
        return
    sql = "SELECT id FROM tools_tool WHERE tenant_id = %s AND id = ANY(%s) ORDER BY id FOR SHARE"
    found = {tool.pk for tool in Tool.objects.raw(sql, [tenant_id, list(tool_ids)])}
    for tool_id in tool_ids:
        if tool_id not in found:
            message = "This tool is not one of yours."
            raise ApiError(403, "CROSS_TENANT_TOOL", message, {"tool_id": tool_id})


def _associate(agent: Agent, tool_ids: Sequence[uuid.UUID]) -> None:
    """Adds what is missing. The database makes a racing twin wait, and then it is there already."""
    AgentTool.objects.bulk_create(
        (AgentTool(agent=agent, tool_id=tool_id) for tool_id in tool_ids), ignore_conflicts=True
    )
