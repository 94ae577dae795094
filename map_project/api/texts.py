"""Amounts, times and texts of others, as responses and commands show them."""

from datetime import UTC, datetime
from decimal import Decimal


def plain_amount(amount: Decimal) -> str:
    """Return an amount with all its digits, without trailing zeros and exponent."""
    return f"{amount.normalize():f}"


def utc_text(time: datetime) -> str:
    """Return a time in UTC, in RFC 3339 with `Z`."""
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")


def printable(text: str) -> str:
    """Return a text without control characters and unpaired surrogates, which a terminal cannot show."""
    return "".join(character if character.isprintable() else " " for character in text)
