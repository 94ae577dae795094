"""The URL of an HTTP tool: a template with placeholders in its path and its query.

`{name}` is replaced by an argument and `{{secret.name}}` by a secret. Every reserved character of a value is
percent-encoded, so that no value changes the host or goes up in the path.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import quote, unquote

from tools.addresses import parse_address
from tools.outbound import DEFAULT_PORTS, Origin

MAX_CHARACTERS = 2_000
SECRET = re.compile(r"\{\{secret\.([A-Za-z0-9_-]{1,64})\}\}")

_URL = re.compile(r"(https?)://([^/?]*)([^?]*)(?:\?(.*))?", re.DOTALL | re.IGNORECASE)
_AUTHORITY = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]*)(?::([0-9]{1,5}))?")
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
# A last label that URL parsers read as a number makes the host an IPv4 address.
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_PLACEHOLDER = re.compile(SECRET.pattern + r"|\{([A-Za-z0-9_.-]{1,64})\}")
_UNENCODED = re.compile(r"[{}]|%(?![0-9A-Fa-f]{2})")
_UNSAFE = re.compile(r"[\x00-\x20\x7f-\xa0\s\\#]")
# The characters that RFC 3986 allows in a path or a query.
_LITERAL = "%/:@!$&'()*+,;=-._~?"


class UrlError(ValueError):
    """A URL is not valid. The message is a sentence."""


class InvalidValueError(ValueError):
    """A value cannot replace its placeholder. The message does not repeat the value."""


@dataclass(frozen=True, slots=True)
class Placeholder:
    """The name of an argument or a secret in the template."""

    name: str
    is_secret: bool


@dataclass(frozen=True, slots=True)
class UrlTemplate:
    """A parsed template. `path` and `query` consist of encoded text and placeholders."""

    origin: Origin
    path: tuple[str | Placeholder, ...]
    query: tuple[str | Placeholder, ...]

    def placeholders(self) -> Iterator[Placeholder]:
        """Yield the placeholders of path and query."""
        return (part for part in (*self.path, *self.query) if isinstance(part, Placeholder))

    def query_names(self) -> set[str]:
        """Return the names of the parameters in the template's own query."""
        text = "".join(part if isinstance(part, str) else "-" for part in self.query)
        return {unquote(pair.partition("=")[0].replace("+", " ")) for pair in text.split("&")}

    def fill(self, value: Callable[[Placeholder], str]) -> str:
        """Return the path and query with values, in ASCII. Raises InvalidValueError."""
        path = "".join(_fill(self.path, lambda part: _path_value(part, value(part))))
        if _has_dot_segment(path):
            raise InvalidValueError("They would add the segments . or .. to the path.")
        query = "".join(_fill(self.query, value))
        return f"{path}?{query}" if query else path


def _fill(
    parts: tuple[str | Placeholder, ...], value: Callable[[Placeholder], str]
) -> Iterator[str]:
    for part in parts:
        yield part if isinstance(part, str) else quote(value(part), safe="")


def _path_value(placeholder: Placeholder, text: str) -> str:
    if not text:
        raise InvalidValueError(f"{placeholder.name} must not be empty.")
    if _has_dot_segment(text) or "\0" in text:
        raise InvalidValueError(
            f"{placeholder.name} must not contain NUL, or . or .. as a segment."
        )
    return text


def _has_dot_segment(path: str) -> bool:
    """Return whether the path has a segment `.` or `..`, also if a server decodes it several times."""
    for _ in range(4):
        if {".", ".."} & set(re.split(r"[/\\;]", path)):
            return True
        path = unquote(path)
    return False


@lru_cache(1_000)
def parse_url(text: str) -> UrlTemplate:
    """Parse a template. Raises UrlError."""
    if not 1 <= len(text) <= MAX_CHARACTERS:
        raise UrlError(f"The URL must have 1 to {MAX_CHARACTERS} characters.")
    if _UNSAFE.search(text) or not text.isprintable():
        raise UrlError(
            "The URL must not contain spaces, control characters, backslashes or a fragment (#)."
        )
    match = _URL.fullmatch(text)
    if match is None:
        raise UrlError("Enter a full URL that starts with http:// or https://.")
    scheme, authority, path, query = match.groups()
    return UrlTemplate(
        _parse_origin(scheme.lower(), authority),
        _parse_parts(path or "/", is_path=True),
        _parse_parts(query or "", is_path=False),
    )


def _parse_origin(scheme: str, authority: str) -> Origin:
    if "@" in authority:
        raise UrlError(
            "The URL must not contain a user name or password. Use a header with a secret."
        )
    if "{" in authority or "}" in authority:
        raise UrlError("Placeholders are allowed only in the path and the query.")
    match = _AUTHORITY.fullmatch(authority)
    if match is None:
        raise UrlError("The host or the port is not valid.")
    port = int(match[2]) if match[2] else DEFAULT_PORTS[scheme]
    if not 1 <= port <= 65535:
        raise UrlError("The port must be from 1 to 65535.")
    return Origin(scheme, _parse_host(match[1].lower()), port)


def _parse_host(text: str) -> str:
    if text.startswith("["):
        address = parse_address(text[1:-1])
        if address is None or address.version == 4 or "%" in text:
            raise UrlError("The host in brackets is not an IPv6 address.")
        return str(address)
    if not text.isascii():
        raise UrlError("The host must be ASCII. Write an internationalized name in its xn-- form.")
    labels = text.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        if parse_address(text) is None:
            raise UrlError("An IPv4 address must have four decimal numbers.")
        return text
    if len(text) > 253 or not all(map(_LABEL.fullmatch, labels)):
        raise UrlError("The host is not a valid host name.")
    return text


def _parse_parts(text: str, *, is_path: bool) -> tuple[str | Placeholder, ...]:
    parts: list[str | Placeholder] = []
    position = 0
    for match in _PLACEHOLDER.finditer(text):
        parts.append(_encode_literal(text[position : match.start()]))
        parts.append(Placeholder(match[1] or match[2], is_secret=bool(match[1])))
        position = match.end()
    parts.append(_encode_literal(text[position:]))
    shape = "".join(part if isinstance(part, str) else "-" for part in parts)
    if is_path and _has_dot_segment(shape):
        raise UrlError("The path must not contain the segments . or .. .")
    return tuple(part for part in parts if part)


def _encode_literal(text: str) -> str:
    if match := _UNENCODED.search(text):
        raise UrlError(
            f'Unmatched "{match[0]}" in the URL. Percent-encode a literal %, {{ or }} as %25, %7B or %7D.'
        )
    return quote(text, safe=_LITERAL)
