"""Running an agent: the model is asked, the record is committed, and only then is there an answer."""

import time
import uuid
from dataclasses import dataclass
from datetime import datetime

from django.conf import settings

from agents import language_models
from executions import queries, snapshots
from executions.providers import mock
from executions.snapshots import Snapshot
from map_project.api.errors import ApiError
from map_project.api.ids import uuid7
from map_project.tenants.authentication import Caller


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
    *, caller: Caller, agent_id: uuid.UUID, prompt: str, model: str, request_id: str
) -> Run:
    """Asks the model and records the run; the execution is committed when this returns.

    Raises Agent.DoesNotExist where the tenant has no such agent, ApiError `PROMPT_TOO_LONG` and
    `INVALID_MODEL`, and django.db.DatabaseError where the record could not be written.
    """
    _check_length(prompt)
    language_models.find(model, caller.allowed_models)
    while True:
        agent = snapshots.snapshot(caller.tenant_id, agent_id)
        run = _run(agent, prompt, model, request_id)
        if run is not None:
            return run
        # Somebody changed the agent since it was read, and that change is committed.
        snapshots.forget(agent)


def _check_length(prompt: str) -> None:
    length, allowed = len(prompt), settings.MAX_PROMPT_LENGTH
    if length > allowed:
        raise ApiError(
            400,
            "PROMPT_TOO_LONG",
            f"The prompt has {length} characters; {allowed} are allowed.",
            {"provided_length": length, "max_length": allowed},
        )


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
