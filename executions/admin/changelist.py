"""Keyset pagination of the history: a page costs the same however long the history is."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.db import OperationalError
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from unfold.paginator import InfinitePaginator

from executions.models import Execution
from map_project.api.fields import parse_uuid
from map_project.postgresql.queries import QUERY_CANCELED, sqlstate
from map_project.tenants.admin import FilteredChangeList

CURSOR_PARAMETER = "before"


@dataclass(frozen=True, slots=True)
class Cursor:
    """The last execution of a page. The next page starts after it."""

    created_at: datetime
    id: uuid.UUID

    @classmethod
    def parse(cls, text: str) -> "Cursor | None":
        """The inverse of `str`; None if the text is invalid."""
        time, _, pk = text.partition("_")
        parsed = parse_uuid(pk)
        try:
            return cls(datetime.fromisoformat(time), parsed) if parsed else None
        except ValueError:
            return None

    def __str__(self) -> str:
        return f"{self.created_at.isoformat()}_{self.id}"

    def older(self, executions: QuerySet[Execution]) -> QuerySet[Execution]:
        """The executions after this one, in the order of the history (newest first)."""
        return executions.filter(
            Q(created_at__lt=self.created_at) | Q(created_at=self.created_at, pk__lt=self.id),
            # Redundant, but PostgreSQL needs it to start the index scan at this position.
            created_at__lte=self.created_at,
        )


class CursorPaginator(InfinitePaginator):
    """Counts nothing. Its template links to the older and to the newest page."""

    template_name = "executions/older.html"


class HistoryChangeList(FilteredChangeList):
    """One page of the history, with the URL of the next one."""

    older_url = ""
    newest_url = ""

    def get_filters_params(self, params: Any = None) -> Any:
        self.params.pop(CURSOR_PARAMETER, None)
        lookups = super().get_filters_params(params)
        lookups.pop(CURSOR_PARAMETER, None)
        return lookups

    def get_queryset(self, request: HttpRequest, *args: Any, **options: Any) -> Any:
        executions = super().get_queryset(request, *args, **options)
        cursor = Cursor.parse(request.GET.get(CURSOR_PARAMETER, ""))
        return cursor.older(executions) if cursor else executions

    def get_results(self, request: HttpRequest) -> None:
        rows = self._rows(request)
        self.result_list: Any = rows[: self.list_per_page]
        self.result_count = self.full_result_count = len(self.result_list)
        self.show_admin_actions = self.can_show_all = self.multi_page = False
        self.paginator = CursorPaginator(self.result_list, self.list_per_page)
        if CURSOR_PARAMETER in request.GET:
            self.newest_url = self.get_query_string() or "?"
        if len(rows) > self.list_per_page:
            last = self.result_list[-1]
            cursor = {CURSOR_PARAMETER: str(Cursor(last.created_at, last.pk))}
            self.older_url = f"?{urlencode({**self.params, **cursor}, doseq=True)}"

    def _rows(self, request: HttpRequest) -> list[Execution]:
        """The rows of this page and one more; none, with a warning, on a statement timeout."""
        try:
            return list(self.queryset[: self.list_per_page + 1])
        except OperationalError as error:
            if sqlstate(error) != QUERY_CANCELED:
                raise
            messages.warning(request, "Too many runs to search. Narrow the time range.")
            return []
