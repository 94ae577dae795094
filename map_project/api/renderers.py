"""JSON out, by orjson; whatever `Accept` says, the answer is JSON."""

from collections.abc import Iterable, Mapping
from typing import Any

import orjson
from django.http import HttpResponse
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request


def _json(data: Any) -> bytes:
    """Times in UTC end in `Z`, as RFC 3339 allows; UUIDs are lower case with hyphens."""
    return orjson.dumps(data, option=orjson.OPT_UTC_Z | orjson.OPT_NAIVE_UTC)


class Answer(HttpResponse):
    """`data` as JSON. What DRF's `Response` answers, which is a template and is rendered in steps: that
    costs a twentieth of a run.
    """

    def __init__(self, data: Any, status: int = 200) -> None:
        super().__init__(_json(data), "application/json", status)
        self.data = data


class OrjsonRenderer(BaseRenderer):
    """The same for errors, which DRF makes."""

    media_type = "application/json"
    format = "json"
    charset = None

    def render(
        self,
        data: Any,
        accepted_media_type: str | None = None,
        renderer_context: Mapping[str, Any] | None = None,
    ) -> bytes:
        if data is None:
            return b""
        return _json(data)


class AlwaysJSON(BaseContentNegotiation):
    """Ignores `Accept`, and parses a body by its own `Content-Type` alone."""

    def select_parser(self, request: Request, parsers: Iterable[BaseParser]) -> BaseParser | None:
        sent = (request.content_type or "").partition(";")[0].strip().lower()
        return next((parser for parser in parsers if parser.media_type == sent), None)

    def select_renderer(
        self,
        request: Request,
        renderers: Iterable[BaseRenderer],
        format_suffix: str | None = None,
    ) -> tuple[BaseRenderer, str]:
        renderer = next(iter(renderers))
        return renderer, renderer.media_type or ""
