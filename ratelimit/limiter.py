"""The decision whether one more run call of a tenant may pass, and how much of a quota is in use.

The algorithm, an exact log of the admitted calls on the clock of Redis, stands in
`sliding_window.lua`. It is executed at most once for a call: nothing is sent again that may have
been executed. Whatever goes wrong with Redis is one exception, `LimiterUnavailable`.
"""

import os
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from hashlib import sha1
from pathlib import Path
from typing import Any

from django.core.signals import setting_changed
from django_redis import get_redis_connection
from redis.connection import ConnectionPool
from redis.exceptions import NoScriptError, ReadOnlyError, ResponseError

from ratelimit.connections import Command, Connections

SCRIPT = (Path(__file__).parent / "sliding_window.lua").read_bytes()
SCRIPT_SHA1 = sha1(SCRIPT, usedforsecurity=False).hexdigest()
ONLY_ASK = 0  # as a limit: nothing passes, so nothing is taken

FIVE_INTEGERS = [int] * 5


class LimiterUnavailable(Exception):
    """Redis gave no answer in time, or none that can be trusted. The text is for the log alone."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What became of one call, in microseconds of Redis' clock (`server_time_us`: since the epoch)."""

    allowed: bool
    limit: int
    window_seconds: int
    remaining: int
    retry_after_us: int  # until a call gets through; 0 if this one did
    next_free_us: int  # until the oldest unit comes free
    server_time_us: int

    @property
    def retry_after_seconds(self) -> int:
        """Whole seconds, at least 1; a call after so long a wait gets through."""
        return max(_seconds_up(self.retry_after_us), 1)

    @property
    def reset_after_seconds(self) -> int:
        """Whole seconds until the oldest unit is free."""
        return _seconds_up(self.next_free_us)

    @property
    def reset_epoch_seconds(self) -> int:
        """The first whole second since the epoch at which the oldest unit is free."""
        return _seconds_up(self.server_time_us + self.next_free_us)


@dataclass(frozen=True, slots=True)
class Usage:
    """How much of a quota is in use at `server_time_us`."""

    limit: int
    window_seconds: int
    used: int  # more than `limit` for a while after the limit was lowered
    next_free_us: int  # until the oldest unit comes free; 0 if none is taken
    all_free_us: int  # until the newest does
    server_time_us: int

    @property
    def remaining(self) -> int:
        """How many calls would pass now."""
        return max(self.limit - self.used, 0)


@dataclass(frozen=True, slots=True)
class Quota:
    """Whose use is asked for, and against which quota."""

    tenant_id: uuid.UUID
    limit: int
    window_seconds: int


class Limiter:
    """The sliding windows that one Redis keeps. Safe for threads."""

    def __init__(self, pool: ConnectionPool) -> None:
        """Reach the server of `pool`; its `socket_timeout` bounds each call as a whole."""
        self._connections = Connections(pool)

    def take(self, tenant_id: uuid.UUID, *, limit: int, window_seconds: int) -> Decision:
        """Take a unit of the tenant's quota if one is free; one round trip.

        Raises LimiterUnavailable; it is unknown then whether a unit was taken.
        """
        call = (1, window_key(tenant_id, window_seconds), limit, window_seconds)
        with self._in_time() as deadline:
            (answer,) = self._execute([call], deadline)
            return _decision(limit, window_seconds, answer)

    def peek(self, quotas: Sequence[Quota]) -> list[Usage]:
        """How much of each quota is in use, in their order; takes nothing; one round trip.

        Raises LimiterUnavailable.
        """
        if not quotas:
            return []
        windows = [(quota.tenant_id, quota.window_seconds) for quota in quotas]
        calls = [(1, window_key(*window), ONLY_ASK, window[1]) for window in windows]
        with self._in_time() as deadline:
            answers = self._execute(calls, deadline)
            return [_usage(quota, answer) for quota, answer in zip(quotas, answers, strict=True)]

    def reset(self, tenant_id: uuid.UUID, window_seconds: int) -> None:
        """Free all units of the tenant. Raises LimiterUnavailable."""
        with self._in_time() as deadline:
            (answer,) = self._connections.exchange(
                [("DEL", window_key(tenant_id, window_seconds))], deadline
            )
            _unless_refused(answer)

    @contextmanager
    def _in_time(self) -> Iterator[float]:
        """A deadline for the block, and one exception for all that it may raise: fail closed."""
        try:
            yield time.monotonic() + self._connections.timeout_seconds
        except Exception as error:
            # A refusal shows a server that is well, except that a replica may have been the master.
            if not isinstance(error, ResponseError) or isinstance(error, ReadOnlyError):
                self._connections.forget()
            raise LimiterUnavailable(f"{type(error).__name__}: {error}") from error

    def _execute(self, calls: Sequence[Command], deadline: float) -> list[Any]:
        """Execute the script once for each of `calls`, its keys and arguments."""
        commands = [("EVALSHA", SCRIPT_SHA1, *call) for call in calls]
        answers = self._connections.exchange(commands, deadline)
        # Only these are known not to have been executed. EVAL keeps the script for those after it.
        missed = [n for n, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
        if missed:
            again: list[Command] = [commands[n] for n in missed]
            again[0] = ("EVAL", SCRIPT, *calls[missed[0]])
            for n, answer in zip(missed, self._connections.exchange(again, deadline), strict=True):
                answers[n] = answer
        return [_unless_refused(answer) for answer in answers]


def take(tenant_id: uuid.UUID, *, limit: int, window_seconds: int) -> Decision:
    """`Limiter.take` on the Redis of the settings."""
    return default_limiter().take(tenant_id, limit=limit, window_seconds=window_seconds)


def peek(quotas: Sequence[Quota]) -> list[Usage]:
    """`Limiter.peek` on the Redis of the settings."""
    return default_limiter().peek(quotas)


def reset(tenant_id: uuid.UUID, window_seconds: int) -> None:
    """`Limiter.reset` on the Redis of the settings."""
    default_limiter().reset(tenant_id, window_seconds)


@cache
def default_limiter() -> Limiter:
    """The limiter of this process on django-redis' default cache; a fork makes another."""
    return Limiter(get_redis_connection("default").connection_pool)


def window_key(tenant_id: uuid.UUID, window_seconds: int) -> str:
    """Where the log of a tenant and a window stands; 1 is the version of its layout."""
    return f"ratelimit:1:{{{tenant_id}}}:{window_seconds}"


def _decision(limit: int, window_seconds: int, answer: Any) -> Decision:
    admitted, used, retry_after_us, next_free_us, clock_us = _integers(answer)
    if admitted > 1 or not (1 <= used <= limit if admitted else used >= limit):
        raise ValueError(f"The limiter's script contradicts itself: {answer!r:.200}")
    return Decision(
        allowed=bool(admitted),
        limit=limit,
        window_seconds=window_seconds,
        remaining=max(limit - used, 0),
        retry_after_us=retry_after_us,
        next_free_us=next_free_us,
        server_time_us=clock_us,
    )


def _usage(quota: Quota, answer: Any) -> Usage:
    _, used, all_free_us, next_free_us, clock_us = _integers(answer)
    return Usage(quota.limit, quota.window_seconds, used, next_free_us, all_free_us, clock_us)


def _integers(answer: Any) -> list[int]:
    """The script's result, if `answer` is one."""
    if not isinstance(answer, list) or [*map(type, answer)] != FIVE_INTEGERS or min(answer) < 0:
        raise ValueError(f"The limiter's script gave no five numbers: {answer!r:.200}")
    return answer


def _unless_refused(answer: Any) -> Any:
    if isinstance(answer, ResponseError):
        raise answer
    return answer


def _seconds_up(microseconds: int) -> int:
    return -(-microseconds // 1_000_000)


def _start_anew(**_: Any) -> None:
    default_limiter.cache_clear()


os.register_at_fork(after_in_child=_start_anew)
setting_changed.connect(_start_anew)
