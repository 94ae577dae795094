r"""The blocks of the search: the words of a hundred executions each, in one row.

An index of the words of each execution would make runs slower. So every process calls `index_history`, which
adds the words of executions that have ended to blocks; an advisory lock lets one do it at a time. A search
reads the executions of the blocks that have its words, and those that are in no block yet: what it finds does
not depend on when they were added.

Words are split at `\W+` by PostgreSQL, which also matches executions (`executions.history.search`). Upper
case before lower case: letters that have the same upper case, such as the two forms of sigma, have one hash.
"""

import time
import uuid
from datetime import UTC, datetime
from typing import Any

from django.db import connection, transaction

from map_project.postgresql.queries import AdvisoryLock, try_lock

# Of one block. A page of a search reads the executions of up to as many blocks as it has items.
ROWS, BYTES = 100, 100_000
# Of one statement, which has the time limit of other statements.
MAX_ROWS, MAX_BYTES = 1_000, 400_000
# Of a text: the later words are not found.
MAX_CHARACTERS = 1_000_000
# Executions are added after this time. Most have ended, and each insert has been committed.
SETTLED_SECONDS = 30
MAX_TENANTS, MAX_STALE = 20, 20
# Of one call, in which up to twenty statements are executed.
BUDGET_SECONDS = 2.0

# The position of an execution in the order of time, and one before all executions.
Key = tuple[datetime, uuid.UUID]
FIRST: Key = (datetime(2, 1, 1, tzinfo=UTC), uuid.UUID(int=0))

_BUILD = r"""
WITH sizes AS (
    SELECT id, created_at, octet_length(prompt) + octet_length(response) AS bytes
    FROM executions_execution
    WHERE tenant_id = %(tenant_id)s AND (created_at, id) > (%(after_at)s, %(after_id)s)
        AND (created_at, id) <= (%(last_at)s, %(last_id)s)
    ORDER BY created_at, id LIMIT %(limit)s
), numbered AS (
    SELECT id, bytes, sum(bytes) OVER w AS volume, (row_number() OVER w - 1) / %(rows)s AS number
    FROM sizes WINDOW w AS (ORDER BY created_at, id)
), batch AS MATERIALIZED (
    SELECT id, created_at, prompt, response, metadata, number, volume / %(bytes)s AS part,
        status IN ('queued', 'running', 'requires_action') AS is_stale
    FROM numbered JOIN executions_execution USING (id)
    WHERE volume - bytes < %(max_bytes)s
), blocks AS (
    SELECT number, part, bool_or(is_stale) AS is_stale, max(created_at) AS last_created_at,
        (array_agg(id ORDER BY created_at DESC, id DESC))[1] AS last_id
    FROM batch GROUP BY number, part
), words AS (
    SELECT number, part, array_agg(DISTINCT hashtextextended(word, %(seed)s)) AS words
    FROM batch, LATERAL (
        SELECT regexp_split_to_table(
            lower(upper(left(prompt, %(characters)s) || ' ' || left(response, %(characters)s))), '\W+'
        )
        UNION ALL
        SELECT key || '=' || value
        FROM jsonb_each_text(CASE jsonb_typeof(metadata) WHEN 'object' THEN metadata END)
    ) each (word)
    GROUP BY number, part
)
INSERT INTO executions_searchblock (tenant_id, last_created_at, last_id, words, is_stale)
SELECT %(tenant_id)s, last_created_at, last_id, words, is_stale
FROM blocks JOIN words USING (number, part)
ON CONFLICT (tenant_id, last_created_at, last_id)
DO UPDATE SET words = excluded.words, is_stale = excluded.is_stale
RETURNING last_created_at, last_id
"""
# Tenants with enough executions after their last block: up to which time, and how many.
_TAILS = """
SELECT tenant.id, COALESCE(block.last_created_at, %(no_at)s), COALESCE(block.last_id, %(no_id)s),
    STATEMENT_TIMESTAMP() - %(settled)s * interval '1 second', tail.count, tail.bytes
FROM tenants_tenant tenant
LEFT JOIN LATERAL (
    SELECT last_created_at, last_id FROM executions_searchblock WHERE tenant_id = tenant.id
    ORDER BY last_created_at DESC, last_id DESC LIMIT 1
) block ON true
CROSS JOIN LATERAL (
    SELECT count(*) AS count, sum(bytes) AS bytes FROM (
        SELECT octet_length(prompt) + octet_length(response) AS bytes
        FROM executions_execution
        WHERE tenant_id = tenant.id
            AND (created_at, id) > (
                COALESCE(block.last_created_at, %(no_at)s), COALESCE(block.last_id, %(no_id)s)
            )
            AND created_at < STATEMENT_TIMESTAMP() - %(settled)s * interval '1 second'
        ORDER BY created_at, id LIMIT %(limit)s
    ) executions
) tail
WHERE tail.count >= %(rows)s OR tail.bytes >= %(bytes)s
ORDER BY tail.count DESC LIMIT %(tenants)s
"""
# Stale blocks whose runs have all ended, with the end of the block before.
_STALE = """
SELECT block.id, block.tenant_id, COALESCE(before.last_created_at, %(no_at)s),
    COALESCE(before.last_id, %(no_id)s), block.last_created_at, block.last_id
FROM executions_searchblock block
LEFT JOIN LATERAL (
    SELECT last_created_at, last_id FROM executions_searchblock
    WHERE tenant_id = block.tenant_id
        AND (last_created_at, last_id) < (block.last_created_at, block.last_id)
    ORDER BY last_created_at DESC, last_id DESC LIMIT 1
) before ON true
WHERE block.is_stale AND NOT EXISTS (
    SELECT FROM executions_execution
    WHERE tenant_id = block.tenant_id AND status IN ('queued', 'running', 'requires_action')
        AND (created_at, id) > (
            COALESCE(before.last_created_at, %(no_at)s), COALESCE(before.last_id, %(no_id)s)
        )
        AND (created_at, id) <= (block.last_created_at, block.last_id)
)
LIMIT %(stale)s
"""
_EXISTS = """
SELECT EXISTS (
    SELECT FROM executions_execution
    WHERE tenant_id = %s AND (created_at, id) > (%s, %s) AND (created_at, id) <= (%s, %s)
)
"""


def seed(tenant_id: uuid.UUID) -> int:
    """Return the seed of the hashes of a tenant's words: other tenants have other hashes."""
    return int.from_bytes(tenant_id.bytes[8:], signed=True)


def index_history() -> None:
    """Add executions to blocks, unless another process does. Raises DatabaseError."""
    deadline = time.monotonic() + BUDGET_SECONDS
    while _index_some(deadline) and time.monotonic() < deadline:
        pass


def _index_some(deadline: float) -> bool:
    """Index a part. Return whether there may be more."""
    with connection.cursor() as cursor:
        parameters: dict[str, Any] = {
            "no_at": FIRST[0],
            "no_id": FIRST[1],
            "settled": SETTLED_SECONDS,
            "limit": MAX_ROWS,
            "rows": ROWS,
            "bytes": BYTES,
            "tenants": MAX_TENANTS,
            "stale": MAX_STALE,
        }
        cursor.execute(_TAILS, parameters)
        tails = cursor.fetchall()
        cursor.execute(_STALE, parameters)
        stale = cursor.fetchall()
    for tenant_id, after_at, after_id, until, count, _ in tails:
        if time.monotonic() < deadline:
            # Whole blocks, or one of fewer but large executions.
            limit = count - count % ROWS or count
            _index_tail(tenant_id, (after_at, after_id), until, limit)
    for block_id, tenant_id, after_at, after_id, last_at, last_id in stale:
        if time.monotonic() < deadline:
            _rebuild(block_id, tenant_id, (after_at, after_id), (last_at, last_id))
    return bool(tails or stale)


@transaction.atomic
def _index_tail(tenant_id: uuid.UUID, after: Key, until: datetime, limit: int) -> None:
    """Make blocks of executions after the last block."""
    with connection.cursor() as cursor:
        _build(cursor, tenant_id, after, (until, FIRST[1]), limit)


@transaction.atomic
def _rebuild(block_id: int, tenant_id: uuid.UUID, after: Key, last: Key) -> None:
    """Replace a stale block. If it has too many executions, it remains, and has the rest of them."""
    with connection.cursor() as cursor:
        built = _build(cursor, tenant_id, after, last, MAX_ROWS)
        if built is None or last in built:
            return
        cursor.execute(_EXISTS, [tenant_id, *max(built, default=after), *last])
        if not cursor.fetchone()[0]:
            cursor.execute("DELETE FROM executions_searchblock WHERE id = %s", [block_id])


def _build(
    cursor: Any, tenant_id: uuid.UUID, after: Key, last: Key, limit: int
) -> list[Key] | None:
    """Insert blocks of the first executions in a range. Return their ends.

    Returns None if another process makes blocks.
    """
    if not try_lock(AdvisoryLock.INDEX_HISTORY):
        return None
    parameters = {
        "tenant_id": tenant_id,
        "after_at": after[0],
        "after_id": after[1],
        "last_at": last[0],
        "last_id": last[1],
        "limit": limit,
        "rows": ROWS,
        "bytes": BYTES,
        "max_bytes": MAX_BYTES,
        "characters": MAX_CHARACTERS,
        "seed": seed(tenant_id),
    }
    cursor.execute(_BUILD, parameters)
    return [(created_at, pk) for created_at, pk in cursor.fetchall()]
