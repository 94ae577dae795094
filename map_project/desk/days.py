"""Count the runs of each past day once, instead of at every view of the dashboard."""

import time
from datetime import UTC, date, datetime, timedelta

from django.db import connection, transaction

from map_project.desk.models import CountedDay, RunsOfDay

# A run that started late in a day can end, and change its status, on a later one.
_SETTLED_AFTER = timedelta(days=2)
_BUDGET_SECONDS = 1.0

_COUNT = """
INSERT INTO desk_runsofday (day, tenant_id, status, error_code, runs)
SELECT %s::date, tenant_id, status, error_code, count(*)
FROM executions_execution
WHERE latency_ms >= 0 AND created_at >= %s AND created_at < %s
GROUP BY tenant_id, status, error_code
"""


def first_open_day(now: datetime) -> date:
    """The first day whose runs can still change."""
    return (now - _SETTLED_AFTER).date()


def count_days(first: date, until: date, *, budget_seconds: float = _BUDGET_SECONDS) -> bool:
    """Count the days from `first` up to `until` (exclusive) that are not counted yet.

    Returns False if the time budget ended before all were counted; the next call continues.
    """
    deadline = time.monotonic() + budget_seconds
    days = [first + timedelta(days=n) for n in range((until - first).days)]
    counted = set(CountedDay.objects.filter(day__in=days).values_list("day", flat=True))
    for day in days:
        if day not in counted:
            if time.monotonic() > deadline:
                return False
            _count(day)
    return True


def forget_days() -> None:
    """Discard all counts. Call it after inserting executions with past timestamps."""
    with transaction.atomic():
        CountedDay.objects.all().delete()
        RunsOfDay.objects.all().delete()


def _count(day: date) -> None:
    begin = datetime(day.year, day.month, day.day, tzinfo=UTC)
    with transaction.atomic(), connection.cursor() as cursor:
        # A concurrent counter of the same day waits here, then inserts nothing.
        cursor.execute("INSERT INTO desk_countedday VALUES (%s) ON CONFLICT DO NOTHING", [day])
        if cursor.rowcount:
            cursor.execute(_COUNT, [day, begin, begin + timedelta(days=1)])
