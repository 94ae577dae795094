"""Taking secrets out of texts, in the forms in which a server is likely to say them again."""

import base64
import json
import re
from collections.abc import Iterable, Iterator
from html import escape
from urllib.parse import quote, quote_plus

BLOT = "[secret]"
# A shorter piece of base64 may be anything.
_MIN_PIECE = 6


class Blotter:
    """Finds the secrets as they are, percent-encoded, in base64 (of a longer text too, such as
    `user:password`), and escaped in JSON or HTML.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        self._forms = {form for secret in secrets for form in _forms(secret)}
        self.longest = max(map(len, self._forms), default=0)

    def __call__(self, text: str, limit: int | None = None) -> str:
        """The text without them; of its first `limit` characters alone, so that none is cut in two."""
        end = len(text) if limit is None else limit
        parts, at = [], 0
        for start, stop in self._found(text):
            if start >= end:
                break
            if start >= at:
                parts += [text[at:start], BLOT]
            at = max(at, stop)
        return "".join([*parts, text[at : max(end, at)]])

    def _found(self, text: str) -> list[tuple[int, int]]:
        """Where they begin and end. No regular expression: that would try each form at each place, and
        a tenant can make forms that all begin alike, and a text of such beginnings.
        """
        found = []
        for form in self._forms:
            start = text.find(form)
            while start >= 0:
                found.append((start, start + len(form)))
                start = text.find(form, start + len(form))
        return sorted(found)


def _forms(secret: str) -> Iterator[str]:
    yield secret
    for quoted in (quote(secret, safe=""), quote(secret), quote_plus(secret)):
        yield quoted
        yield re.sub("%..", lambda found: found[0].lower(), quoted)
    yield json.dumps(secret)[1:-1]
    yield json.dumps(secret)[1:-1].replace("/", r"\/")
    yield escape(secret)
    yield from _base64(secret.encode())


def _base64(secret: bytes) -> Iterator[str]:
    """Whole, and the part that does not depend on what stands before and after it."""
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        yield encode(secret).decode()
        yield encode(secret).decode().rstrip("=")
        for before in range(3):
            encoded = encode(b"\0" * before + secret).decode().rstrip("=")
            # The first characters hold bits of what stands before, the last one of what follows.
            piece = encoded[(0, 2, 3)[before] :][: None if (before + len(secret)) % 3 == 0 else -1]
            if len(piece) >= _MIN_PIECE:
                yield piece
