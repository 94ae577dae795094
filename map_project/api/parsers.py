"""The JSON parser."""

import codecs
from collections.abc import Mapping
from typing import IO, Any

import orjson
from rest_framework.parsers import BaseParser

from map_project.api.errors import MalformedJson, UnreadableBody, UnsupportedContentEncoding
from map_project.api.numbers import loads

# By the first bytes of a body. The mark of UTF-32 begins with that of UTF-16.
_OTHER_ENCODINGS = {
    b"\x1f\x8b": "The body is compressed with gzip. Send it uncompressed.",
    b"\x28\xb5\x2f\xfd": "The body is compressed with zstd. Send it uncompressed.",
    **dict.fromkeys(
        (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda"),
        "The body is compressed with deflate. Send it uncompressed.",
    ),
    codecs.BOM_UTF32_LE: "The body is UTF-32. Send UTF-8.",
    codecs.BOM_UTF32_BE: "The body is UTF-32. Send UTF-8.",
    codecs.BOM_UTF16_LE: "The body is UTF-16. Send UTF-8.",
    codecs.BOM_UTF16_BE: "The body is UTF-16. Send UTF-8.",
    # Without a mark: the first character of JSON is in ASCII.
    b"\0\0\0": "The body is UTF-32. Send UTF-8.",
    codecs.BOM_UTF8: "The body begins with a byte order mark. Send UTF-8 without it.",
}


class StrictJSONParser(BaseParser):
    """Parses any JSON value. Rejects NaN, unpaired surrogates, invalid UTF-8 and excessive nesting."""

    media_type = "application/json"

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        headers = (parser_context or {})["request"].META
        if headers.get("HTTP_CONTENT_ENCODING", "identity").strip().lower() not in {"identity", ""}:
            raise UnsupportedContentEncoding
        body = stream.read()
        if len(body) < int(headers.get("CONTENT_LENGTH") or 0):
            # The connection was lost. The part that arrived may be valid JSON.
            raise UnreadableBody
        try:
            return loads(body)
        except orjson.JSONDecodeError as error:
            raise MalformedJson(
                _encoding_error(body) or f"The body is not valid JSON: {error}."
            ) from error


def _encoding_error(body: bytes) -> str:
    """Return the error of a body that is not UTF-8, which a JSON parser reports as a syntax error, or ""."""
    for start, error in _OTHER_ENCODINGS.items():
        if body.startswith(start):
            return error
    if b"\0" in body[:2]:
        return f"The body is {'UTF-32' if body[2:4] == bytes(2) else 'UTF-16'}. Send UTF-8."
    try:
        body.decode()
    except UnicodeDecodeError as error:
        return f"The body is not UTF-8: the byte at position {error.start} is not valid."
    return ""
