"""Connections to Redis for calls that must end in time and must never be sent twice.

redis-py bounds every step of a call (an address to connect to, a read) but not their sum, and not
the resolution of a name; and its client sends a command again when the reply is late, as configured.
For a limiter a late reply is a lost one, and a command sent twice counts twice. So the limiter
takes the settings of django-redis' pool and the connections of redis-py, and goes without the
client and the pool in between, which also saves half of the client's time.
"""

import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, Protocol

from hiredis import pack_command
from redis._parsers import _HiredisParser
from redis.connection import ConnectionPool
from redis.exceptions import ResponseError

Command = tuple[str | bytes | int, ...]
_pack: Callable[[Command], bytes] = pack_command  # type: ignore[assignment]  # of any length


_NEXT_TO_NOTHING_SECONDS = 0.005


class DeadlineParser(_HiredisParser):
    """redis-py's hiredis parser, whose reads end by `deadline` (of `time.monotonic`), all together.

    The timeout of a socket begins anew with every piece of a reply that trickles in.
    """

    deadline = math.inf
    _socket_timeout: float

    def read_from_socket(self, *args: Any, **kwargs: Any) -> bool:
        left = _left(self.deadline)
        # The socket's own timeout is as good while next to nothing of it is used up, which is so at
        # nearly every call; to set another one takes two system calls.
        if left < self._socket_timeout - _NEXT_TO_NOTHING_SECONDS:
            kwargs["timeout"] = left
        return bool(super().read_from_socket(*args, **kwargs))  # type: ignore[no-untyped-call]


class Connection(Protocol):
    """What is used of redis-py's connections over TCP, TLS and unix sockets."""

    @property
    def is_connected(self) -> bool: ...
    def connect(self) -> None: ...
    def disconnect(self) -> None: ...
    def can_read(self) -> bool: ...
    def send_packed_command(self, command: Sequence[bytes]) -> None: ...
    def read_response(self) -> Any: ...
    def _get_parser(self) -> DeadlineParser: ...


class Connections:
    """At most `max_connections` connections to the server of a redis-py pool, which stays unused.

    Safe for threads; a child made by a fork must not use those of its parent.
    """

    def __init__(self, pool: ConnectionPool) -> None:
        """Take address, credentials, TLS and timeouts from `pool`; `socket_timeout` bounds a call."""
        make: Callable[..., Any] = pool.connection_class
        options = {**pool.connection_kwargs, "parser_class": DeadlineParser}
        self._make: Callable[[], Connection] = partial(make, **options)
        self.timeout_seconds = float(options["socket_timeout"])
        self._idle: list[
            Connection
        ] = []  # the one used last is the last; append and pop are atomic
        self._permits: SimpleQueue[None] = (
            SimpleQueue()
        )  # to use a connection, an idle or a new one
        for _ in range(pool.max_connections):
            self._permits.put(None)

    def exchange(self, commands: Sequence[Command], deadline: float) -> list[Any]:
        """Send `commands` in one go, once, and return a reply for each.

        A refusal by the server (a ResponseError) is a reply. Raises whatever else happens: then it
        is unknown which of the commands were executed, if any.

        `deadline` is a reading of `time.monotonic`.
        """
        connection = self._acquire(deadline)
        try:
            connection._get_parser().deadline = deadline
            connection.send_packed_command([b"".join(map(_pack, commands))])
            return [_reply(connection) for _ in commands]
        except BaseException:
            connection.disconnect()  # what is still to come on it belongs to nobody
            raise
        finally:
            self._release(connection)

    def forget(self) -> None:
        """Close the connections that are not in use: after a failure they may be dead, too."""
        with suppress(IndexError):
            while True:
                self._idle.pop().disconnect()

    def _acquire(self, deadline: float) -> Connection:
        try:
            self._permits.get(timeout=_left(deadline))
        except Empty:
            raise TimeoutError("All connections to Redis are in use.") from None
        with suppress(IndexError):
            connection = self._idle.pop()
            if _is_fresh(connection):
                return connection
            connection.disconnect()
        return self._connect(deadline)

    def _release(self, connection: Connection | None) -> None:
        if connection is not None and connection.is_connected:
            self._idle.append(connection)
        self._permits.put(None)

    def _connect(self, deadline: float) -> Connection:
        """Open a connection with the permit that the caller holds.

        In a thread of its own, since the resolution of a name cannot be given a timeout, and several
        addresses have one each. What it opens too late is kept for the next call.
        """
        attempt: Future[Connection] = Future()
        try:
            Thread(target=self._open, args=(attempt,), daemon=True).start()
        except BaseException:
            self._release(None)
            raise
        try:
            return attempt.result(_left(deadline))
        except BaseException:
            if not attempt.cancel() and attempt.exception() is None:
                self._release(attempt.result())  # opened at the last moment
            raise

    def _open(self, attempt: "Future[Connection]") -> None:
        try:
            connection = self._make()
            connection.connect()
        except BaseException as error:
            self._release(None)
            if attempt.set_running_or_notify_cancel():
                attempt.set_exception(error)
            return
        if attempt.set_running_or_notify_cancel():
            attempt.set_result(connection)
        else:
            self._release(connection)


def _left(deadline: float) -> float:
    """The seconds until `deadline`; a passed one leaves a moment, since 0 is no timeout to a socket."""
    return max(deadline - time.monotonic(), 0.0001)


def _is_fresh(connection: Connection) -> bool:
    """Whether nothing has come on an idle connection: neither its end nor a reply nobody awaits."""
    try:
        return not connection.can_read()
    except Exception:
        return False


def _reply(connection: Connection) -> Any:
    try:
        return connection.read_response()
    except ResponseError as refusal:
        return refusal
