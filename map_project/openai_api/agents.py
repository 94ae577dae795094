"""Agents as models."""

from typing import Any

from django.db.models import Q, QuerySet

from agents.models import Agent
from map_project.api.fields import parse_uuid
from map_project.openai_api.errors import ModelNotFound
from map_project.tenants.errors import TenantIsolationViolation

# Of the list, whose form has no pages.
MAX_LISTED = 2_000
_ID_PREFIX = "agent:"


def find_agent(agents: QuerySet[Agent], name: str) -> Agent:
    """Return the agent with this name, or with the ID in `agent:{id}`, of those of a tenant.

    Raises ModelNotFound, and TenantIsolationViolation for the ID of another tenant's agent.
    """
    pk = parse_uuid(name.removeprefix(_ID_PREFIX)) if name.startswith(_ID_PREFIX) else None
    selected = Q(name=name) if pk is None else Q(pk=pk)
    # PostgreSQL has no NUL in texts.
    agent = agents.filter(selected).first() if "\0" not in name else None
    if agent is not None:
        return agent
    if pk is not None and Agent.objects.filter(pk=pk).exists():
        raise TenantIsolationViolation(
            "This agent belongs to another tenant.", resource_type="agent", resource_id=str(pk)
        )
    raise ModelNotFound.of(name)


def model_object(agent: Agent) -> dict[str, Any]:
    """Return an agent as a model."""
    return {
        "id": agent.name,
        "object": "model",
        "created": int(agent.created_at.timestamp()),
        "owned_by": agent.tenant.name,
    }
