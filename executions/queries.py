"""What is read and written at every run: defined by the ORM, compiled once."""

import uuid
from typing import Any

from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import IntegerField, OuterRef, QuerySet, UUIDField, Value
from django.db.models import TextField as Text

from agents.models import Agent
from executions.models import Execution
from map_project.postgresql.compiled import Compiled, CompiledInsert
from tools.models import Tool

AGENT = Compiled(
    lambda tenant_id, pk: (
        Agent.objects.filter(tenant_id=tenant_id, pk=pk)
        .order_by()
        .values(
            "name",
            "role",
            "version",
            tool_names=ArraySubquery(
                Tool.objects.filter(agents=OuterRef("pk")).order_by().values("name")
            ),
        )
    ),
    tenant_id=uuid.UUID,
    pk=uuid.UUID,
)


def _record(**values: Any) -> QuerySet[Agent, Any]:
    """The row of an execution, out of the agent's own row: none where the agent is not at this version
    any more, so that what was read of it before is validated by the insert itself.
    """
    return (
        Agent.objects.filter(
            tenant_id=values["tenant_id"], pk=values["agent_id"], version=values["version"]
        )
        .order_by()
        .values_list(
            Value(values["id"], UUIDField()),
            "tenant_id",
            "pk",
            "name",
            Value(values["prompt"], Text()),
            Value(values["model"], Text()),
            Value(values["response"], Text()),
            Value(Execution.Status.SUCCEEDED.value, Text()),
            Value("", Text()),
            Value(values["latency_ms"], IntegerField()),
            Value(values["request_id"], Text()),
        )
    )


RECORD = CompiledInsert(
    Execution,
    (
        "id",
        "tenant_id",
        "agent_id",
        "agent_name",
        "prompt",
        "model",
        "response",
        "status",
        "error_code",
        "latency_ms",
        "request_id",
    ),
    Compiled(
        _record,
        id=uuid.UUID,
        tenant_id=uuid.UUID,
        agent_id=uuid.UUID,
        version=int,
        prompt=str,
        model=str,
        response=str,
        latency_ms=int,
        request_id=str,
    ),
    returning=("created_at",),
)
