"""A queued execution in a worker."""

import logging
import uuid
from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.db import DatabaseError, connection, transaction
from django.db.models.functions import Coalesce, Now

from agents import language_models
from agents.errors import InvalidModel
from agents.models import Agent
from executions import snapshots
from executions.attempts import model_request_of, run_loop
from executions.endings import end
from executions.jobs import leases
from executions.jobs.slots import slot
from executions.loop import Outcome, Step
from executions.models import Execution
from executions.providers import get_provider
from executions.records import RunRecord, RunRequest, recorded_steps
from executions.stop_reasons import StopReason
from map_project.postgresql.connections import with_retries
from map_project.tenants.models import Tenant
from ratelimit.limiter import LimiterUnavailable

logger = logging.getLogger("map.runs")

# Between the attempts of a write while the database is not available. In total less than a lease.
RETRY_DELAYS_SECONDS = (0.2, 0.5, 1.0, 2.0, 3.0, 4.0)


@dataclass(frozen=True, slots=True)
class _Attempt:
    """An attempt that this process has started, and the steps of the former ones."""

    request: RunRequest
    record: RunRecord
    recorded: list[Step]


def run_queued(execution_id: uuid.UUID) -> None:
    """Run a queued execution to its end. Does nothing if it is not queued any more."""
    try:
        tenant = _tenant_of(execution_id)
        if tenant is None:
            return
        with slot(execution_id, tenant) as is_free, leases.extended(execution_id):
            attempt = is_free and with_retries(lambda: _start(execution_id), RETRY_DELAYS_SECONDS)
            if attempt:
                _run(attempt)
    except leases.LeaseLost:
        logger.warning("run %s stops here: it has ended or continues elsewhere", execution_id)
    except (DatabaseError, LimiterUnavailable) as error:
        # It is recovered: its lease expires, or it is still queued and gets another job.
        logger.warning("run %s stops here: %s", execution_id, type(error).__name__)
    finally:
        connection.close()


def _tenant_of(execution_id: uuid.UUID) -> Tenant | None:
    """Return the tenant of a queued execution, or None if it is not queued any more."""
    queued = Execution.objects.filter(pk=execution_id, status=Execution.Status.QUEUED)
    execution = with_retries(
        lambda: queued.select_related("tenant").only("tenant").first(), RETRY_DELAYS_SECONDS
    )
    return execution.tenant if execution else None


def _start(execution_id: uuid.UUID) -> _Attempt | None:
    """Take the lease of a queued execution. Return None if it is not queued, or cannot be run."""
    with transaction.atomic():
        queued = Execution.objects.filter(status=Execution.Status.QUEUED, pk=execution_id)
        execution = (
            queued.select_related("tenant").select_for_update(of=("self",), no_key=True).first()
        )
        if execution is None:
            return None
        tenant = execution.tenant
        if not tenant.is_active:
            end(
                execution,
                status=Execution.Status.CANCELLED,
                stop_reason=StopReason.CANCELLED_BY_OPERATOR,
            )
            return None
        try:
            agent = snapshots.read(tenant.pk, execution.agent_id)
            model = language_models.find(execution.model, tenant.allowed_models)
        except (Agent.DoesNotExist, InvalidModel) as error:
            code = error.error_code if isinstance(error, InvalidModel) else "AGENT_NOT_FOUND"
            end(
                execution,
                status=Execution.Status.FAILED,
                stop_reason=StopReason.NOT_RUNNABLE,
                error_code=code,
            )
            return None
        attempt = execution.attempt + 1
        queued.update(
            status=Execution.Status.RUNNING,
            attempt=attempt,
            agent_name=agent.name,
            provider=model.provider,
            system_prompt=agent.system_prompt,
            started_at=Coalesce("started_at", Now()),
            finish_by=Now() + timedelta(seconds=settings.RUN_TIMEOUT_SECONDS),
            lease_owner=leases.owner(),
            lease_expires_at=Now() + leases.LEASE,
        )
    recorded = recorded_steps(execution_id)
    request = RunRequest(agent, model, execution.prompt, execution.request_id, execution.key_prefix)
    record = RunRecord(execution_id, tenant.pk, model, attempt, len(recorded), RETRY_DELAYS_SECONDS)
    return _Attempt(request, record, recorded)


def _run(attempt: _Attempt) -> None:
    request, record = attempt.request, attempt.record
    try:
        model_request = model_request_of(request)
        provider = get_provider(request.model.provider)
        if provider.is_local(model_request):
            text = provider.complete(model_request).text
            outcome = Outcome("succeeded", StopReason.COMPLETED, text, None, None)
        else:
            outcome = run_loop(request, provider, model_request, record, attempt.recorded)
        record.finish(outcome)
    except (leases.LeaseLost, DatabaseError):
        raise
    except Exception:
        logger.exception("run %s failed", record.execution_id)
        record.fail()
