"""The end of a run that its process does not store: a cancellation, or the loss of the process."""

import uuid
from functools import partial

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now

from agents import language_models
from executions.conversation import known_sum
from executions.costs import cost_usd
from executions.events import notices
from executions.models import Approval, Execution, Step
from executions.records import close_running_steps, latency_since_start
from executions.stop_reasons import StopReason
from map_project.webhooks.services import record_event


@transaction.atomic
def cancel(execution_id: uuid.UUID, stop_reason: StopReason) -> bool:
    """Cancel an execution. Return False if it has ended before. Raises DatabaseError.

    It ends at once, also if no process holds its lease any more. The process that runs it can write nothing
    more, and stops before the next call of the model or of a tool.
    """
    unfinished = Execution.objects.filter(pk=execution_id, status__in=Execution.UNFINISHED)
    execution = unfinished.select_for_update(no_key=True).first()
    if execution is not None:
        end(execution, status=Execution.Status.CANCELLED, stop_reason=stop_reason)
    return execution is not None


def end(
    execution: Execution, *, status: Execution.Status, stop_reason: StopReason, error_code: str = ""
) -> None:
    """End an execution that has not ended, in the current transaction. Its row must be locked.

    The tokens and the cost of its steps are kept. Approvals that it waits for expire. Raises DatabaseError.
    """
    close_running_steps(execution.pk, stop_reason)
    is_waiting = execution.status == Execution.Status.REQUIRES_ACTION
    if is_waiting:
        pending = execution.approvals.filter(status=Approval.Status.PENDING)
        pending.update(status=Approval.Status.EXPIRED)
    input_tokens, output_tokens = _tokens(execution)
    model = language_models.offered(None).get(execution.model)
    cost = cost_usd(model, input_tokens, output_tokens) if model else None
    Execution.objects.filter(pk=execution.pk).update(
        status=status,
        stop_reason=stop_reason,
        error_code=error_code,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        # The model may be inactive now. What the run has cost so far stays in the budget.
        cost_usd=F("cost_usd") if cost is None else cost,
        latency_ms=F("latency_ms") if is_waiting else latency_since_start(),
        finished_at=Now(),
    )
    if execution.is_streamed:
        transaction.on_commit(partial(notices.publish, [execution.pk]))
    record_event(
        tenant_id=execution.tenant_id,
        execution_id=execution.pk,
        event_type=f"execution.{status.value}",
    )


def _tokens(execution: Execution) -> tuple[int | None, int | None]:
    """Return the sums over the responses of the model, as `Outcome` has them."""
    responses = execution.steps.filter(kind=Step.Kind.MODEL, error="")
    counts = [*responses.values_list("input_tokens", "output_tokens")]
    return known_sum([each[0] for each in counts]), known_sum([each[1] for each in counts])
