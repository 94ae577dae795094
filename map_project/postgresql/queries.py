"""What the ORM has no form for: rows of SQL texts, advisory locks, and the reasons of failed statements."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from enum import IntEnum, unique
from typing import Any, cast

from django.db import DatabaseError, connection

# SQLSTATEs: the statement timeout, and the lock timeout.
QUERY_CANCELED, LOCK_NOT_AVAILABLE = "57014", "55P03"


@unique
class AdvisoryLock(IntEnum):
    """The advisory locks of the database, each for work that one process does at a time."""

    FOLD_USAGE = 7_214_305
    INDEX_HISTORY = 7_214_306
    PRUNE_HISTORY = 7_214_307


def try_lock(lock: AdvisoryLock) -> bool:
    """Take a lock until the end of the current transaction. Return False if another process holds it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [lock.value])
        is_taken: bool = cursor.fetchone()[0]
    return is_taken


def fetch_rows(sql: str, parameters: Sequence[object] | dict[str, object]) -> list[dict[str, Any]]:
    """Return the rows of a query, by the names of their columns. Raises DatabaseError."""
    with connection.cursor() as cursor:
        cursor.execute(sql, cast(Any, parameters))
        names = [column.name for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def sqlstate(error: DatabaseError) -> str:
    """Return the SQLSTATE of an error, or an empty text if the server has not sent one."""
    return getattr(error.__cause__, "sqlstate", None) or ""


def custom_plans() -> AbstractContextManager[None]:
    """Let PostgreSQL plan each statement of the block with its values.

    Other statements are prepared, and PostgreSQL may plan them without their values after five executions. A
    plan for any value of a filter can read all rows of a tenant to find those of a rare one.
    """
    return connection.execute_wrapper(_execute_unprepared)


def _execute_unprepared(
    execute: Callable[..., Any], sql: str, params: Any, many: bool, context: dict[str, Any]
) -> Any:
    session = context["connection"].connection
    threshold = session.prepare_threshold
    session.prepare_threshold = None
    try:
        return execute(sql, params, many, context)
    finally:
        session.prepare_threshold = threshold
