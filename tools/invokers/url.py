"""The URL of an HTTP tool: a template, whose places are in its path and its query alone.

`{name}` stands for an argument and `{{secret.name}}` for a secret; either is percent-encoded, every
character that could mean anything, so that no value can lead to another host, or up in the path.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import quote, unquote

from tools.addresses import parsed
from tools.outbound import DEFAULT_PORTS, Target

MAX_CHARACTERS = 2_000
SECRET = re.compile(r"\{\{secret\.([A-Za-z0-9_-]{1,64})\}\}")

_URL = re.compile(r"(https?)://([^/?]*)([^?]*)(?:\?(.*))?", re.DOTALL | re.IGNORECASE)
_AUTHORITY = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]*)(?::([0-9]{1,5}))?")
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
# What a URL parser may take for a number, and so the whole for an IPv4 address.
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_PLACE = re.compile(SECRET.pattern + r"|\{([A-Za-z0-9_.-]{1,64})\}")
_STRAY = re.compile(r"[{}]|%(?![0-9A-Fa-f]{2})")
_UNSAFE = re.compile(r"[\x00-\x20\x7f-\xa0\s\\#]")
# Of RFC 3986, what may stand in a path or a query as it is.
_LITERAL = "%/:@!$&'()*+,;=-._~?"


class UrlError(ValueError):
    """Why a URL is refused, in a sentence."""


class ValueRefused(ValueError):
    """A value cannot stand in its place; the text says why, and does not repeat it."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value is put."""

    name: str
    is_secret: bool


@dataclass(frozen=True, slots=True)
class Url:
    """A template, taken apart. `path` and `query` are of literals, encoded already, and places."""

    target: Target
    path: tuple[str | Place, ...]
    query: tuple[str | Place, ...]

    def places(self) -> Iterator[Place]:
        """All of them."""
        return (part for part in (*self.path, *self.query) if isinstance(part, Place))

    def query_names(self) -> set[str]:
        """The names of the parameters that the template itself has."""
        text = "".join(part if isinstance(part, str) else "-" for part in self.query)
        return {unquote(pair.partition("=")[0].replace("+", " ")) for pair in text.split("&")}

    def filled(self, value: Callable[[Place], str]) -> str:
        """Path and query with their values, ASCII. Raises ValueRefused."""
        path = "".join(_filled(self.path, lambda place: _in_path(place, value(place))))
        if _leads_up(path):
            raise ValueRefused("The values make a path that leads elsewhere.")
        query = "".join(_filled(self.query, value))
        return f"{path}?{query}" if query else path


def _filled(parts: tuple[str | Place, ...], value: Callable[[Place], str]) -> Iterator[str]:
    for part in parts:
        yield part if isinstance(part, str) else quote(value(part), safe="")


def _in_path(place: Place, text: str) -> str:
    if not text:
        raise ValueRefused(f"{place.name} must not be empty.")
    if _leads_up(text) or "\0" in text:
        raise ValueRefused(f"{place.name} must not hold . or .. as a part of a path.")
    return text


def _leads_up(path: str) -> bool:
    """A server may decode a path before it looks at its segments, and more than once."""
    for _ in range(4):
        if {".", ".."} & set(re.split(r"[/\\;]", path)):
            return True
        path = unquote(path)
    return False


@lru_cache(1_000)
def parsed_url(text: str) -> Url:
    """The template that a text spells. Raises UrlError."""
    if not 1 <= len(text) <= MAX_CHARACTERS:
        raise UrlError(f"A URL has 1 to {MAX_CHARACTERS} characters.")
    if _UNSAFE.search(text) or not text.isprintable():
        raise UrlError("A URL has no blanks, control characters, backslashes, or fragment (#).")
    found = _URL.fullmatch(text)
    if found is None:
        raise UrlError("A URL begins with http:// or https://.")
    scheme, authority, path, query = found.groups()
    return Url(
        _target(scheme.lower(), authority),
        _parts(path or "/", in_path=True),
        _parts(query or "", in_path=False),
    )


def _target(scheme: str, authority: str) -> Target:
    if "@" in authority:
        raise UrlError("A URL has no user name and password; use a header with a secret.")
    if "{" in authority or "}" in authority:
        raise UrlError("Scheme, host and port are fixed: {…} may stand in path and query alone.")
    found = _AUTHORITY.fullmatch(authority)
    if found is None:
        raise UrlError("Host and port are not valid.")
    port = int(found[2]) if found[2] else DEFAULT_PORTS[scheme]
    if not 1 <= port <= 65535:
        raise UrlError("A port is a number from 1 to 65535.")
    return Target(scheme, _host(found[1].lower()), port)


def _host(text: str) -> str:
    if text.startswith("["):
        address = parsed(text[1:-1])
        if address is None or address.version == 4 or "%" in text:
            raise UrlError("The host in brackets is no IPv6 address.")
        return str(address)
    if not text.isascii():
        raise UrlError("Write the host in ASCII: a name in another script begins with xn--.")
    labels = text.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        if parsed(text) is None:
            raise UrlError("Write an IPv4 address as four decimal numbers.")
        return text
    if len(text) > 253 or not all(map(_LABEL.fullmatch, labels)):
        raise UrlError("The host is no name.")
    return text


def _parts(text: str, *, in_path: bool) -> tuple[str | Place, ...]:
    found: list[str | Place] = []
    at = 0
    for place in _PLACE.finditer(text):
        found += [_literal(text[at : place.start()]), Place(place[1] or place[2], bool(place[1]))]
        at = place.end()
    found.append(_literal(text[at:]))
    shape = "".join(part if isinstance(part, str) else "-" for part in found)
    if in_path and _leads_up(shape):
        raise UrlError("The path must not have . or .. in it.")
    return tuple(part for part in found if part)


def _literal(text: str) -> str:
    if stray := _STRAY.search(text):
        what = "%" if stray[0] == "%" else "{ or }"
        raise UrlError(f"There is a {what} that belongs to nothing: write %25, %7B, %7D.")
    return quote(text, safe=_LITERAL)
