"""Answers to requests for approval, with which a response continues."""

import time
import uuid
from collections.abc import Sequence

from django.conf import settings

from executions.approvals.services import decide
from executions.errors import ApprovalNotFound
from executions.events.reading import follow
from executions.models import Approval, Execution
from executions.responses import id_of
from map_project.api.errors import ValidationFailed
from map_project.openai_api.inputs import Decision
from map_project.tenants.authentication import Caller
from map_project.tenants.scopes import APPROVE, check_scopes


def decide_all(
    decisions: Sequence[Decision],
    caller: Caller,
    *,
    previous_execution_id: uuid.UUID | None,
    conversation_id: uuid.UUID | None,
) -> Execution:
    """Store the decisions of a request, and return their execution.

    The previous response or the conversation of the request, if it has one, must be that of the execution.
    Raises ApiError, also if the key has only the scope of the operation.
    """
    check_scopes(caller.scopes, [APPROVE])
    approvals = [_approval(decision, caller) for decision in decisions]
    execution = approvals[0].execution
    if any(approval.execution_id != execution.pk for approval in approvals):
        raise ValidationFailed(fields={"input": ["The requests belong to different responses."]})
    answers = {
        (approval.pk, decision.approve)
        for decision, approval in zip(decisions, approvals, strict=True)
    }
    if len(answers) > len({approval.pk for approval in approvals}):
        raise ValidationFailed(fields={"input": ["A request is both approved and declined."]})
    for name, expected, actual in (
        ("previous_response_id", previous_execution_id, execution.pk),
        ("conversation", conversation_id, execution.conversation_id),
    ):
        if expected is not None and expected != actual:
            raise ValidationFailed(fields={name: ["It does not have the requests for approval."]})
    for decision, approval in zip(decisions, approvals, strict=True):
        decide(
            approval=approval,
            approve=decision.approve,
            reason=decision.reason,
            decided_by=caller.key_prefix,
        )
    return execution


def _approval(decision: Decision, caller: Caller) -> Approval:
    own = Approval.objects.filter(tenant_id=caller.tenant_id, execution__is_hidden=False)
    pk = id_of("mcpr", decision.request_id)
    found = own.select_related("execution").filter(pk=pk).first() if pk else None
    if found is None:
        path = f"{decision.path}.approval_request_id"
        raise ApprovalNotFound(approval_id=decision.request_id[:100], param=path)
    return found


def await_stop(execution_id: uuid.UUID) -> None:
    """Wait until a run has ended or waits again, for at most the time limit of a run."""
    deadline = time.monotonic() + settings.RUN_TIMEOUT_SECONDS
    for _ in follow(execution_id):
        if time.monotonic() >= deadline:
            return
