"""The time ranges of usage, and their days in a time zone.

Totals are kept per hour of UTC. A range, or a day, that does not begin and end on a full hour has no exact
totals, and is an error.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

from django.utils import timezone

from map_project.api.errors import BadRequest
from map_project.api.times import read_moment, start_of_day

MAX_DAYS = 400
FIRST_YEAR, LAST_YEAR = 2000, 2199
_ONE_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Period:
    """A time range with the days of a time zone. `begin` is included, `end` is not. Both are in UTC."""

    begin: datetime
    end: datetime
    zone: ZoneInfo

    def days(self) -> list[tuple[date, datetime]]:
        """Return each day with its beginning, at the earliest that of the range.

        Raises BadRequest if a day does not begin on a full hour.
        """
        day = self.begin.astimezone(self.zone).date()
        days = [(day, self.begin)]
        while (begin := start_of_day(day := day + _ONE_DAY, self.zone)) < self.end:
            days.append((day, _full_hour(begin, self.zone)))
        return days


def first_day(month: str) -> date | None:
    """Return the first day of a month such as 2026-11; None for other texts."""
    match = re.fullmatch("([0-9]{4})-(0[1-9]|1[0-2])", month)
    if not match or not FIRST_YEAR <= int(match[1]) <= LAST_YEAR:
        return None
    return date(int(match[1]), int(match[2]), 1)


def month_of(day: date, zone: ZoneInfo) -> Period:
    """Return the month of a day."""
    first = day.replace(day=1)
    return Period(start_of_day(first, zone), start_of_day(next_month(first), zone), zone)


def read_period(query: Mapping[str, str]) -> Period:
    """Return the range of the parameters `from`, `to` and `timezone`. Raises BadRequest.

    Without `to`, it ends with the current month. Without `from`, it begins with the month in which it ends.
    """
    zone = _read_zone(query.get("timezone", "UTC"))
    if (end_text := query.get("to")) is None:
        end = start_of_day(next_month(timezone.now().astimezone(zone).date()), zone)
    else:
        end = _read_time("to", end_text, zone)
    if (begin_text := query.get("from")) is None:
        last_day = (end - timedelta(microseconds=1)).astimezone(zone).date()
        begin = start_of_day(last_day.replace(day=1), zone)
    else:
        begin = _read_time("from", begin_text, zone)
    return _checked(Period(_full_hour(begin, zone), _full_hour(end, zone), zone))


def _checked(period: Period) -> Period:
    if period.begin >= period.end:
        raise BadRequest("from must be before to. The time of to is not part of the range.")
    first, last = (each.astimezone(period.zone).date() for each in (period.begin, period.end))
    if (last - first).days > MAX_DAYS:
        raise BadRequest(f"The range from from to to must have at most {MAX_DAYS} days.")
    return period


@cache
def _zones() -> frozenset[str]:
    # `localtime` is that of the server, and `Factory` is a placeholder.
    return frozenset(available_timezones()) - {"Factory", "localtime"}


def _read_zone(name: str) -> ZoneInfo:
    if name not in _zones():
        raise BadRequest("timezone must be an IANA name such as Europe/Berlin or UTC.")
    return ZoneInfo(name)


def _read_time(name: str, text: str, zone: ZoneInfo) -> datetime:
    moment = read_moment(name, text, zone)
    if not FIRST_YEAR <= int(text[:4]) <= LAST_YEAR:
        raise BadRequest(f"{name} is out of range. Use the years {FIRST_YEAR} to {LAST_YEAR}.")
    return moment


def _full_hour(moment: datetime, zone: ZoneInfo) -> datetime:
    if moment.replace(minute=0, second=0, microsecond=0) != moment:
        raise BadRequest(
            f"Usage is kept per hour of UTC: {moment.astimezone(zone).isoformat()} ({zone.key}) is not on a "
            "full hour of UTC, and has no exact totals. Use full hours of UTC without group_by=day, or days "
            "with timezone=UTC."
        )
    return moment


def next_month(day: date) -> date:
    """Return the first day of the month after that of a day."""
    return (day.replace(day=1) + timedelta(days=31)).replace(day=1)
