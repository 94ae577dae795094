"""Exact totals of the history, and bounded ones of filtered lists.

A tenant's `HistoryTotal` has the number of its executions up to a time that no running insert can still
precede (closed rows). A request adds those after it, in the same statement. If there are many, it moves the
time forward first.
"""

import time
import uuid
from datetime import timedelta
from typing import Any

from django.db import connection, transaction
from django.db.models import QuerySet

from executions.history.blocks import FIRST
from executions.models import Execution

# Longer than a transaction that inserts an execution: each of its statements has `statement_timeout`, and it
# may be idle for `idle_in_transaction_session_timeout`.
CLOSED_AFTER = timedelta(seconds=60)
# Closed rows after the time of the total: it moves forward if there are more, by at most the second number.
MAX_ADDED, MAX_MOVED = 1_000, 50_000
# For another request that moves it. After that, all rows are counted: the insertion of many rows with an
# earlier time may have locked it.
WAIT_SECONDS, MAX_WAITS = 0.02, 25
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
SELECT 1 FROM executions_historytotal WHERE tenant_id = %(tenant_id)s FOR UPDATE SKIP LOCKED
"""
# After the lock, in a statement of its own: it sees what those have committed that had the lock before.
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
        ) AND created_at <= STATEMENT_TIMESTAMP() - %(closed_after)s
        ORDER BY created_at LIMIT %(limit)s
    ) rows
) next
WHERE tenant_id = %(tenant_id)s AND next.until IS NOT NULL
"""


def count_executions(tenant_id: uuid.UUID) -> int:
    """Return the exact number of executions of a tenant. Raises DatabaseError."""
    parameters: dict[str, Any] = {
        "tenant_id": tenant_id,
        "first": FIRST[0],
        "closed_after": CLOSED_AFTER,
        "limit": MAX_MOVED,
    }
    waits = 0
    while True:
        with connection.cursor() as cursor:
            cursor.execute(_TOTAL, parameters)
            total, closed, newer = cursor.fetchone()
        has_moved = closed > MAX_ADDED and _move(parameters)
        if closed < MAX_MOVED or parameters["limit"] is None:
            return int(total + closed + newer)
        if not has_moved:
            time.sleep(WAIT_SECONDS)
            waits += 1
            if waits == MAX_WAITS:
                parameters["limit"] = None


def count_at_most(queryset: QuerySet[Execution, Any]) -> int | None:
    """Return the exact number of rows, or None if there are more than `MAX_COUNTED`."""
    count = queryset.values("pk")[: MAX_COUNTED + 1].count()
    return None if count > MAX_COUNTED else count


@transaction.atomic
def _move(parameters: dict[str, Any]) -> bool:
    """Move the time of the total forward. Return False if another transaction has locked it."""
    with connection.cursor() as cursor:
        cursor.execute(_LOCK, parameters)
        if cursor.fetchone() is None:
            return False
        cursor.execute(_MOVE, parameters)
    return True
