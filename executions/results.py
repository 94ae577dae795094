"""The result of a request for a run."""

import uuid
from dataclasses import dataclass, fields
from datetime import datetime
from decimal import Decimal
from typing import Any, Self

from agents.models import Agent
from executions import snapshots
from executions.inserts import RunRequest
from executions.models import Approval, Execution
from executions.stop_reasons import StopReason
from executions.streams import RunStream


@dataclass(frozen=True, slots=True)
class Run:
    """A run whose execution has been stored. Token counts and cost are None if they are unknown.

    `approvals` are those that it waits for. `stream` is the rest of a streamed run, which has not ended.
    """

    id: uuid.UUID
    agent_id: uuid.UUID
    agent_name: str
    tool_names: tuple[str, ...]
    model: str
    prompt: str
    request_id: str
    created_at: datetime
    response: str
    latency_ms: int
    output: Any = None
    status: str = Execution.Status.SUCCEEDED.value
    stop_reason: str = StopReason.COMPLETED
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_usd: Decimal | None = None
    previous_execution_id: uuid.UUID | None = None
    conversation_id: uuid.UUID | None = None
    dropped_exchanges: int = 0
    approvals: tuple[Approval, ...] = ()
    stream: RunStream | None = None

    @classmethod
    def of_request(
        cls, execution_id: uuid.UUID, request: RunRequest, created_at: datetime, **ending: Any
    ) -> Self:
        """Return the run of a request that this process has stored."""
        return cls(
            id=execution_id,
            agent_id=request.agent.agent_id,
            agent_name=request.agent.name,
            tool_names=request.agent.tool_names,
            model=request.model.name,
            prompt=request.prompt,
            request_id=request.request_id,
            created_at=created_at,
            previous_execution_id=request.context.previous_execution_id,
            conversation_id=request.context.conversation_id,
            dropped_exchanges=request.context.dropped_exchanges,
            **ending,
        )

    @classmethod
    def of_execution(cls, execution: Execution) -> Self:
        """Return the run of an execution, with the present tools of its agent."""
        try:
            tool_names = snapshots.get(execution.tenant_id, execution.agent_id).tool_names
        except Agent.DoesNotExist:
            tool_names = ()
        own = {"tool_names", "approvals", "stream"}
        copied = {
            each.name: getattr(execution, each.name) for each in fields(cls) if each.name not in own
        }
        return cls(tool_names=tool_names, approvals=_pending_approvals(execution), **copied)


def _pending_approvals(execution: Execution) -> tuple[Approval, ...]:
    if execution.status != Execution.Status.REQUIRES_ACTION:
        return ()
    pending = execution.approvals.filter(status=Approval.Status.PENDING)
    return tuple(pending.order_by("position"))
