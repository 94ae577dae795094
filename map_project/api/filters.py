"""Filters of lists by query parameters."""

from typing import Any

from rest_framework.filters import BaseFilterBackend
from rest_framework.request import Request


class ExactFilter(BaseFilterBackend):
    """Filters a list by exact values.

    The view's `exact_filters` maps a query parameter to a lookup and the parameter's description.
    """

    def filter_queryset(self, request: Request, queryset: Any, view: Any) -> Any:
        lookups = {
            lookup: request.query_params[name]
            for name, (lookup, _) in view.exact_filters.items()
            if name in request.query_params
        }
        return queryset.filter(**lookups)

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        return [
            {
                "name": name,
                "in": "query",
                "required": False,
                "description": description,
                "schema": {"type": "string"},
            }
            for name, (_, description) in view.exact_filters.items()
        ]
