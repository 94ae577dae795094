"""A queued execution in a worker."""

import logging
import uuid
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.db import DatabaseError, connection, transaction
from django.db.models import Exists, Q, QuerySet
from django.db.models.functions import Coalesce, Now

from agents import language_models
from agents.errors import InvalidModel
from agents.language_models import KnownModel
from agents.models import Agent
from executions import snapshots
from executions.attempts import model_request_of, run_locally, run_loop
from executions.context.building import stored_context
from executions.costs import total_usd
from executions.endings import end
from executions.events.items import ItemEvents
from executions.events.reading import first_events_count, stored_events
from executions.events.recording import RunEvents
from executions.inserts import RunRequest
from executions.jobs import leases
from executions.jobs.slots import slot
from executions.models import Execution
from executions.options import RunOptions
from executions.outcomes import RunPostponed
from executions.providers import get_provider
from executions.records import RETRY_DELAYS_SECONDS, RunRecord, stored_past
from executions.responses import response_object
from executions.snapshots import AgentSnapshot
from executions.steps import NO_PAST, Past
from executions.stop_reasons import StopReason
from map_project.postgresql.connections import with_retries
from ratelimit.limiter import LimiterUnavailable

logger = logging.getLogger("map.runs")


@dataclass(frozen=True, slots=True)
class _Attempt:
    """An attempt that this process has started, and what the former ones have stored."""

    request: RunRequest
    record: RunRecord
    past: Past


def run_queued(execution_id: uuid.UUID) -> None:
    """Run a queued execution to its end. Does nothing if it is not queued any more."""
    try:
        execution = with_retries(lambda: _queued(execution_id).first(), RETRY_DELAYS_SECONDS)
        if execution is None:
            return
        with slot(execution_id, execution.tenant) as is_free:
            if is_free:
                _run_attempt(execution)
    except leases.LeaseLost:
        logger.warning("run %s stops here: it has ended or continues elsewhere", execution_id)
    except (DatabaseError, LimiterUnavailable) as error:
        # It is recovered: its lease expires, or it is still queued and gets another job.
        logger.warning("run %s stops here: %s", execution_id, type(error).__name__)
    finally:
        connection.close()


def _queued(execution_id: uuid.UUID) -> QuerySet[Execution]:
    queued = Execution.objects.filter(pk=execution_id, status=Execution.Status.QUEUED)
    return queued.select_related("tenant")


def _run_attempt(execution: Execution) -> None:
    with leases.extended(execution.pk, execution.attempt + 1) as is_first:
        attempt = is_first and with_retries(lambda: _start(execution), RETRY_DELAYS_SECONDS)
        if attempt:
            _run(attempt)


def _start(execution: Execution) -> _Attempt | None:
    """Take the lease of a queued execution. Return None if it is not queued, or cannot be run."""
    tenant = execution.tenant
    if not tenant.is_active:
        _end_queued(execution, Execution.Status.CANCELLED, StopReason.CANCELLED_BY_OPERATOR)
        return None
    try:
        agent = snapshots.get(tenant.pk, execution.agent_id)
        model = language_models.find(execution.model, tenant.allowed_models)
        while not _claim(execution, request := _request(execution, agent, model)):
            if not _claimable(execution).exists():
                return None
            # The agent has changed since the snapshot.
            snapshots.discard(agent)
            agent = snapshots.get(tenant.pk, execution.agent_id)
    except (Agent.DoesNotExist, InvalidModel) as error:
        code = error.error_code if isinstance(error, InvalidModel) else "AGENT_NOT_FOUND"
        _end_queued(execution, Execution.Status.FAILED, StopReason.NOT_RUNNABLE, code)
        return None
    # A run that was handed back has started before, although the attempt was not counted.
    past = stored_past(execution.pk) if execution.started_at else NO_PAST
    attempt = execution.attempt + 1
    record = RunRecord(
        execution.pk,
        tenant.pk,
        model,
        attempt,
        len(past.steps),
        RETRY_DELAYS_SECONDS,
        _events(execution, attempt) if execution.is_streamed else None,
        has_waited=bool(past.decisions),
        is_budgeted=request.is_budgeted,
        spent_usd=total_usd(model, past.steps),
    )
    return _Attempt(request, record, past)


def _claimable(execution: Execution) -> QuerySet[Execution]:
    """The execution while it is queued. Also after a claim of this thread whose response was lost."""
    status, attempt = Execution.Status, execution.attempt + 1
    queued = Q(status=status.QUEUED, attempt=execution.attempt)
    own = Q(status=status.RUNNING, attempt=attempt, lease_owner=leases.owner())
    return Execution.objects.filter(queued | own, pk=execution.pk)


def _request(execution: Execution, agent: AgentSnapshot, model: KnownModel) -> RunRequest:
    return RunRequest(
        agent,
        model,
        execution.prompt,
        execution.request_id,
        execution.key_prefix,
        context=stored_context(execution),
        options=RunOptions.of_json(execution.options),
        output_schema=execution.output_schema,
        stream=execution.is_streamed,
        has_budget=execution.tenant.has_budget,
    )


def _events(execution: Execution, attempt: int) -> RunEvents:
    """Return the events of an attempt, which continue those of the former ones."""
    number = first_events_count(background=execution.background)
    items = ItemEvents(execution.pk, number, execution.output_schema)
    for event in stored_events(execution.pk):
        items.replay(event)
    events = RunEvents(execution.pk, attempt, items)
    events.resume(response_object(execution, status="in_progress"))
    return events


def _claim(execution: Execution, request: RunRequest) -> bool:
    """Take the lease. Return False if the execution is not queued, or the snapshot is outdated."""
    agent, model = request.agent, request.model
    current = Agent.objects.filter(pk=agent.agent_id, version=agent.version)
    rows = _claimable(execution).filter(Exists(current))
    claimed = rows.update(
        status=Execution.Status.RUNNING,
        attempt=execution.attempt + 1,
        agent_name=agent.name,
        provider=model.provider,
        system_prompt=request.system_prompt,
        reserved_usd=None,  # of a former attempt
        started_at=Coalesce("started_at", Now()),
        finish_by=Now() + timedelta(seconds=settings.RUN_TIMEOUT_SECONDS),
        lease_owner=leases.owner(),
        lease_expires_at=Now() + leases.LEASE,
    )
    return claimed == 1


@transaction.atomic
def _end_queued(
    execution: Execution, status: Execution.Status, stop_reason: StopReason, error_code: str = ""
) -> None:
    if _queued(execution.pk).select_for_update(of=("self",), no_key=True).first():
        end(execution, status=status, stop_reason=stop_reason, error_code=error_code)


def _run(attempt: _Attempt) -> None:
    request, record = attempt.request, attempt.record
    try:
        model_request = model_request_of(request)
        provider = get_provider(request.model.provider)
        if provider.is_local(model_request) and not attempt.past.steps:
            outcome = run_locally(request, provider, model_request, record.execution_id)
        else:
            with record.events or nullcontext():
                outcome = run_loop(request, provider, model_request, record, attempt.past)
        record.finish(outcome)
    except (leases.LeaseLost, RunPostponed, DatabaseError):
        raise
    except Exception:
        logger.exception("run %s failed", record.execution_id)
        record.fail()
