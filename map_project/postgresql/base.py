"""The database backend: Django's PostgreSQL backend with psycopg's pool, and a limit on every wait.

- If the server refuses connections, requests fail at once.
- A connection that the server has closed is replaced when it is taken from the pool. The check reads the
  socket and needs no round trip.
- If the server hangs, a statement is given up after `answer_timeout_seconds`, and its connection with it.
  Until a statement succeeds again, other requests fail almost at once (`CircuitBreaker`).
"""

import time
from typing import Any

import psycopg
from django.conf import settings
from django.db import connection as default_connection
from django.db.backends.base.base import NO_DB_ALIAS
from django.db.backends.postgresql import base
from psycopg.abc import RV, PQGen
from psycopg_pool import PoolTimeout

# The server cancels a statement after `statement_timeout`. If it does not, it hangs or is unreachable.
_GRACE_SECONDS = 0.3
# How long a request waits for a new connection, for one that others use, and while the breaker is open.
_CONNECT_WAIT_SECONDS = settings.STATEMENT_TIMEOUT_MS / 1000
_BUSY_WAIT_SECONDS = 10.0
_OPEN_WAIT_SECONDS = 0.05
# Steps of that wait, after which the circuit breaker is looked at.
_WAIT_STEP_SECONDS = 0.1


class CircuitBreaker:
    """Opens for a second when the server hangs. A success closes it."""

    _open_seconds = 1.0
    _opened_at = float("-inf")
    # The last failed attempt to connect.
    refused_at = float("-inf")

    def open(self) -> None:
        """Let requests fail almost at once: existing connections do not answer either."""
        self._opened_at = time.monotonic()

    def close(self) -> None:
        """The server has answered."""
        self._opened_at = float("-inf")

    def is_open(self) -> bool:
        """Return whether it was opened during the last second."""
        return time.monotonic() - self._opened_at < self._open_seconds

    def refuse(self) -> None:
        """The server has refused a connection. The requests that wait for one fail."""
        self.refused_at = time.monotonic()


breaker = CircuitBreaker()


class BoundedConnection(psycopg.Connection[Any]):
    """A connection that waits for the server for at most `answer_timeout_seconds`.

    Raises psycopg.OperationalError after that time and closes the connection, because the state of the
    statement is unknown.
    """

    answer_timeout_seconds: float | None = settings.STATEMENT_TIMEOUT_MS / 1000 + _GRACE_SECONDS

    def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:
        timeout = timeout or self.answer_timeout_seconds
        started = time.monotonic()
        try:
            result = super().wait(gen, interval, timeout)
        except psycopg.OperationalError as error:
            if timeout is None or time.monotonic() - started < timeout:
                raise
            self.pgconn.finish()
            breaker.open()
            raise psycopg.OperationalError("the database did not respond in time") from error
        breaker.close()
        return result


class DatabaseWrapper(base.DatabaseWrapper):
    """Django's wrapper, which takes connections from a pool that fails soon."""

    def get_connection_params(self) -> dict[str, Any]:
        pool = self.settings_dict["OPTIONS"].get("pool")
        if isinstance(pool, dict):
            pool.setdefault("connection_class", BoundedConnection)
            # Report the first failed attempt to connect, and try again when a request asks.
            pool.setdefault("reconnect_timeout", 0)
            pool.setdefault("reconnect_failed", lambda _pool: breaker.refuse())
        parameters = super().get_connection_params()
        if self.alias == NO_DB_ALIAS:
            # This connection creates and drops databases, which may take longer than a statement.
            parameters.pop("options", None)
        return parameters

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        if self.pool is None:
            return super().get_new_connection(conn_params)
        self.pool.timeout = _WAIT_STEP_SECONDS
        if breaker.is_open():
            self.pool.timeout = _OPEN_WAIT_SECONDS
            # Idle connections, and those returned from now on, may lead to the server that hangs.
            self.pool.drain()
        started = time.monotonic()
        while True:
            try:
                connection = super().get_new_connection(conn_params)
                if _is_alive(connection):
                    return connection
                connection.close()
                self.pool.putconn(connection)
            except PoolTimeout:
                waited_seconds = time.monotonic() - started
                # If all connections are in use, the wait says nothing about the server.
                stats = self.pool.get_stats()
                is_full = stats["pool_size"] >= stats["pool_max"]
                if not is_full and waited_seconds > _CONNECT_WAIT_SECONDS:
                    breaker.open()
                is_down = breaker.is_open() or breaker.refused_at > started
                if is_down or waited_seconds > _BUSY_WAIT_SECONDS:
                    raise


def _is_alive(connection: psycopg.Connection[Any]) -> bool:
    """Return whether the server has not closed an idle connection.

    Django sets the pool's `check` itself, to a statement. The first call reads the server's last message,
    the second one the end of the stream.
    """
    try:
        connection.pgconn.consume_input()
        connection.pgconn.consume_input()
    except psycopg.OperationalError:
        return False
    return True


def allow_any_time(**_: object) -> None:
    """Remove the time limits of this connection, for long commands and as a receiver of a signal."""
    default_connection.ensure_connection()
    default_connection.connection.answer_timeout_seconds = None
    with default_connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = 0")
