"""Running an agent: the model is asked, the record is committed, and only then is there an answer."""

import time
import uuid
from dataclasses import dataclass
from datetime import datetime

from executions import queries, snapshots
from executions.providers import mock
from executions.snapshots import Snapshot
from map_project.api.ids import uuid7


@dataclass(frozen=True, slots=True)
class Run:
    """A run that is on record: what was asked of which agent, and what it answered."""

    id: uuid.UUID
    agent: Snapshot
    prompt: str
    model: str
    response: str
    created_at: datetime


def run_agent(
    *, tenant_id: uuid.UUID, agent_id: uuid.UUID, prompt: str, model: str, request_id: str
) -> Run:
    """Asks the model and records the run; the execution is committed when this returns.

    Raises Agent.DoesNotExist where the tenant has no such agent, and django.db.DatabaseError where
    the record could not be written.
    """
    while True:
        agent = snapshots.snapshot(tenant_id, agent_id)
        run = _run(agent, prompt, model, request_id)
        if run is not None:
            return run
        # Somebody changed the agent since it was read, and that change is committed.
        snapshots.forget(agent)


def _run(agent: Snapshot, prompt: str, model: str, request_id: str) -> Run | None:
    """One try; None, and nothing is on record, where the snapshot is old."""
    started = time.perf_counter()
    response = mock.respond(
        agent_id=agent.agent_id,
        agent_name=agent.name,
        role=agent.role,
        tools=agent.tools,
        prompt=prompt,
        model=model,
    )
    execution_id = uuid7()
    recorded = queries.RECORD(
        id=execution_id,
        tenant_id=agent.tenant_id,
        agent_id=agent.agent_id,
        version=agent.version,
        prompt=prompt,
        model=model,
        response=response,
        latency_ms=round((time.perf_counter() - started) * 1000),
        request_id=request_id,
    )
    if not recorded:
        return None
    return Run(execution_id, agent, prompt, model, response, recorded[0]["created_at"])
