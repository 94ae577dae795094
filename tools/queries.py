"""What is read of tools at every request: defined by the ORM, compiled once."""

import uuid
from typing import Any

import orjson
from django.db.models import QuerySet, Value
from django.db.models.functions import Coalesce, Now

from map_project.postgresql.compiled import (
    Compiled,
    CompiledCreate,
    CompiledWrite,
    deleting,
    updating,
)
from tools.invokers import COLUMNS
from tools.models import Tool

_ANSWERED = (
    "id",
    "name",
    "description",
    "kind",
    "parameters",
    "config",
    "secret_names",
    "created_at",
    "updated_at",
)


def _answered(tools: QuerySet[Tool]) -> QuerySet[Tool, Any]:
    """As `ToolSerializer` would answer them, but for what is JSON."""
    values: QuerySet[Tool, Any] = tools.values(*_ANSWERED)
    return values


def _with_json(row: dict[str, Any]) -> dict[str, Any]:
    """The configuration bears the name of its kind."""
    config = row["config"]
    return {
        "id": row["id"],
        "name": row["name"],
        "description": row["description"],
        "kind": row["kind"],
        "parameters": orjson.loads(row["parameters"]),
        "http": None if config is None else orjson.loads(config),
        "secret_names": row["secret_names"],
        "created_at": row["created_at"],
        "updated_at": row["updated_at"],
    }


ONE = Compiled(
    lambda tenant_id, pk: _answered(Tool.objects.filter(tenant_id=tenant_id, pk=pk).order_by()),
    _with_json,
    tenant_id=uuid.UUID,
    pk=uuid.UUID,
)
ALL = Compiled(
    lambda tenant_id: _answered(Tool.objects.filter(tenant_id=tenant_id)),
    _with_json,
    tenant_id=uuid.UUID,
)
OF_AGENT = Compiled(
    lambda tenant_id, name: _answered(Tool.objects.filter(tenant_id=tenant_id, agents__name=name)),
    _with_json,
    tenant_id=uuid.UUID,
    name=str,
)
# A declared tool that takes any arguments.
NEW = CompiledCreate(
    Tool,
    ("id", "tenant", "name", "description", "parameters"),
    returning=_ANSWERED,
    presented=_with_json,
)
# Its texts; None leaves one as it is.
CHANGE = CompiledWrite(
    lambda tenant_id, pk, name, description: updating(
        Tool.objects.filter(tenant_id=tenant_id, pk=pk).order_by(),
        name=Coalesce(Value(name), "name"),
        description=Coalesce(Value(description), "description"),
        updated_at=Now(),
    ),
    returning=_ANSWERED,
    presented=_with_json,
    tenant_id=uuid.UUID,
    pk=uuid.UUID,
    name=str,
    description=str,
)
REMOVE = CompiledWrite(
    lambda tenant_id, pk: deleting(Tool.objects.filter(tenant_id=tenant_id, pk=pk).order_by()),
    returning=("id",),
    tenant_id=uuid.UUID,
    pk=uuid.UUID,
)
# What a call needs, see `CallableTool.of`.
CALLABLE = Compiled(
    lambda tenant_id, pk: (
        Tool.objects.filter(tenant_id=tenant_id, pk=pk).order_by().values(*COLUMNS)
    ),
    tenant_id=uuid.UUID,
    pk=uuid.UUID,
)
