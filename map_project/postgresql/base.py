"""The database engine: Django's, with psycopg's pool, and a bound on every wait.

Three things can go wrong with a database in the network, and each has its bound here:

- it refuses: the pool is told to fail fast until a connection succeeds again;
- it went away and came back: a connection it closed meanwhile is found by a look at its socket
  (no round trip) before it is handed out, so nobody gets an error for an outage that is over;
- it hangs: a statement that is not answered in time is given up, and its connection with it.
"""

import select
from typing import Any

import psycopg
from django.conf import settings
from django.db import connection as default_connection
from django.db.backends.postgresql import base
from psycopg.abc import RV, PQGen
from psycopg.pq import ConnStatus
from psycopg_pool import ConnectionPool

# Seconds to wait for a connection: while all is well, and after the last attempt to connect failed.
_PATIENCE_SECONDS = 0.9
_FAIL_FAST_SECONDS = 0.05
# Beyond statement_timeout the server had its chance to cancel: it hangs, or cannot be reached.
_GRACE_SECONDS = 0.3


class BoundedConnection(psycopg.Connection[Any]):
    """A connection on which no answer is waited for longer than `answer_timeout_seconds`.

    Raises psycopg.OperationalError when that time is over; the connection is closed then, because
    nobody knows what the server made of the statement.
    """

    answer_timeout_seconds: float | None = settings.STATEMENT_TIMEOUT_MS / 1000 + _GRACE_SECONDS

    def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:
        try:
            return super().wait(gen, interval, timeout or self.answer_timeout_seconds)
        except psycopg.errors._WaitTimeout as error:
            self.pgconn.finish()
            raise psycopg.OperationalError("the database did not answer in time") from error


class DatabaseWrapper(base.DatabaseWrapper):
    """Django's wrapper; its pool hands out connections that are alive, or fails soon."""

    def get_connection_params(self) -> dict[str, Any]:
        pool = self.settings_dict["OPTIONS"].get("pool")
        if isinstance(pool, dict):
            pool.setdefault("connection_class", BoundedConnection)
            pool.setdefault("timeout", _PATIENCE_SECONDS)
            pool.setdefault("reconnect_timeout", 0)
            pool.setdefault("reconnect_failed", _fail_fast)
        return super().get_connection_params()

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        connection = super().get_new_connection(conn_params)
        while self.pool and not _is_alive(connection):
            connection.close()
            self.pool.putconn(connection)
            connection = self.pool.getconn()
        return connection

    def _configure_connection(self, connection: psycopg.Connection[Any]) -> bool:
        if self.pool:
            self.pool.timeout = _PATIENCE_SECONDS
        return bool(super()._configure_connection(connection))  # type: ignore[misc]


def _fail_fast(pool: ConnectionPool[Any]) -> None:
    pool.timeout = _FAIL_FAST_SECONDS


def _is_alive(connection: psycopg.Connection[Any]) -> bool:
    """Whether the server still holds its end: an idle socket with something to read says good-bye."""
    if connection.closed:
        return False
    poll = select.poll()
    poll.register(connection.pgconn.socket, select.POLLIN)
    if not poll.poll(0):
        return True
    try:
        connection.pgconn.consume_input()
    except psycopg.Error:
        return False
    return connection.pgconn.status == ConnStatus.OK and not connection.closed


def allow_any_time() -> None:
    """This thread's connection may take any time from now on, until it is closed: for migrations
    and bulk work of a command, never for a request.
    """
    default_connection.ensure_connection()
    default_connection.connection.answer_timeout_seconds = None
    with default_connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = 0")
