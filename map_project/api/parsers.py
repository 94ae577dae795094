"""JSON in, strictly: what RFC 8259 does not allow is refused, and nothing is coerced."""

import io
from collections.abc import Mapping
from typing import IO, Any, cast

import orjson
from rest_framework.exceptions import UnsupportedMediaType
from rest_framework.parsers import BaseParser
from rest_framework.request import Request

from map_project.api.errors import ApiError, unreadable_body, validation_error


class StrictJSONParser(BaseParser):
    """Any JSON value. NaN, lone surrogates, invalid UTF-8 and absurd nesting are malformed."""

    media_type = "application/json"

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        try:
            return orjson.loads(stream.read())
        except orjson.JSONDecodeError as error:
            raise malformed_json(str(error)) from error


def json_object(request: Request) -> dict[str, Any]:
    """The body as an object; what `request.data` is, at a third of its cost.

    DRF takes an empty body for an empty object; here it is malformed, as an empty text is in JSON.
    """
    body = request._request.body
    if len(body) < int(request._request.META.get("CONTENT_LENGTH") or 0):
        # The server takes a lost connection for the body's end, wherever that makes sense as JSON.
        raise unreadable_body()
    if not body:
        raise malformed_json("the body is empty")
    parser = cast(Any, request.negotiator).select_parser(request, request.parsers)
    if parser is None:
        raise UnsupportedMediaType(request.content_type or "")
    data = parser.parse(io.BytesIO(body))
    if not isinstance(data, dict):
        raise validation_error({})
    return data


def malformed_json(reason: str) -> ApiError:
    """400; `reason` says where the text stops being JSON, and never repeats the text."""
    return ApiError(400, "MALFORMED_JSON", f"The body is not valid JSON: {reason}.")
