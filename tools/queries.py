"""What is read of tools at every request: defined by the ORM, compiled once."""

import uuid
from typing import Any

from django.db.models import QuerySet

from map_project.postgresql.compiled import Compiled
from tools.models import Tool


def _answered(tools: QuerySet[Tool]) -> QuerySet[Tool, Any]:
    """As `ToolSerializer` would answer them."""
    return tools.values("id", "name", "description", "created_at", "updated_at")


ONE = Compiled(
    lambda tenant_id, pk: _answered(Tool.objects.filter(tenant_id=tenant_id, pk=pk).order_by()),
    tenant_id=uuid.UUID,
    pk=uuid.UUID,
)
ALL = Compiled(
    lambda tenant_id: _answered(Tool.objects.filter(tenant_id=tenant_id)), tenant_id=uuid.UUID
)
OF_AGENT = Compiled(
    lambda tenant_id, name: _answered(Tool.objects.filter(tenant_id=tenant_id, agents__name=name)),
    tenant_id=uuid.UUID,
    name=str,
)
