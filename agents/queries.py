"""What is read of agents at every request: defined by the ORM, compiled once."""

import uuid
from operator import itemgetter
from typing import Any

import orjson
from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import OuterRef, QuerySet
from django.db.models.functions import JSONObject

from agents.models import Agent
from map_project.postgresql.compiled import Compiled
from tools.models import Tool

_TOOL = JSONObject(id="id", name="name", description="description")
_TOOLS = Tool.objects.filter(agents=OuterRef("pk")).order_by().values(tool=_TOOL)


_BEHIND_TOOLS = ("model", "max_steps", "settings", "created_at", "updated_at")


def _answered(agents: QuerySet[Agent]) -> QuerySet[Agent, Any]:
    """As `AgentSerializer` would answer them, but for the tools."""
    return agents.values(
        "id",
        "name",
        "role",
        "description",
        "model",
        "max_steps",
        "settings",
        "created_at",
        "updated_at",
        tool_rows=ArraySubquery(_TOOLS),
    )


def _with_tools_by_name(row: dict[str, Any]) -> dict[str, Any]:
    """Ordered by the code points of their names, whatever the database's collation."""
    tools = map(orjson.loads, row.pop("tool_rows"))
    rest = {name: row.pop(name) for name in _BEHIND_TOOLS}
    rest["settings"] = orjson.loads(rest["settings"])
    return {**row, "tools": sorted(tools, key=itemgetter("name")), **rest}


ONE = Compiled(
    lambda tenant_id, pk: _answered(Agent.objects.filter(tenant_id=tenant_id, pk=pk).order_by()),
    _with_tools_by_name,
    tenant_id=uuid.UUID,
    pk=uuid.UUID,
)
ALL = Compiled(
    lambda tenant_id: _answered(Agent.objects.filter(tenant_id=tenant_id)),
    _with_tools_by_name,
    tenant_id=uuid.UUID,
)
WITH_TOOL = Compiled(
    lambda tenant_id, name: _answered(Agent.objects.filter(tenant_id=tenant_id, tools__name=name)),
    _with_tools_by_name,
    tenant_id=uuid.UUID,
    name=str,
)
