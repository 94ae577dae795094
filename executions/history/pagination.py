"""The pagination of the history: at any length and position, with exact totals or with cursors."""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any, cast

from django.db.models import Prefetch, QuerySet
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from executions.history.counting import MAX_COUNTED, count_at_most, count_executions
from executions.history.cursors import EXAMPLE, Cursor
from executions.history.filters import are_combined, is_filtered
from executions.history.search import Search, Terms, terms
from executions.models import Execution, Step
from map_project.api.errors import BadRequest
from map_project.api.pagination import StrictPagination
from map_project.postgresql.queries import custom_plans
from map_project.tenants.authentication import Caller

# Up to this offset, one statement with a plain OFFSET is as fast.
MAX_PLAIN_OFFSET = 500
# A search finds the executions on all pages before.
MAX_SEARCH_OFFSET = 1_000
_NULL_TOTAL = (
    f"Null with `cursor`, for a filtered list of more than {MAX_COUNTED:,}, and for a search with more than "
    "one page."
)
# The steps in an execution. All steps are in `/history/{id}/steps`.
MAX_STEPS_SHOWN = 100


def with_steps(executions: QuerySet[Execution]) -> QuerySet[Execution]:
    """Add the first steps in their order, with one query."""
    # The default order of `Step` would join the executions.
    steps = Step.objects.filter(position__lt=MAX_STEPS_SHOWN).order_by("position")
    return executions.prefetch_related(Prefetch("steps", steps))


class HistoryPagination(StrictPagination):
    """Pagination of the executions of the caller's tenant, the newest first.

    The queryset has the default order, and `id` and `created_at` in its `.values()`. A page that begins
    at a cursor has neither an offset nor a total.
    """

    cursor: Cursor | None = None
    next_cursor: Cursor | None = None
    # Whether there are several filters.
    is_combined = False
    terms: Terms | None = None
    # Where a search stopped because its time was over.
    stopped_at: Cursor | None = None

    def paginate_queryset(
        self, queryset: Any, request: Request, view: APIView | None = None
    ) -> list[Any]:
        self.is_combined = are_combined(request)
        if (text := request.query_params.get("cursor")) is not None:
            if "offset" in request.query_params:
                raise BadRequest("cursor and offset exclude each other.")
            self.cursor = Cursor.parse(text)
        self.terms = terms(request)
        if self.cursor is not None and self.terms is None:
            queryset = self.cursor.older(queryset)
        with custom_plans() if self._has_conditions(request) else nullcontext():
            page = super().paginate_queryset(queryset, request, view)
        if self.stopped_at is not None:
            self.has_more, self.total, self.next_cursor = True, None, self.stopped_at
        elif self.has_more and page:
            self.next_cursor = Cursor(page[-1]["created_at"], page[-1]["id"])
        return page

    def _has_conditions(self, request: Request) -> bool:
        return self.terms is not None or is_filtered(request)

    def get_page(self, queryset: QuerySet[Execution, Any], start: int, stop: int) -> list[Any]:
        if self.terms is not None:
            return self._search(queryset, self.terms, start, stop)
        if start > MAX_PLAIN_OFFSET or self.is_combined:
            # The ids come from an index alone. Otherwise, each row that is skipped, or that matches only some
            # of the filters, would be read from the table.
            ids = queryset.values("pk")[start:stop]
            return list(queryset.filter(pk__in=ids))
        return super().get_page(queryset, start, stop)

    def _search(
        self, queryset: QuerySet[Execution, Any], searched: Terms, start: int, stop: int
    ) -> list[Any]:
        if start > MAX_SEARCH_OFFSET:
            raise BadRequest(
                f"offset must be at most {MAX_SEARCH_OFFSET:,} in a search. Continue at next_cursor."
            )
        caller = cast(Caller, self.request.auth)
        search = Search(caller.tenant_id, searched, queryset, is_narrowed=is_filtered(self.request))
        found, self.stopped_at = search.find(self.cursor, stop)
        return list(queryset.filter(pk__in=[each.id for each in found[start:]]))

    def get_total(self, queryset: QuerySet[Execution, Any], page: Sequence[Any]) -> int | None:
        if self.cursor is not None or self.terms is not None:
            return None
        if is_filtered(self.request):
            return count_at_most(queryset)
        return count_executions(cast(Caller, self.request.auth).tenant_id)

    def get_paginated_response(self, data: Any) -> Response:
        response = super().get_paginated_response(data)
        if self.cursor is not None:
            response.data |= {"total": None, "offset": None}
        if self.next_cursor is not None:
            response.data["next_cursor"] = str(self.next_cursor)
        return response

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        whole: dict[str, Any] = super().get_paginated_response_schema(schema)
        properties = whole["properties"]
        for name, note in (
            ("total", _NULL_TOTAL),
            ("offset", "Null with `cursor`."),
        ):
            text = f"{properties[name]['description']} {note}"
            properties[name] |= {"type": ["integer", "null"], "description": text}
        properties["next_cursor"] = {
            "type": "string",
            "description": "The `cursor` of the next page. Present if `has_more` is true.",
            "example": EXAMPLE,
        }
        properties["total"]["example"], properties["has_more"]["example"] = 130, True
        return whole

    def get_schema_operation_parameters(self, view: APIView) -> list[dict[str, Any]]:
        cursor = {
            "name": "cursor",
            "in": "query",
            "required": False,
            "description": "The `next_cursor` of a response: returns the executions after that page. "
            "Excludes `offset`.",
            "schema": {"type": "string"},
        }
        return [*super().get_schema_operation_parameters(view), cursor]
