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
    b"\x78\x01": "The body is compressed with deflate. Send it uncompressed.",
    b"\xfd7zXZ\0": "The body is compressed with xz. Send it uncompressed.",
    codecs.BOM_UTF32_LE: "The body is UTF-32. Send UTF-8.",
    codecs.BOM_UTF32_BE: "The body is UTF-32. Send UTF-8.",
    codecs.BOM_UTF16_LE: "The body is UTF-16. Send UTF-8.",
    codecs.BOM_UTF16_BE: "The body is UTF-16. Send UTF-8.",
    codecs.BOM_UTF8: "The body begins with a byte order mark. Send UTF-8 without it.",
}
# A text can also begin with these bytes: the body is compressed if it is not UTF-8.
_COMPRESSIONS = {
    b"\x78\x5e": "deflate",
    b"\x78\x9c": "deflate",
    b"\x78\xda": "deflate",
    b"BZh": "bzip2",
}
_WIDE_ENCODINGS = ("UTF-32-LE", "UTF-32-BE", "UTF-16-LE", "UTF-16-BE")
_WIDE_BYTES = 4_000


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
    for encoding in _WIDE_ENCODINGS if b"\0" in body[:4] else ():
        if _is_wide(body[:_WIDE_BYTES], encoding):
            return f"The body is {encoding[:6]}. Send UTF-8."
    try:
        body.decode()
    except UnicodeDecodeError as error:
        for start, name in _COMPRESSIONS.items():
            if body.startswith(start):
                return f"The body is compressed with {name}. Send it uncompressed."
        return f"The body is not UTF-8: the byte at position {error.start} is not valid."
    return ""


def _is_wide(start: bytes, encoding: str) -> bool:
    """Return whether a body without a byte order mark has this encoding: JSON begins with ASCII characters.

    More than one is required, because a text in UTF-8 can have a NUL character by mistake.
    """
    text = start.decode(encoding, errors="replace")
    return text[:1].isascii() and "\0" not in text and sum(map(str.isascii, text)) > 1
