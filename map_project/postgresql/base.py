"""The database engine: Django's, with psycopg's pool, and a bound on every wait.

Three things can go wrong with a database in the network, and each has its bound here:

- it refuses: who waits for a connection is told at once;
- it went away and came back: a connection it closed meanwhile is found by a look at its socket
  (no round trip) before it is handed out, so nobody gets an error for an outage that is over;
- it hangs: a statement that is not answered in time is given up, and its connection with it. From
  then on, until a connection succeeds, nobody waits long for the next one.
"""

import time
from functools import cache
from typing import Any

import psycopg
from django.conf import settings
from django.db import connection as default_connection
from django.db.backends.base.base import NO_DB_ALIAS
from django.db.backends.postgresql import base
from psycopg.abc import RV, PQGen
from psycopg.adapt import AdaptersMap
from psycopg.types.datetime import TimestamptzLoader
from psycopg_pool import ConnectionPool, PoolTimeout

from map_project.sockets import is_readable

# Beyond statement_timeout the server had its chance to cancel: it hangs, or cannot be reached.
_GRACE_SECONDS = 0.3
# How long a connection is waited for; and while the server hangs.
_PATIENCE_SECONDS = 1.2
_NO_PATIENCE_SECONDS = 0.05
# How long a sign that the server hangs is believed.
_HANGING_SECONDS = 1.0


class BoundedConnection(psycopg.Connection[Any]):
    """A connection on which no answer is waited for longer than `answer_timeout_seconds`.

    Raises psycopg.OperationalError when that time is over; the connection is closed then, because
    nobody knows what the server made of the statement.
    """

    answer_timeout_seconds: float | None = settings.STATEMENT_TIMEOUT_MS / 1000 + _GRACE_SECONDS

    def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:
        patience = timeout or self.answer_timeout_seconds
        try:
            return super().wait(gen, interval, patience)
        except psycopg.errors._WaitTimeout as error:
            self.pgconn.finish()
            if isinstance(self._pool, ConnectionPool):
                _Hang.noticed(self._pool, patience or 0.0)
            raise psycopg.OperationalError("the database did not answer in time") from error


class DatabaseWrapper(base.DatabaseWrapper):
    """Django's wrapper; its pool hands out connections that are alive, or fails soon.

    A thread that serves one request after the other may set `lasts`: it keeps its connection from one
    to the next, and closes it itself when it has nothing to do. To take one from the pool and to give it
    back costs as much as a quarter of a statement.
    """

    lasts = False
    health_check_done: bool

    def connect(self) -> None:
        super().connect()
        if self.lasts:
            self.close_at = None

    def close_if_health_check_failed(self) -> None:
        # Before a request's first statement; Django would ask the server.
        if self.connection is None or self.health_check_done:
            return
        self.health_check_done = True
        # While the server hangs its connections look alive; the pool takes none of them back.
        if _Hang.lasts() or not _is_alive(self.connection):
            self.close()

    def get_connection_params(self) -> dict[str, Any]:
        pool = self.settings_dict["OPTIONS"].get("pool")
        if isinstance(pool, dict):
            pool.setdefault("connection_class", BoundedConnection)
            pool.setdefault("reconnect_timeout", 0)
            pool.setdefault("reconnect_failed", _tell_who_waits)
        parameters = super().get_connection_params()
        parameters["context"] = _adapters(parameters["context"])
        if self.alias == NO_DB_ALIAS:
            # Makes and drops whole databases, which takes what it takes.
            parameters.pop("options", None)
        return parameters

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        if self.pool is None:
            return super().get_new_connection(conn_params)
        patience = _NO_PATIENCE_SECONDS if _Hang.lasts() else _PATIENCE_SECONDS
        self.pool.timeout, deadline = patience, time.monotonic() + patience
        try:
            connection = super().get_new_connection(conn_params)
            while not _is_alive(connection):
                connection.close()
                self.pool.putconn(connection)
                connection = self.pool.getconn(deadline - time.monotonic())
        except PoolTimeout:
            stats = self.pool.get_stats()
            # Or all connections there may be are in use: that is no news about the server.
            if stats["pool_size"] < stats["pool_max"]:
                _Hang.noticed(self.pool, patience)
            raise
        return connection

    def create_cursor(self, name: str | None = None) -> Any:
        # As Django's, without the look at the loader of times: our connections are in UTC, as all
        # of this project is, and psycopg's own loader gives UTC then.
        if name is None:
            return self.connection.cursor()
        return self.connection.cursor(name, scrollable=False, withhold=self.connection.autocommit)

    def _configure_connection(self, connection: psycopg.Connection[Any]) -> bool:
        configured = super()._configure_connection(connection)  # type: ignore[misc]
        _Hang.ended()
        return bool(configured)


@cache
def _adapters(of_django: AdaptersMap) -> AdaptersMap:
    """Django's adapters with psycopg's own loader of times: in C, and ten times as fast."""
    adapters = AdaptersMap(of_django)
    adapters.register_loader("timestamptz", TimestamptzLoader)
    return adapters


class _Hang:
    """Whether the server hangs, as far as this process has noticed lately."""

    _noticed_at = _ended_at = -_HANGING_SECONDS

    @classmethod
    def noticed(cls, pool: ConnectionPool[Any], waited_seconds: float) -> None:
        """Somebody waited so long in vain."""
        now = time.monotonic()
        # Else somebody else got through meanwhile.
        if cls._ended_at < now - waited_seconds:
            cls._noticed_at = now
            # The connections made by now, idle or given back later, lead to the same server.
            pool.drain()

    @classmethod
    def ended(cls) -> None:
        """A connection succeeded."""
        cls._noticed_at, cls._ended_at = -_HANGING_SECONDS, time.monotonic()

    @classmethod
    def lasts(cls) -> bool:
        return time.monotonic() - cls._noticed_at < _HANGING_SECONDS


def _tell_who_waits(pool: ConnectionPool[Any]) -> None:
    """The server refused a connection, and none is left that could come free.

    The pool has no public way to say so; it would let all wait out their time, and keep them in its
    queue until a connection succeeds.
    """
    with pool._lock:
        if pool._nconns > 0:
            return
        waiting = list(pool._waiting)
        pool._waiting.clear()
    for client in waiting:
        client.fail(psycopg.OperationalError("the database takes no connections"))


def _is_alive(connection: psycopg.Connection[Any]) -> bool:
    """Whether the server still holds its end. It says nothing on an idle connection but good-bye."""
    return not connection.closed and not is_readable(connection.pgconn.socket)


def allow_any_time() -> None:
    """This thread's connection may take any time from now on, until it is closed: for migrations
    and bulk work of a command, never for a request.
    """
    default_connection.ensure_connection()
    default_connection.connection.answer_timeout_seconds = None
    with default_connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = 0")
