"""Running an agent: the model is asked, the record is committed, and only then is there an answer."""

import time

from agents.models import Agent
from executions.models import Execution
from executions.providers import mock


def run_agent(*, agent: Agent, prompt: str, model: str, request_id: str) -> Execution:
    """Asks the model and records the run. The execution is committed when this returns.

    Raises django.db.DatabaseError where the record could not be written; nothing was run then, as
    far as anybody can tell.
    """
    started = time.perf_counter()
    response = mock.respond(
        agent_id=agent.pk,
        agent_name=agent.name,
        role=agent.role,
        tools=[tool.name for tool in agent.tools_by_name()],
        prompt=prompt,
        model=model,
    )
    return Execution.objects.create(
        tenant_id=agent.tenant_id,
        agent_id=agent.pk,
        agent_name=agent.name,
        prompt=prompt,
        model=model,
        response=response,
        status=Execution.Status.SUCCEEDED,
        latency_ms=_milliseconds_since(started),
        request_id=request_id,
    )


def _milliseconds_since(started: float) -> int:
    return round((time.perf_counter() - started) * 1000)
