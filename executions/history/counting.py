"""Exact totals of the history, and bounded ones of filtered lists.

A tenant's `HistoryTotal` has the number of its executions up to a time. A request adds those after it, in the
same statement. If there are many, the request moves the time forward, up to one that no open transaction can
still precede (closed rows).
"""

import time
import uuid
from contextlib import suppress
from datetime import timedelta
from typing import Any

from django.db import DatabaseError, connection, transaction
from django.db.models import QuerySet

from executions.history.blocks import FIRST
from executions.models import Execution

# The age of closed rows. A row may have a time of up to 5 seconds before its insertion (migration 0022).
CLOSED_AFTER = timedelta(seconds=30)
# While a transaction that has written is older, no total moves: its rows could be closed before its commit.
MAX_WRITER_AGE = timedelta(seconds=20)
# Closed rows that are counted for each request.
MAX_ADDED = 1_000
# Closed rows that a transaction adds to the total, in about 20 ms.
MAX_MOVED = 50_000
# After this time, a request counts the remaining rows in one statement.
MOVE_SECONDS = 1.0
# The wait for another request that moves the total.
RETRY_SECONDS = 0.02
# More matching executions than this are not counted.
MAX_COUNTED = 10_000

_TOTAL = """
WITH total AS (
    SELECT COALESCE(max(count), 0) AS count, COALESCE(max(until), %(first)s) AS until,
        STATEMENT_TIMESTAMP() - %(closed_after)s AS closing
    FROM executions_historytotal WHERE tenant_id = %(tenant_id)s
)
SELECT total.count, closed.count, open.count
FROM total, LATERAL (
    SELECT count(*) FROM (
        SELECT FROM executions_execution
        WHERE tenant_id = %(tenant_id)s AND created_at > until AND created_at <= closing
        ORDER BY created_at LIMIT %(limit)s
    ) rows
) closed, LATERAL (
    SELECT count(*) FROM executions_execution
    WHERE tenant_id = %(tenant_id)s AND created_at > GREATEST(until, closing)
) open
"""
_LOCK = """
SELECT STATEMENT_TIMESTAMP() - %(closed_after)s FROM executions_historytotal
WHERE tenant_id = %(tenant_id)s AND NOT EXISTS (
    SELECT FROM pg_stat_activity WHERE datname = current_database() AND backend_xid IS NOT NULL
        AND xact_start <= STATEMENT_TIMESTAMP() - %(max_writer_age)s
)
FOR UPDATE OF executions_historytotal SKIP LOCKED
"""
# In a statement after the lock: it sees the changes of those that had the lock before.
_MOVE = """
UPDATE executions_historytotal total
SET until = next.until, count = count + (
    SELECT count(*) FROM executions_execution
    WHERE tenant_id = %(tenant_id)s AND created_at > total.until AND created_at <= next.until
)
FROM (
    SELECT max(created_at) AS until FROM (
        SELECT created_at FROM executions_execution
        WHERE tenant_id = %(tenant_id)s AND created_at > (
            SELECT until FROM executions_historytotal WHERE tenant_id = %(tenant_id)s
        ) AND created_at <= %(closing)s
        ORDER BY created_at LIMIT %(limit)s
    ) rows
) next
WHERE tenant_id = %(tenant_id)s AND next.until IS NOT NULL
"""


def count_executions(tenant_id: uuid.UUID) -> int:
    """Return the exact number of executions of a tenant. Raises DatabaseError."""
    deadline = time.monotonic() + MOVE_SECONDS
    while time.monotonic() < deadline:
        counted, closed = _count(tenant_id, MAX_MOVED)
        if closed < MAX_MOVED:
            if closed > MAX_ADDED:
                with suppress(DatabaseError):
                    _move(tenant_id)
            return counted
        if not _move(tenant_id):
            # Other requests use the connection meanwhile.
            connection.close()
            time.sleep(RETRY_SECONDS)
    return _count(tenant_id, None)[0]


def count_at_most(queryset: QuerySet[Execution, Any]) -> int | None:
    """Return the exact number of rows, or None if there are more than `MAX_COUNTED`."""
    count = queryset.values("pk")[: MAX_COUNTED + 1].count()
    return None if count > MAX_COUNTED else count


@transaction.atomic
def _move(tenant_id: uuid.UUID) -> bool:
    """Add up to `MAX_MOVED` closed rows to the total of a tenant, and move its time forward.

    Returns False if another transaction has locked the total, or one that has written is too old. Raises
    DatabaseError.
    """
    parameters = _parameters(tenant_id, MAX_MOVED)
    with connection.cursor() as cursor:
        cursor.execute(_LOCK, parameters)
        row = cursor.fetchone()
        if row is None:
            return False
        cursor.execute(_MOVE, parameters | {"closing": row[0]})
    return True


def _count(tenant_id: uuid.UUID, limit: int | None) -> tuple[int, int]:
    """Return the number of executions, and that of closed rows in it that are not in the total.

    With `limit`, at most as many of the closed rows are counted.
    """
    with connection.cursor() as cursor:
        cursor.execute(_TOTAL, _parameters(tenant_id, limit))
        total, closed, newer = cursor.fetchone()
    return total + closed + newer, closed


def _parameters(tenant_id: uuid.UUID, limit: int | None) -> dict[str, Any]:
    return {
        "tenant_id": tenant_id,
        "first": FIRST[0],
        "closed_after": CLOSED_AFTER,
        "max_writer_age": MAX_WRITER_AGE,
        "limit": limit,
    }
