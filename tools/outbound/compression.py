"""Decodes compressed responses. Some servers compress although `Accept-Encoding: identity` is sent."""

import zlib
from typing import Any, Protocol

from tools.outbound.network import unusable_response

_GZIP, _ZLIB, _RAW = 31, 15, -15
_CODINGS = {"gzip": _GZIP, "x-gzip": _GZIP, "deflate": _ZLIB}


class Decoder(Protocol):
    """Decodes a body in chunks. Both methods raise OutboundError."""

    def decode(self, chunk: bytes) -> bytes:
        """Return what the chunk adds to the body."""

    def finish(self) -> None:
        """Check that the body is complete."""


def decoder(content_encoding: str, *, max_bytes: int) -> Decoder:
    """Return a decoder for a value of the header Content-Encoding. Raises OutboundError.

    A compressed body that expands to more than `max_bytes` is an error.
    """
    names = (name.strip() for name in content_encoding.lower().split(","))
    codings = [name for name in names if name not in {"", "identity"}]
    match codings:
        case []:
            return _Identity()
        case [coding] if coding in _CODINGS:
            return _Zlib(_CODINGS[coding], max_bytes)
    raise unusable_response(
        "it is compressed, although compression was not requested, and the encoding is not gzip or deflate"
    )


class _Identity:
    def decode(self, chunk: bytes) -> bytes:
        return chunk

    def finish(self) -> None:
        pass


class _Zlib:
    def __init__(self, window_bits: int, max_bytes: int) -> None:
        self._window_bits = window_bits
        self._bytes_left = max_bytes
        # The first bytes, until they show the format.
        self._head = b""
        self._decompressor: Any = None

    def decode(self, chunk: bytes) -> bytes:
        if self._decompressor is None:
            chunk = self._head = self._head + chunk
            if len(chunk) < 2:
                return b""
            # Some servers send `deflate` without the header of zlib.
            is_raw = self._window_bits == _ZLIB and not _is_zlib(chunk)
            self._decompressor = zlib.decompressobj(_RAW if is_raw else self._window_bits)
        try:
            content: bytes = self._decompressor.decompress(chunk, self._bytes_left + 1)
        except zlib.error:
            raise unusable_response("its compression is not valid") from None
        if self._decompressor.unused_data:
            raise unusable_response("it contains data after the compressed content")
        self._bytes_left -= len(content)
        if self._bytes_left < 0:
            raise unusable_response("it is too large when it is decompressed")
        return content

    def finish(self) -> None:
        if self._head and not (self._decompressor and self._decompressor.eof):
            raise unusable_response("its compressed content is incomplete")


def _is_zlib(head: bytes) -> bool:
    """Return whether the data begins with the header of RFC 1950."""
    return head[0] & 0x0F == 8 and int.from_bytes(head[:2], "big") % 31 == 0
