"""The filters of the history: query parameters, and the conditions that they are."""

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from django.db.models import Q
from rest_framework.filters import BaseFilterBackend
from rest_framework.request import Request

from executions.history import search
from executions.models import Execution
from map_project.api.errors import BadRequest
from map_project.api.fields import parse_uuid
from map_project.api.times import MOMENT_SCHEMA, read_moment
from map_project.tenants.models import ApiKey

# Of a name of a model. A longer one can match nothing.
_MAX_MODEL_LENGTH = 100


@dataclass(frozen=True, slots=True)
class Filter:
    """A query parameter. `condition` takes the tenant and the text. It raises BadRequest."""

    description: str
    schema: Mapping[str, Any]
    condition: Callable[[uuid.UUID, str], Q]


def _agent(_: uuid.UUID, text: str) -> Q:
    return Q(agent_id=_uuid("agent_id", text))


def _key(tenant_id: uuid.UUID, text: str) -> Q:
    """Executions have the prefix of their key. An unknown key has none, as has one of another tenant."""
    keys = ApiKey.objects.filter(pk=_uuid("key_id", text), tenant_id=tenant_id)
    return Q(key_prefix__in=[*keys.values_list("prefix", flat=True)])


def _model(_: uuid.UUID, text: str) -> Q:
    if not 1 <= len(text) <= _MAX_MODEL_LENGTH:
        raise BadRequest("model must have 1 to 100 characters.")
    return Q(model=text)


def _status(_: uuid.UUID, text: str) -> Q:
    if text not in Execution.Status.values:
        raise BadRequest(f"status must be one of {', '.join(Execution.Status.values)}.")
    return Q(status=text)


def _since(_: uuid.UUID, text: str) -> Q:
    return Q(created_at__gte=read_moment("since", text))


def _until(_: uuid.UUID, text: str) -> Q:
    return Q(created_at__lt=read_moment("until", text))


_ID_SCHEMA = {"type": "string", "format": "uuid"}
_TIME_FORM = "An RFC 3339 time, or a date, which is its beginning in UTC."

FILTERS: Mapping[str, Filter] = {
    "agent_id": Filter("Only runs of this agent, which may be deleted.", _ID_SCHEMA, _agent),
    "model": Filter(
        "Only runs with this model.",
        {"type": "string", "minLength": 1, "maxLength": _MAX_MODEL_LENGTH},
        _model,
    ),
    "status": Filter(
        "Only runs with this status.",
        {"type": "string", "enum": Execution.Status.values},
        _status,
    ),
    "key_id": Filter("Only runs that this API key started.", _ID_SCHEMA, _key),
    "since": Filter(
        f"Only runs created at this time or later. {_TIME_FORM}", MOMENT_SCHEMA, _since
    ),
    "until": Filter(f"Only runs created before this time. {_TIME_FORM}", MOMENT_SCHEMA, _until),
}
FILTER_NAMES = [*FILTERS, *(name for name, *_ in search.PARAMETERS)]
# Filters that have an index each (`executions.models`).
_EQUALITIES = {"agent_id", "model", "status", "key_id"}


def described_filters() -> list[tuple[str, str, Mapping[str, Any]]]:
    """Return the name, the description and the schema of each filter."""
    filters = [(name, each.description, each.schema) for name, each in FILTERS.items()]
    return [*filters, *search.PARAMETERS]


def is_filtered(request: Request) -> bool:
    """Return whether the request has a filter, apart from those of the search."""
    return any(name in FILTERS for name in request.query_params)


def are_combined(request: Request) -> bool:
    """Return whether the request has several filters by equality."""
    return sum(name in _EQUALITIES for name in request.query_params) > 1


class HistoryFilter(BaseFilterBackend):
    """Filters the history of the caller's tenant by `FILTERS`. The pagination searches for other terms."""

    def filter_queryset(self, request: Request, queryset: Any, view: Any) -> Any:
        for name, each in FILTERS.items():
            if (text := request.query_params.get(name)) is not None:
                queryset = queryset.filter(each.condition(view.caller.tenant_id, text))
        return queryset

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        return [
            {
                "name": name,
                "in": "query",
                "required": False,
                "description": description,
                "schema": schema,
            }
            for name, description, schema in described_filters()
        ]


def _uuid(name: str, text: str) -> uuid.UUID:
    pk = parse_uuid(text)
    if pk is None:
        raise BadRequest(f"{name} must be a UUID.")
    return pk
