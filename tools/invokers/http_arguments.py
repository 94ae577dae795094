"""Where a call of the kind `http` sends its arguments: query, headers, and body.

An argument goes where `locations` says, otherwise where `arguments_in` says. Arguments in the path are
placeholders of the URL, which `tools.invokers.url` fills in.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import quote, quote_plus

import orjson

from tools.invokers.url import InvalidValueError

# The content types of the bodies in which arguments are sent.
BODY_TYPES = {"body": "application/json", "form": "application/x-www-form-urlencoded"}
MAX_HEADER_CHARACTERS = 4_096
_DELIMITERS = {"comma": ",", "space": "%20", "pipe": "%7C"}
STYLES = ("repeat", *_DELIMITERS, "deep", "properties", "json")

_PRINTABLE = re.compile(r"[\x20-\x7e]*")

# A name, and a value that is already encoded.
Pair = tuple[str, str]
Quote = Callable[[str], str]


@dataclass(slots=True)
class Placed:
    """The arguments of a request outside the path. Header names are in lower case."""

    query: list[Pair] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


def place(
    arguments: Mapping[str, Any], arguments_in: str, locations: Mapping[str, Mapping[str, str]]
) -> Placed:
    """Place the arguments. Raises InvalidValueError."""
    placed = Placed()
    for name, location in locations.items():
        if name in arguments:
            _place_one(placed, arguments[name], {"name": name, "style": "repeat", **location})
    rest = {name: value for name, value in arguments.items() if name not in locations}
    if arguments_in == "query":
        placed.query += _all_pairs(rest, "repeat", _quote)
    else:
        _set_body(placed, rest, arguments_in, "repeat")
    return placed


def _place_one(placed: Placed, value: Any, location: Mapping[str, str]) -> None:
    match location["in"]:
        case "query":
            placed.query += _pairs(location["name"], value, location["style"], _quote)
        case "header" if value is not None:
            placed.headers[location["name"].lower()] = _header_text(location["name"], value)
        case "body" | "form" as place_name:
            _set_body(placed, value, place_name, location["style"])


def _set_body(placed: Placed, value: Any, place_name: str, style: str) -> None:
    if place_name == "form" and not isinstance(value, dict):
        raise InvalidValueError("The form must be an object.")
    placed.headers["content-type"] = BODY_TYPES[place_name]
    placed.body = (
        encoded(_all_pairs(value, style, quote_plus), quote_plus).encode()
        if place_name == "form"
        else orjson.dumps(value)
    )


def encoded(pairs: list[Pair], quote_name: Quote | None = None) -> str:
    """Return the text of a query, or of a form."""
    return "&".join(f"{(quote_name or _quote)(name)}={value}" for name, value in pairs)


def is_header_value(text: str) -> bool:
    """Return whether a text can be the value of a header."""
    return (
        len(text) <= MAX_HEADER_CHARACTERS
        and text == text.strip()
        and _PRINTABLE.fullmatch(text) is not None
    )


def text_of(value: object) -> str:
    """Return the text of a value: a string as it is, anything else as JSON."""
    return value if isinstance(value, str) else orjson.dumps(value).decode()


_quote: Quote = partial(quote, safe="")


def _header_text(name: str, value: Any) -> str:
    text = ",".join(map(text_of, value)) if isinstance(value, list) else text_of(value)
    if not is_header_value(text):
        raise InvalidValueError(
            f"{name} is a header: it must be printable ASCII without surrounding spaces, of at most "
            f"{MAX_HEADER_CHARACTERS} characters."
        )
    return text


def _all_pairs(values: Mapping[str, Any], style: str, quote_value: Quote) -> list[Pair]:
    return [
        pair for name, value in values.items() for pair in _pairs(name, value, style, quote_value)
    ]


def _pairs(name: str, value: Any, style: str, quote_value: Quote) -> Iterator[Pair]:
    """Yield the pairs of an argument in a query or a form. There are none for null."""
    if value is None:
        return
    if not isinstance(value, list | dict) or style == "json":
        yield name, quote_value(text_of(value))
    elif style in _DELIMITERS:
        parts = (
            value if isinstance(value, list) else [part for item in value.items() for part in item]
        )
        yield name, _DELIMITERS[style].join(quote_value(text_of(part)) for part in parts)
    elif style == "deep":
        yield from _deep_pairs(name, value, quote_value)
    elif isinstance(value, list):
        for item in value:
            if item is not None:
                yield name, quote_value(text_of(item))
    elif style == "properties":
        yield from _all_pairs(value, "repeat", quote_value)
    else:
        yield name, quote_value(text_of(value))


def _deep_pairs(name: str, value: Any, quote_value: Quote) -> Iterator[Pair]:
    """Yield a pair for each value in objects and lists: `name[key][0]=value`."""
    items = enumerate(value) if isinstance(value, list) else value.items()
    for key, item in items:
        if isinstance(item, list | dict):
            yield from _deep_pairs(f"{name}[{key}]", item, quote_value)
        elif item is not None:
            yield f"{name}[{key}]", quote_value(text_of(item))
