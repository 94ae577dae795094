"""Removes secrets from text, in the encodings in which a server is likely to repeat them."""

import base64
import json
import re
from collections.abc import Iterable, Iterator
from html import escape
from urllib.parse import quote, quote_plus

PLACEHOLDER = "[secret]"
# Shorter base64 fragments occur in unrelated text.
_MIN_FRAGMENT_CHARACTERS = 6


class SecretRedactor:
    """Replaces secrets in text with a placeholder.

    Finds a secret as it is, percent-encoded, escaped in JSON or HTML, and in base64, also as a part of
    a longer encoded text such as `user:password`.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        self._encodings = {encoding for secret in secrets for encoding in _encodings(secret)}
        self.max_characters = max(map(len, self._encodings), default=0)

    def redact(self, text: str, limit: int | None = None) -> str:
        """Return the first `limit` characters of the text without secrets.

        A secret that the limit cuts in two is replaced as a whole.
        """
        end = len(text) if limit is None else limit
        parts, position = [], 0
        for start, stop in self._matches(text):
            if start >= end:
                break
            if start >= position:
                parts += [text[position:start], PLACEHOLDER]
            position = max(position, stop)
        return "".join([*parts, text[position : max(end, position)]])

    def _matches(self, text: str) -> list[tuple[int, int]]:
        """Return where secrets start and stop.

        Not a regular expression: an alternation tries each encoding at each position, and a tenant can
        choose secrets with a common prefix and a response that repeats this prefix.
        """
        matches = []
        for encoding in self._encodings:
            start = text.find(encoding)
            while start >= 0:
                matches.append((start, start + len(encoding)))
                start = text.find(encoding, start + len(encoding))
        return sorted(matches)


def _encodings(secret: str) -> Iterator[str]:
    yield secret
    for quoted in (quote(secret, safe=""), quote(secret), quote_plus(secret)):
        yield quoted
        yield re.sub("%..", lambda match: match[0].lower(), quoted)
    yield json.dumps(secret)[1:-1]
    yield json.dumps(secret)[1:-1].replace("/", r"\/")
    yield escape(secret)
    yield from _base64_encodings(secret.encode())


def _base64_encodings(secret: bytes) -> Iterator[str]:
    """Yield the whole encoding, and the fragments that do not depend on the surrounding bytes."""
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        yield encode(secret).decode()
        yield encode(secret).decode().rstrip("=")
        for offset in range(3):
            encoded = encode(b"\0" * offset + secret).decode().rstrip("=")
            # The first characters hold bits of the bytes before, the last one bits of those after.
            end = None if (offset + len(secret)) % 3 == 0 else -1
            fragment = encoded[(0, 2, 3)[offset] : end]
            if len(fragment) >= _MIN_FRAGMENT_CHARACTERS:
                yield fragment
