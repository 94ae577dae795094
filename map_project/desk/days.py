"""Counting the days that are over, once each."""

import time
from datetime import UTC, date, datetime, timedelta

from django.db import connection, transaction

from map_project.desk.models import CountedDay, RunsOfDay

# A run may end, and its status change, long after it began: only then is its day over.
OVER_AFTER = timedelta(days=2)
_BUDGET_SECONDS = 1.0

_COUNT = """
INSERT INTO desk_runsofday (day, tenant_id, status, error_code, runs)
SELECT %s::date, tenant_id, status, error_code, count(*)
FROM executions_execution
WHERE latency_ms >= 0 AND created_at >= %s AND created_at < %s
GROUP BY tenant_id, status, error_code
"""


def over_until(now: datetime) -> date:
    """The first day that is not over yet."""
    return (now - OVER_AFTER).date()


def count_days(first: date, until: date, *, budget_seconds: float = _BUDGET_SECONDS) -> bool:
    """Counts what is not counted yet of the days from `first` to before `until`, a statement a day.

    Whether all of them are counted: what exceeds the budget is left for the next look.
    """
    deadline = time.monotonic() + budget_seconds
    wanted = [first + timedelta(days=n) for n in range((until - first).days)]
    counted = set(CountedDay.objects.filter(day__in=wanted).values_list("day", flat=True))
    for day in wanted:
        if day not in counted:
            if time.monotonic() > deadline:
                return False
            _count(day)
    return True


def forget_days() -> None:
    """Has all days counted anew: for whoever writes executions into the past."""
    with transaction.atomic():
        CountedDay.objects.all().delete()
        RunsOfDay.objects.all().delete()


def _count(day: date) -> None:
    begin = datetime(day.year, day.month, day.day, tzinfo=UTC)
    with transaction.atomic(), connection.cursor() as cursor:
        # Who counts at the same moment waits here, and finds it done.
        cursor.execute("INSERT INTO desk_countedday VALUES (%s) ON CONFLICT DO NOTHING", [day])
        if cursor.rowcount:
            cursor.execute(_COUNT, [day, begin, begin + timedelta(days=1)])
