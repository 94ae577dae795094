"""What is read and written at every run: defined by the ORM, compiled once."""

import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import (
    DateTimeField,
    ExpressionWrapper,
    IntegerField,
    OuterRef,
    QuerySet,
    UUIDField,
    Value,
)
from django.db.models import TextField as Text
from django.db.models.functions import JSONObject, Now

from agents.models import Agent
from executions.models import Execution
from map_project.postgresql.compiled import Compiled, CompiledInsert
from tools.invokers import COLUMNS
from tools.models import Tool

_TOOLS = (
    Tool.objects.filter(agents=OuterRef("pk"))
    .order_by()
    .values(tool=JSONObject(**{column: column for column in COLUMNS}))
)
AGENT = Compiled(
    lambda tenant_id, pk: (
        Agent.objects.filter(tenant_id=tenant_id, pk=pk)
        .order_by()
        .values(
            "name",
            "role",
            "description",
            "version",
            "model",
            "max_steps",
            "settings",
            tool_rows=ArraySubquery(_TOOLS),
        )
    ),
    tenant_id=uuid.UUID,
    pk=uuid.UUID,
)

_FIELDS = (
    "id",
    "tenant_id",
    "agent_id",
    "agent_name",
    "prompt",
    "model",
    "provider",
    "system_prompt",
    "response",
    "status",
    "stop_reason",
    "error_code",
    "latency_ms",
    "request_id",
)


def _record(**values: Any) -> QuerySet[Agent, Any]:
    """The row of an execution, out of the agent's own row: none where the agent is not at this version
    any more, so that what was read of it before is validated by the insert itself.
    """
    status = values["status"]
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
            Value(values["provider"], Text()),
            Value(values["system_prompt"], Text()),
            Value(values["response"], Text()),
            Value(status.value, Text()),
            Value("completed" if status is Execution.Status.SUCCEEDED else "", Text()),
            Value("", Text()),
            Value(values["latency_ms"], IntegerField()),
            Value(values["request_id"], Text()),
            *values["more"],
        )
    )


def _compiled(status: Execution.Status, more: Callable[[], list[Any]]) -> Compiled:
    return Compiled(
        lambda **values: _record(status=status, more=more(), **values),
        id=uuid.UUID,
        tenant_id=uuid.UUID,
        agent_id=uuid.UUID,
        version=int,
        prompt=str,
        model=str,
        provider=str,
        system_prompt=str,
        response=str,
        latency_ms=int,
        request_id=str,
    )


def _bound() -> list[Any]:
    """By when a run that begins now is over."""
    seconds = timedelta(seconds=settings.RUN_TIMEOUT_SECONDS)
    return [ExpressionWrapper(Now() + seconds, DateTimeField())]


# A run that stayed in the process, once it is over; and one that is about to leave it.
RECORD = CompiledInsert(
    Execution, _FIELDS, _compiled(Execution.Status.SUCCEEDED, list), returning=("created_at",)
)
BEGIN = CompiledInsert(
    Execution,
    (*_FIELDS, "finish_by"),
    _compiled(Execution.Status.RUNNING, _bound),
    returning=("created_at",),
)
