"""Shapes that several tests look for."""

import re
from datetime import UTC, datetime
from typing import Any

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?Z")


def is_time(value: Any) -> bool:
    """RFC 3339 in UTC with `Z`, and about now."""
    if not (isinstance(value, str) and _TIME.fullmatch(value)):
        return False
    age = datetime.now(UTC) - datetime.fromisoformat(value)
    return abs(age.total_seconds()) < 60


def ids(answer_json: Any) -> list[str]:
    """The ids of a list's items, in its order."""
    return [item["id"] for item in answer_json["items"]]
