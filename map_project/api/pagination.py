"""Pagination with `limit` and `offset`. Values out of range are errors, never clamped."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rest_framework.pagination import BasePagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from map_project.api.errors import InvalidPagination

MAX_OFFSET = 2**31 - 1


@dataclass(frozen=True)
class Bounds:
    """The bounds of a query parameter: a whole number in ASCII digits."""

    default: int
    minimum: int
    maximum: int
    description: str

    def read(self, text: str | None) -> tuple[int, dict[str, Any] | None]:
        """Return the value and None, or the default and the details of the error."""
        if text is None:
            return self.default, None
        if not re.fullmatch("-?[0-9]+", text):
            bounds = {"minimum": self.minimum, "maximum": self.maximum}
            return self.default, {"provided": text, **bounds}
        # Python refuses to convert thousands of digits. Twelve digits exceed every bound.
        digits = text.lstrip("-").lstrip("0")[:12] or "0"
        value = -int(digits) if text[0] == "-" else int(digits)
        if value < self.minimum or text[0] == "-":
            return self.default, {"provided": text, "minimum": self.minimum}
        if value > self.maximum:
            return self.default, {"provided": text, "maximum": self.maximum}
        return value, None


BOUNDS = {
    "limit": Bounds(20, 1, 100, "Maximum number of items to return."),
    "offset": Bounds(0, 0, MAX_OFFSET, "Number of items to skip."),
}


class StrictPagination(BasePagination):
    """`?limit=` and `?offset=`: one query per page, and one for the total where it is needed."""

    def paginate_queryset(
        self, queryset: Any, request: Request, view: APIView | None = None
    ) -> list[Any]:
        self.request = request
        query = request.query_params
        parsed = {name: bounds.read(query.get(name)) for name, bounds in BOUNDS.items()}
        errors: dict[str, Any] = {name: error for name, (_, error) in parsed.items() if error}
        if errors:
            raise InvalidPagination(**errors)
        self.limit, self.offset = parsed["limit"][0], parsed["offset"][0]
        # A row after the page shows whether the page is the last one. The last page needs no count.
        rows = self.get_page(queryset, self.offset, self.offset + self.limit + 1)
        self.has_more = len(rows) > self.limit
        is_last_page = not self.has_more and (rows or self.offset == 0)
        self.total = self.offset + len(rows) if is_last_page else self.get_total(queryset, rows)
        return rows[: self.limit]

    def get_page(self, queryset: Any, start: int, stop: int) -> list[Any]:
        """Return the rows of a slice."""
        return list(queryset[start:stop])

    def get_total(self, queryset: Any, page: Sequence[Any]) -> int | None:
        """Return the number of rows on all pages, or None if they are not counted.

        `page` has the rows of `get_page`.
        """
        return int(queryset.count())

    def get_paginated_response(self, data: Any) -> Response:
        return Response(
            {
                "items": data,
                "total": self.total,
                "limit": self.limit,
                "offset": self.offset,
                "has_more": self.has_more,
            }
        )

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        whole = {"type": "integer", "minimum": 0}
        return {
            "type": "object",
            "required": ["items", "total", "limit", "offset", "has_more"],
            "properties": {
                "items": schema,
                "total": {
                    **whole,
                    "description": "Number of matching items on all pages.",
                    "example": 1,
                },
                "limit": {
                    "type": "integer",
                    "minimum": 1,
                    "maximum": 100,
                    "description": "The `limit` of the request.",
                    "example": 20,
                },
                "offset": {
                    **whole,
                    "description": "The `offset` of the request.",
                    "example": 0,
                },
                "has_more": {
                    "type": "boolean",
                    "description": "Whether there are items after this page.",
                    "example": False,
                },
            },
        }

    def get_schema_operation_parameters(self, view: APIView) -> list[dict[str, Any]]:
        return [
            {
                "name": name,
                "in": "query",
                "required": False,
                "description": bounds.description,
                "schema": {
                    "type": "integer",
                    "default": bounds.default,
                    "minimum": bounds.minimum,
                    "maximum": bounds.maximum,
                },
            }
            for name, bounds in BOUNDS.items()
        ]
