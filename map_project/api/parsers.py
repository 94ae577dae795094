"""The JSON parser."""

from collections.abc import Mapping
from typing import IO, Any

import orjson
from rest_framework.parsers import BaseParser

from map_project.api.errors import MalformedJson, UnreadableBody


class StrictJSONParser(BaseParser):
    """Parses any JSON value. Rejects NaN, unpaired surrogates, invalid UTF-8 and excessive nesting."""

    media_type = "application/json"

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        body = stream.read()
        headers = (parser_context or {})["request"].META
        if len(body) < int(headers.get("CONTENT_LENGTH") or 0):
            # The connection was lost. The part that arrived may be valid JSON.
            raise UnreadableBody
        try:
            return orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise MalformedJson(f"The body is not valid JSON: {error}.") from error
