"""Filters of the history."""

from collections.abc import Container, Iterator, Mapping
from datetime import MAXYEAR, UTC, datetime, timedelta
from typing import Any

from django.contrib.admin import SimpleListFilter
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from unfold.contrib.filters.admin import DropdownFilter, RangeDateFilter, TextFilter

from agents.models import LanguageModel
from executions.models import Execution
from map_project.api.fields import parse_uuid

PERIODS = {
    "1h": ("Last hour", timedelta(hours=1)),
    "24h": ("Last 24 hours", timedelta(hours=24)),
    "7d": ("Last 7 days", timedelta(days=7)),
    "30d": ("Last 30 days", timedelta(days=30)),
    "all": ("Any time", None),
}
DEFAULT_PERIOD = "7d"
ERROR_CODES = (
    *("MODEL_ERROR", "MODEL_TIMEOUT", "INTERNAL_ERROR", "WORKER_LOST", "LOST"),
    *("AGENT_NOT_FOUND", "INVALID_MODEL"),
)
_DAY, _TIME = "%Y-%m-%d", "%Y-%m-%dT%H:%M"


class PeriodFilter(DropdownFilter):
    """The time range of `field`. It has a default, and explicit dates take precedence over it."""

    title = "time range"
    parameter_name = "period"
    all_option = None
    field = "created_at"
    periods: Mapping[str, tuple[str, timedelta | None]] = PERIODS
    default = DEFAULT_PERIOD

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterator[tuple[str, str]]:
        return ((name, label) for name, (label, _) in self.periods.items())

    def value(self) -> str:
        given = self.used_parameters.get(self.parameter_name)
        return period_name(given, self.periods, self.default)

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        length = self.periods[self.value()][1]
        if length is None or any(date_range(request, self.field)):
            return queryset
        return queryset.filter(**{f"{self.field}__gte": timezone.now() - length})


class DatesFilter(RangeDateFilter):
    """From the start of one day (UTC) to the end of another. Invalid dates are ignored.

    The links of the charts have times: from the first, and before the second.
    """

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        begin, end = date_range(request, self.field_path)
        if begin:
            queryset = queryset.filter(**{f"{self.field_path}__gte": begin})
        if end:
            queryset = queryset.filter(**{f"{self.field_path}__lt": end})
        return queryset


class ColumnFilter(SimpleListFilter):
    """The exact value of the column with the name of the parameter."""

    def queryset(self, request: HttpRequest, queryset: QuerySet[Execution]) -> QuerySet[Execution]:
        value = self.value()
        return queryset.filter(**{str(self.parameter_name): value}) if value else queryset


class AgentFilter(TextFilter):
    """The agent's ID, or its name at the time of the run."""

    title = "agent (name or ID)"
    parameter_name = "agent"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Execution]) -> QuerySet[Execution]:
        text = self.value()
        if not text:
            return queryset
        pk = parse_uuid(text)
        return queryset.filter(agent_id=pk) if pk else queryset.filter(agent_name=text)


class ModelFilter(ColumnFilter, DropdownFilter):
    """One of the language models."""

    title = "model"
    parameter_name = "model"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, name) for name in LanguageModel.objects.values_list("name", flat=True)]


class ErrorCodeFilter(ColumnFilter, DropdownFilter):
    """The error code of failed runs."""

    title = "error code"
    parameter_name = "error_code"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(code, code) for code in ERROR_CODES]


def period_name(
    value: Any, periods: Container[str] = PERIODS, default: str = DEFAULT_PERIOD
) -> str:
    """The name of the period in a query parameter; the default if the value is invalid."""
    name = value[0] if isinstance(value, list) and value else value
    return name if name in periods else default


def date_range(
    request: HttpRequest, field: str = "created_at"
) -> tuple[datetime | None, datetime | None]:
    """The begin and the end of `DatesFilter` (UTC); None if missing or invalid."""
    first, last = request.GET.get(f"{field}_from"), request.GET.get(f"{field}_to")
    last_day = _parse(last, _DAY)
    end = last_day + timedelta(days=1) if last_day else _parse(last, _TIME)
    return _parse(first, _DAY) or _parse(first, _TIME), end


def has_start(request: HttpRequest) -> bool:
    """Whether the filters bound how far back a query reads."""
    first, last = date_range(request)
    if first or last:
        return first is not None
    return PERIODS[period_name(request.GET.get("period"))][1] is not None


def start(request: HttpRequest) -> datetime | None:
    """The begin of the time range of the filters; None if it is not bounded."""
    begin, end = date_range(request)
    length = PERIODS[period_name(request.GET.get("period"))][1]
    if begin or end or length is None:
        return begin
    return timezone.now() - length


def _parse(text: str | None, form: str) -> datetime | None:
    try:
        time = datetime.strptime(text or "", form).replace(tzinfo=UTC)
    except ValueError:
        return None
    # There is no day after the last one.
    return None if time.year == MAXYEAR else time
