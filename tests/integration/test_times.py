"""The fast loader of times returns the same values as Django's loader."""

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
def test_a_time_is_loaded_as_by_django(text: str) -> None:
    sql = "SELECT %s::timestamptz"
    with connection.cursor() as cursor:
        cursor.execute(sql, [text])
        loaded: datetime = cursor.fetchone()[0]
        register_tzloader(UTC, cursor.cursor)
        cursor.execute(sql, [text])
        assert (loaded, loaded.tzinfo) == (cursor.fetchone()[0], UTC)
