"""Tables with many rows, in a schema of their own: no other connection sees them, and no test after them."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from django.db import connection, models
from django.db.backends.utils import CursorWrapper

from map_project.postgresql.base import allow_any_time


@contextmanager
def many_rows(
    schema: str, inserts: Sequence[tuple[str, list[Any]]], *copied: type[models.Model]
) -> Iterator[CursorWrapper]:
    """Copy the models' tables without their rows, fill the copies, and let this thread use them meanwhile.

    `inserts` has SQL and its parameters. The copies have no triggers and no foreign keys. Their indexes are
    created after the rows, which takes a fraction of the time, and have the usual names. A view is copied
    as well: it would read the usual tables.
    """
    tables = [model._meta.db_table for model in copied if model._meta.managed]
    views = [model._meta.db_table for model in copied if not model._meta.managed]
    allow_any_time()
    with connection.cursor() as cursor:
        # VACUUM waits for the autovacuum of these tables.
        cursor.execute("SET lock_timeout = 0")
        cursor.execute("SET maintenance_work_mem = '256MB'")
        cursor.execute(f"CREATE SCHEMA {schema}")
        try:
            definitions = [definition_of(cursor, view) for view in views]
            cursor.execute(f"SET search_path = {schema}, public")
            for table in tables:
                cursor.execute(
                    f"CREATE TABLE {schema}.{table} (LIKE {table} INCLUDING ALL EXCLUDING INDEXES)"
                )
            for view, definition in zip(views, definitions, strict=True):
                cursor.execute(f"CREATE VIEW {schema}.{view} AS {definition}")
            for sql, parameters in inserts:
                cursor.execute(sql, parameters)
            for table in tables:
                create_indexes(cursor, schema, table)
                make_visible(cursor, f"{schema}.{table}")
            yield cursor
        finally:
            cursor.execute(f"DROP SCHEMA {schema} CASCADE")
            # The pool keeps no session with these settings.
            connection.connection.close()
    connection.close()


def definition_of(cursor: CursorWrapper, view: str) -> str:
    """Return the query of a view, in which tables have no schema while they are found without one."""
    cursor.execute("SELECT pg_get_viewdef(%s::regclass)", [view])
    return str(cursor.fetchone()[0])


def create_indexes(cursor: CursorWrapper, schema: str, table: str) -> None:
    cursor.execute(
        """
        SELECT indexname, replace(indexdef, ' ON public.', ' ON ' || %s || '.'), contype
        FROM pg_indexes
        LEFT JOIN pg_constraint ON conname = indexname AND conrelid = ('public.' || tablename)::regclass
        WHERE schemaname = 'public' AND tablename = %s
        """,
        [schema, table],
    )
    for name, definition, constraint in cursor.fetchall():
        cursor.execute(definition)
        if constraint == "p":
            cursor.execute(f"ALTER TABLE {schema}.{table} ADD PRIMARY KEY USING INDEX {name}")


def make_visible(cursor: CursorWrapper, table: str) -> None:
    """Collect statistics, and wait until index-only scans need not read the table.

    A snapshot of another session, such as autovacuum's, can keep VACUUM from marking pages as visible.
    """
    deadline = time.monotonic() + 60
    while True:
        cursor.execute(f"VACUUM (ANALYZE) {table}")
        cursor.execute(
            "SELECT pg_relation_size(oid) / 8192 - relallvisible FROM pg_class WHERE oid = %s::regclass",
            [table],
        )
        if cursor.fetchone()[0] <= 100:
            return
        assert time.monotonic() < deadline, snapshots(cursor)


def snapshots(cursor: CursorWrapper) -> list[tuple[Any, ...]]:
    cursor.execute(
        "SELECT backend_type, state, application_name, query FROM pg_stat_activity"
        " WHERE backend_xmin IS NOT NULL AND pid <> pg_backend_pid()"
    )
    return list(cursor.fetchall())
