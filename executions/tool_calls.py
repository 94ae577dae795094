"""Tool calls of all runs by time, for reports."""

from datetime import datetime

from django.db.models import QuerySet

from executions.models import Step
from executions.steps import DECLINED, NOT_CALLED


def calls_since(begin: datetime | None) -> QuerySet[Step]:
    """The steps of tools since then, from the index `step_tool_by_time`."""
    steps = Step.objects.filter(kind=Step.Kind.TOOL).order_by()
    return steps.filter(created_at__gte=begin) if begin else steps


def failed_calls_since(begin: datetime | None) -> QuerySet[Step]:
    """Those that ended with an error, from the index `step_tool_error_by_time`.

    Without the calls that a person declined, and those that were not made because the run had to end.
    """
    failed = calls_since(begin).exclude(error="")
    return failed.exclude(error__in=(DECLINED, NOT_CALLED))
