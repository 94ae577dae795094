"""The list envelope. What is out of range is refused, never clamped."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rest_framework.pagination import BasePagination
from rest_framework.request import Request
from rest_framework.views import APIView

from map_project.api.errors import ApiError
from map_project.api.renderers import Answer

MAX_OFFSET = 2**31 - 1


@dataclass(frozen=True)
class Bounds:
    """What a query parameter may be: a whole number in ASCII digits from `minimum` to `maximum`."""

    default: int
    minimum: int
    maximum: int

    def read(self, text: str | None) -> tuple[int, dict[str, Any] | None]:
        """The value, and None or what was wrong with it: `provided` and the bound that it broke."""
        if text is None:
            return self.default, None
        if not re.fullmatch("-?[0-9]+", text):
            bounds = {"minimum": self.minimum, "maximum": self.maximum}
            return self.default, {"provided": text, **bounds}
        # Python refuses to read thousands of digits; a dozen are beyond every bound here.
        digits = text.lstrip("-").lstrip("0")[:12] or "0"
        value = -int(digits) if text[0] == "-" else int(digits)
        if value < self.minimum or text[0] == "-":
            return self.default, {"provided": text, "minimum": self.minimum}
        if value > self.maximum:
            return self.default, {"provided": text, "maximum": self.maximum}
        return value, None


BOUNDS = {"limit": Bounds(20, 1, 100), "offset": Bounds(0, 0, MAX_OFFSET)}


def page_bounds(query: Mapping[str, str]) -> tuple[int, int]:
    """`limit` and `offset` out of the query. Raises ApiError `INVALID_PAGINATION`."""
    read = {name: bounds.read(query.get(name)) for name, bounds in BOUNDS.items()}
    if wrong := {name: problem for name, (_, problem) in read.items() if problem}:
        raise ApiError(
            400,
            "INVALID_PAGINATION",
            "limit must be a whole number from 1 to 100, offset one from 0 to 2147483647.",
            wrong,
        )
    return read["limit"][0], read["offset"][0]


class StrictPagination(BasePagination):
    """`?limit=` and `?offset=`; one query a page, and one for the total."""

    def paginate_queryset(
        self, queryset: Any, request: Request, view: APIView | None = None
    ) -> list[Any]:
        self.limit, self.offset = page_bounds(request.query_params)
        # One row more than asked for tells whether the end is in sight: then nobody need count.
        found = list(queryset[self.offset : self.offset + self.limit + 1])
        at_the_end = len(found) <= self.limit and (found or self.offset == 0)
        self.total = self.offset + len(found) if at_the_end else queryset.count()
        return found[: self.limit]

    def get_paginated_response(self, data: list[Any]) -> Answer:  # type: ignore[override]
        return Answer(
            {
                "items": data,
                "total": self.total,
                "limit": self.limit,
                "offset": self.offset,
                "has_more": self.offset + len(data) < self.total,
            }
        )

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        whole = {"type": "integer", "minimum": 0}
        return {
            "type": "object",
            "required": ["items", "total", "limit", "offset", "has_more"],
            "properties": {
                "items": schema,
                "total": {**whole, "description": "All that match, on every page.", "example": 1},
                "limit": {"type": "integer", "minimum": 1, "maximum": 100, "example": 20},
                "offset": {**whole, "example": 0},
                "has_more": {"type": "boolean", "example": False},
            },
        }

    def get_schema_operation_parameters(self, view: APIView) -> list[dict[str, Any]]:
        return [
            {
                "name": name,
                "in": "query",
                "required": False,
                "schema": {
                    "type": "integer",
                    "default": bounds.default,
                    "minimum": bounds.minimum,
                    "maximum": bounds.maximum,
                },
            }
            for name, bounds in BOUNDS.items()
        ]
