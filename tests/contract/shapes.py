"""Helpers for response bodies."""

import re
from datetime import UTC, datetime
from typing import Any

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?Z")


def is_time(value: Any) -> bool:
    """Return whether the value is an RFC 3339 time in UTC with `Z`, within a minute of now."""
    if not (isinstance(value, str) and _TIME.fullmatch(value)):
        return False
    age = datetime.now(UTC) - datetime.fromisoformat(value)
    return abs(age.total_seconds()) < 60


def ids(page: Any) -> list[str]:
    """Return the ids of the items of a page, in order."""
    return [item["id"] for item in page["items"]]
