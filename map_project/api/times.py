"""Times and dates in requests: RFC 3339."""

import re
from datetime import UTC, date, datetime, tzinfo

from map_project.api.errors import BadRequest

_DATE = r"[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
_HOUR, _MINUTE = "([01][0-9]|2[0-3])", "[0-5][0-9]"
_TIME = rf"[Tt]{_HOUR}:{_MINUTE}:{_MINUTE}(\.[0-9]+)?([Zz]|[+-]{_HOUR}:{_MINUTE})"
# Of a query parameter for `read_moment`.
MOMENT_SCHEMA = {"type": "string", "pattern": f"^{_DATE}({_TIME})?$"}


def parse_time(text: str) -> datetime:
    """Return a time in UTC. Digits after those of microseconds are ignored.

    Raises ValueError for other texts, and OverflowError for a time that has no equivalent in UTC.
    """
    if not re.fullmatch(_DATE + _TIME, text):
        raise ValueError
    return datetime.fromisoformat(text.upper()).astimezone(UTC)


def read_moment(name: str, text: str, zone: tzinfo = UTC) -> datetime:
    """Return the time or the beginning of the date in a query parameter, in UTC. Raises BadRequest.

    A date is one in `zone`.
    """
    try:
        if re.fullmatch(_DATE, text):
            return start_of_day(date.fromisoformat(text), zone)
        return parse_time(text)
    except ValueError:
        raise BadRequest(
            f"{name} must be a date such as 2026-11-01, or an RFC 3339 time such as "
            "2026-11-01T00:00:00Z. In a URL, + is written as %2B."
        ) from None
    except OverflowError:
        raise BadRequest(f"{name} is out of range.") from None


def start_of_day(day: date, zone: tzinfo) -> datetime:
    """Return the first moment of a day, in UTC. If the zone has skipped it, that of the day after."""
    return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)
