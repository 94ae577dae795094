"""What operators do with runs in the admin, with entries in the audit log."""

from django.db import transaction
from django.http import HttpRequest

from executions.endings import cancel
from executions.models import Execution
from executions.stop_reasons import StopReason
from map_project.api import audit


def can_cancel(request: HttpRequest) -> bool:
    """Whether the user is an operator. Executions themselves cannot be changed."""
    return request.user.has_perm("tenants.change_tenant")


@transaction.atomic
def cancel_as_operator(execution: Execution, user: audit.Actor) -> bool:
    """Cancel a run. Return False if it has ended before. Raises DatabaseError."""
    if not cancel(execution.pk, StopReason.CANCELLED_BY_OPERATOR):
        return False
    audit.record(execution, f"status: {execution.status} → cancelled", user=user)
    return True
