"""The record of a run: its steps, its events and its end."""

import hashlib
import json
import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import timedelta
from decimal import Decimal
from functools import partial
from typing import Any

from django.db import transaction
from django.db.models import F, IntegerField, Q, QuerySet
from django.db.models.functions import Cast, Coalesce, Extract, Greatest, Now

from agents.language_models import KnownModel
from executions.budgets.warnings import warn_after_step
from executions.context.exchanges import INTERRUPTED
from executions.costs import cost_usd, total_usd
from executions.errors import BudgetExceeded, OutputInvalid
from executions.events import notices
from executions.events.recording import RunEvents
from executions.jobs import leases
from executions.models import Approval, EventBatch, Execution, Step
from executions.outcomes import Outcome
from executions.providers import ToolCall
from executions.steps import Decision, OpenCall, Past
from executions.steps import Step as RunStep
from executions.stop_reasons import StopReason
from executions.texts import storable
from map_project.postgresql.connections import with_retries
from map_project.webhooks.services import record_event

# Between the attempts of a write while the database is not available. In total less than a lease.
RETRY_DELAYS_SECONDS = (0.2, 0.5, 1.0, 2.0, 3.0, 4.0)
MAX_ERROR_LENGTH = 100
# Of failed runs without an error of the model.
_ERROR_CODES: Mapping[str, str] = {
    StopReason.OUTPUT_INVALID: OutputInvalid.error_code,
    StopReason.BUDGET_EXCEEDED: BudgetExceeded.error_code,
}
_COLUMNS = [each.name for each in fields(RunStep)]


@dataclass(slots=True)
class RunRecord:
    """The record of one attempt of a run, until `finish` or `fail`.

    Each method raises LeaseLost, and writes nothing, if this process does not hold the lease of the attempt.
    Between the statements the run holds no database connection (see `executions.services`).
    `position` is the position of the next step. While the database is not available, a write is repeated
    after `retry_delays_seconds`.
    """

    execution_id: uuid.UUID
    tenant_id: uuid.UUID
    model: KnownModel
    attempt: int = 1
    position: int = 0
    retry_delays_seconds: Sequence[float] = ()
    events: RunEvents | None = None
    # Whether clients may wait for the end of the run, although it is not streamed.
    has_waited: bool = False
    # Whether a budget limits the calls of the model, and has admitted the next one; and the cost so far.
    is_budgeted: bool = False
    has_reservation: bool = False
    spent_usd: Decimal = Decimal(0)

    def add_step(self, step: RunStep) -> None:
        """Store a step: once it is over, and that of a tool also before the call. Raises DatabaseError."""
        if self.events is None:
            with_retries(partial(self._store_step, step), self.retry_delays_seconds)
        else:
            self.events.add_step(step)
            with self.events.storing() as batch:
                with_retries(partial(self._store_step, step, batch), self.retry_delays_seconds)
        if not step.is_running:
            self.position += 1
        if self._is_settled_by(step):
            self.spent_usd += total_usd(self.model, [step])
            warn_after_step(self.tenant_id)

    def finish(self, outcome: Outcome, *, latency_ms: int | None = None) -> None:
        """Store the outcome, and by default the time since the first start. Raises DatabaseError.

        A run that waits for decisions has no lease any more.
        """
        values = {
            "status": outcome.status,
            "stop_reason": outcome.stop_reason,
            "input_tokens": outcome.input_tokens,
            "output_tokens": outcome.output_tokens,
            "cost_usd": cost_usd(self.model, outcome.input_tokens, outcome.output_tokens),
            "latency_ms": latency_since_start() if latency_ms is None else latency_ms,
        }
        if outcome.open_calls:
            self._wait(outcome.open_calls, values)
            return
        self._end(
            response=outcome.response, output=outcome.output, **values, **_error_columns(outcome)
        )

    def fail(self, *, latency_ms: int | None = None) -> None:
        """Store an internal error. Raises DatabaseError."""
        self._end(
            status=Execution.Status.FAILED,
            stop_reason=StopReason.INTERNAL_ERROR,
            error_code="INTERNAL_ERROR",
            latency_ms=latency_since_start() if latency_ms is None else latency_ms,
        )

    def _end(self, **values: Any) -> None:
        with_retries(partial(self._store_end, values), self.retry_delays_seconds)

    @transaction.atomic
    def _store_end(self, values: Mapping[str, Any]) -> None:
        lease = leases.held(self.execution_id, self.attempt)
        if not lease.update(finished_at=Now(), **values):
            raise leases.LeaseLost
        if values["status"] == Execution.Status.FAILED:
            close_running_steps(self.execution_id, values["stop_reason"])
        self._report(values["status"])

    def _wait(self, open_calls: Iterable[OpenCall], values: Mapping[str, Any]) -> None:
        approvals = [self._approval(call) for call in open_calls]
        if self.events is None:
            with_retries(partial(self._store_wait, values, approvals), self.retry_delays_seconds)
            return
        self.events.add_requests(approvals)
        with self.events.storing() as batch:
            store = partial(self._store_wait, values, approvals, batch)
            with_retries(store, self.retry_delays_seconds)

    def _approval(self, call: OpenCall) -> Approval:
        return Approval(
            tenant_id=self.tenant_id,
            execution_id=self.execution_id,
            position=self.position + call.offset,
            attempt=self.attempt,
            tool_id=call.tool.id,
            tool_name=call.tool.name,
            arguments=call.arguments,
            arguments_sha256=hashlib.sha256(call.arguments.encode()).hexdigest(),
            expires_at=Now() + timedelta(seconds=call.tool.approval_timeout_seconds),
        )

    @transaction.atomic
    def _store_wait(
        self,
        values: Mapping[str, Any],
        approvals: Sequence[Approval],
        batch: EventBatch | None = None,
    ) -> None:
        lease = leases.held(self.execution_id, self.attempt)
        if not lease.update(lease_owner="", lease_expires_at=None, **values):
            raise leases.LeaseLost
        Approval.objects.bulk_create(approvals)
        if batch is not None:
            EventBatch.objects.bulk_create([batch], ignore_conflicts=True)
        self._report(values["status"])

    def _report(self, status: str) -> None:
        """Report a new status to webhooks and to waiting clients, in the current transaction."""
        record_event(
            tenant_id=self.tenant_id,
            execution_id=self.execution_id,
            event_type=f"execution.{status}",
        )
        if self.events is not None or self.has_waited:
            transaction.on_commit(partial(notices.publish, [self.execution_id]))

    def _store_step(self, step: RunStep, batch: EventBatch | None = None) -> None:
        columns = _step_columns(step)
        row = Step(execution_id=self.execution_id, position=self.position, **columns)
        with self._lease() as lease:
            if self._is_settled_by(step):
                lease.update(
                    reserved_usd=None, cost_usd=self.spent_usd + total_usd(self.model, [step])
                )
            # Replaces the step of the same call, also that of an earlier attempt.
            Step.objects.bulk_create(
                [row],
                update_conflicts=True,
                unique_fields=["execution", "position"],
                update_fields=[*columns],
            )
            if batch is not None:
                EventBatch.objects.bulk_create([batch], ignore_conflicts=True)

    @contextmanager
    def _lease(self) -> Iterator[QuerySet[Execution]]:
        """Keep the execution, which is yielded, from being changed by others during the block."""
        lease = leases.held(self.execution_id, self.attempt)
        with transaction.atomic():
            if not lease.select_for_update(no_key=True).values_list("pk"):
                raise leases.LeaseLost
            yield lease

    def _is_settled_by(self, step: RunStep) -> bool:
        """Return whether the step ends the reservation of the run."""
        return self.is_budgeted and step.kind == "model"


def _step_columns(step: RunStep) -> dict[str, Any]:
    columns = {name: getattr(step, name) for name in _COLUMNS}
    columns["error"] = step.error[:MAX_ERROR_LENGTH]
    columns["tool_calls"] = [
        {"id": call.id, "name": call.name, "arguments": call.arguments} for call in step.tool_calls
    ]
    extras = [step.extra, *(call.extra for call in step.tool_calls)]
    columns["extra"] = json.dumps(extras, ensure_ascii=False) if any(extras) else ""
    return columns


def close_running_steps(execution_id: uuid.UUID, stop_reason: StopReason) -> None:
    """Give the tool call that a run was interrupted in a result. Raises DatabaseError."""
    running = Step.objects.filter(execution_id=execution_id, is_running=True)
    running.update(is_running=False, error=stop_reason, output=INTERRUPTED)


def recorded_steps(execution_id: uuid.UUID, *, with_running: bool = False) -> list[RunStep]:
    """Return the steps of a run that are over, in order. Raises DatabaseError."""
    rows = Step.objects.filter(execution_id=execution_id).order_by("position").values(*_COLUMNS)
    return [_recorded_step(row) for row in rows if with_running or not row["is_running"]]


def requests(execution_id: uuid.UUID, steps: Iterable[RunStep]) -> list[Approval]:
    """Return the approvals of a run with these steps, in the order of the calls. Raises DatabaseError.

    No query for a run without tool calls.
    """
    if not any(step.tool_calls for step in steps):
        return []
    return [*Approval.objects.filter(execution_id=execution_id).order_by("position")]


def stored_past(execution_id: uuid.UUID) -> Past:
    """Return what earlier attempts of a run have stored. Raises DatabaseError."""
    steps = recorded_steps(execution_id)
    decisions = {
        approval.position: Decision(
            approval_id=approval.pk,
            is_approved=approval.status == Approval.Status.APPROVED,
            tool_id=approval.tool_id,
            arguments=approval.arguments,
            reason=approval.reason,
        )
        for approval in requests(execution_id, steps)
        if approval.decided_at is not None
    }
    return Past(steps, decisions)


def responses_and_results(execution_ids: Iterable[uuid.UUID]) -> dict[uuid.UUID, list[RunStep]]:
    """Return the responses of the models and the results of the tools of executions, without their inputs.

    One query. Failed requests to models are left out. Raises DatabaseError.
    """
    rows = Step.objects.filter(Q(kind=Step.Kind.TOOL) | Q(error=""), execution_id__in=execution_ids)
    columns = [name for name in _COLUMNS if name != "input"]
    steps: dict[uuid.UUID, list[RunStep]] = defaultdict(list)
    for row in rows.order_by("execution_id", "position").values("execution_id", *columns):
        steps[row.pop("execution_id")].append(_recorded_step({**row, "input": ""}))
    return steps


def _recorded_step(columns: dict[str, Any]) -> RunStep:
    calls, extra = columns["tool_calls"], columns["extra"]
    first, *others = json.loads(extra) if extra else [{} for _ in range(1 + len(calls))]
    tool_calls = tuple(
        ToolCall(**call, extra=fields) for call, fields in zip(calls, others, strict=True)
    )
    return RunStep(**{**columns, "tool_calls": tool_calls, "extra": first})


def _error_columns(outcome: Outcome) -> dict[str, object]:
    error = outcome.error
    if error is None:
        code = _ERROR_CODES.get(outcome.stop_reason) if outcome.status == "failed" else None
        return {"error_code": code} if code else {}
    return {
        "error_code": error.error_code,
        "error_reason": error.reason,
        "provider_error": {"status": error.status, **error.identifiers},
        "provider_message": storable(error.provider_message),
    }


def latency_since_start() -> Cast:
    """The milliseconds since the execution was first started, or created, without those it has waited."""
    started_at = Coalesce(F("started_at"), F("created_at"))
    elapsed_ms = Extract(Now() - started_at, "epoch") * 1000
    return Cast(Greatest(elapsed_ms - F("waited_ms"), 0.0), IntegerField())
