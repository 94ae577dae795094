"""Filters of the history to which the report of failures links."""

from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.contrib.filters.admin import DropdownFilter, TextFilter

from executions.admin.filters import ColumnFilter, start
from executions.models import Execution
from executions.stop_reasons import StopReason
from executions.tool_calls import failed_calls_since


class ErrorReasonFilter(ColumnFilter, TextFilter):
    """Why the model's provider failed."""

    title = "reason of the error"
    parameter_name = "error_reason"


class ProviderFilter(ColumnFilter, TextFilter):
    """The provider of the model."""

    title = "provider"
    parameter_name = "provider"


class StopReasonFilter(ColumnFilter, DropdownFilter):
    """Why the run ended."""

    title = "stop reason"
    parameter_name = "stop_reason"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(reason, reason) for reason in StopReason]


class FailedToolFilter(TextFilter):
    """Runs in which a call of the tool with this name ended with an error."""

    title = "failed tool (name)"
    parameter_name = "failed_tool"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Execution]) -> QuerySet[Execution]:
        if not self.value():
            return queryset
        # A step is not older than its run.
        steps = failed_calls_since(start(request)).filter(name=self.value())
        return queryset.filter(pk__in=steps.values("execution"))
