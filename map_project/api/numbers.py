"""JSON in which reading changes no number.

orjson reads an integer beyond 64 bits as a float, and any float as the nearest double.
"""

import json
import re
from decimal import Decimal
from typing import Any

import orjson

MAX_SHOWN_CHARACTERS = 40

# Doubles have 15 exact decimal digits, so shorter numbers are exact.
_LONG = re.compile(rb"[0-9][0-9.]{15}")
# In JSON, what is outside a string is a number.
_STRING_OR_LONG = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|(-?[0-9][0-9.]{15}[0-9.eE+-]*)')
# From here on, neighbouring doubles differ by more than 1.
_FIRST_INEXACT = 2.0**53


class InexactNumber:
    """A number that would change. It is of no JSON type: fields with a type reject it, and orjson does."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __str__(self) -> str:
        shown = self.text[:MAX_SHOWN_CHARACTERS]
        shown += "…" if len(self.text) > MAX_SHOWN_CHARACTERS else ""
        return f"The number {shown} cannot be represented exactly in 64 bits: send it as a string."


def loads(text: str | bytes) -> Any:
    """Parse JSON, with an InexactNumber for each number that would change.

    These are integers beyond 64 bits, and floats of 2**53 or more that are not their shortest text. Smaller
    floats are rounded to the nearest double, as all parsers do. Raises orjson.JSONDecodeError.
    """
    value = orjson.loads(text)
    content = text.encode() if isinstance(text, str) else text
    if not _LONG.search(content):
        return value
    matches = _STRING_OR_LONG.finditer(content)
    if all(match[1] is None or _is_exact(match[1].decode()) for match in matches):
        return value
    try:
        return json.loads(content, parse_int=_integer, parse_float=_float)
    except RecursionError:
        raise orjson.JSONDecodeError("it is nested too deeply", "", 0) from None


def inexact_number(value: Any) -> InexactNumber | None:
    """Return the first number in a JSON value that is not exact, or None."""
    pending = [value]
    while pending:
        part = pending.pop()
        if isinstance(part, dict):
            pending += part.values()
        elif isinstance(part, list):
            pending += part
        elif isinstance(part, InexactNumber):
            return part
        elif isinstance(part, int) and not _fits(part):
            return InexactNumber(str(part))
    return None


def _integer(text: str) -> int | InexactNumber:
    return int(text) if _is_exact(text) else InexactNumber(text)


def _float(text: str) -> float | InexactNumber:
    return float(text) if _is_exact(text) else InexactNumber(text)


def _is_exact(number: str) -> bool:
    if number.removeprefix("-").isdigit():
        return len(number) <= 20 and _fits(int(number))
    value = float(number)
    return abs(value) < _FIRST_INEXACT or Decimal(number) == Decimal(repr(value))


def _fits(number: int) -> bool:
    return -(2**63) <= number < 2**64
