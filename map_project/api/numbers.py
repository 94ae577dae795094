"""JSON in which reading changes no number.

orjson reads an integer beyond 64 bits as a float, and any float as the nearest double.
"""

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


class InexactNumber(ValueError):
    """A number cannot be represented exactly. The message is a sentence."""


def loads(text: str | bytes) -> Any:
    """Parse JSON. Raises orjson.JSONDecodeError, and InexactNumber for a number that would change.

    These are integers beyond 64 bits, and floats of 2**53 or more that are not their shortest text. Smaller
    floats are rounded to the nearest double, as all parsers do.
    """
    value = orjson.loads(text)
    content = text.encode() if isinstance(text, str) else text
    if _LONG.search(content):
        for match in _STRING_OR_LONG.finditer(content):
            if match[1] and not _is_exact(match[1].decode()):
                raise InexactNumber(_sentence(match[1].decode()))
    return value


def _is_exact(number: str) -> bool:
    if number.removeprefix("-").isdigit():
        return len(number) <= 20 and -(2**63) <= int(number) < 2**64
    value = float(number)
    return abs(value) < _FIRST_INEXACT or Decimal(number) == Decimal(repr(value))


def _sentence(number: str) -> str:
    shown = number[:MAX_SHOWN_CHARACTERS] + ("…" if len(number) > MAX_SHOWN_CHARACTERS else "")
    return f"The number {shown} cannot be represented exactly in 64 bits: send it as a string."
