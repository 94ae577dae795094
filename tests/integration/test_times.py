"""Times as the fast loader gives them are those that Django's own gives."""

from datetime import UTC, datetime

import pytest
from django.db import connection
from django.db.backends.postgresql.psycopg_any import register_tzloader

TIMES = [
    "2026-11-22T10:00:00.123456+00",
    "2026-11-22T10:00:00+02:30",
    "1999-12-31T23:59:59.9-11",
    "0001-01-01T00:00:00+00",
]


@pytest.mark.parametrize("text", TIMES)
def test_a_time_is_the_one_that_django_reads(text: str) -> None:
    sql = "SELECT %s::timestamptz"
    with connection.cursor() as cursor:
        cursor.execute(sql, [text])
        ours: datetime = cursor.fetchone()[0]
        register_tzloader(UTC, cursor.cursor)
        cursor.execute(sql, [text])
        assert (ours, ours.tzinfo) == (cursor.fetchone()[0], UTC)
