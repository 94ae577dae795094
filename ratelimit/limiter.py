"""The rate limiter: an exact sliding window for each tenant, kept in Redis, and the slots of its runs.

The algorithm is in `sliding_window.lua`. A check is one round trip, also with slots and an idempotency key
(`admission.lua`), and it is never sent again if Redis may have executed it: the client is configured without
retries (`CACHES` in the settings), and EVAL follows EVALSHA only after NOSCRIPT, which means that nothing was
executed. Every failure is one exception, `LimiterUnavailable`.
"""

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha1
from pathlib import Path
from typing import Any, Literal

from django_redis import get_redis_connection
from redis import Redis, exceptions


def _script(name: str) -> str:
    return (Path(__file__).parent / name).read_text(encoding="utf-8")


def _sha1(script: str) -> str:
    return sha1(script.encode(), usedforsecurity=False).hexdigest()


SCRIPT = _script("sliding_window.lua")
SCRIPT_SHA1 = _sha1(SCRIPT)
ADMISSION = f"local function take()\n{SCRIPT}\nend\n{_script('admission.lua')}"
_ADMISSION_SHA1 = _sha1(ADMISSION)
TAKE_SLOT = _script("take_slot.lua")
_TAKE_SLOT_SHA1 = _sha1(TAKE_SLOT)

# Of a slot and an idempotency key. The process that holds them extends it.
LEASE_MS = 15_000

# A limit of 0 admits no call, so the script changes nothing.
_READ_ONLY_LIMIT = 0
# After these errors the idle connections may lead to a lost host or to a former primary as well.
_CONNECTION_ERRORS = (
    exceptions.ConnectionError,
    exceptions.TimeoutError,
    exceptions.ReadOnlyError,
)
_FIVE_INTEGERS = [int] * 5


# Why a run was refused: the quota is used up, no slot is free, or another run uses the idempotency key.
Refusal = Literal["", "quota", "slots", "key"]
_REFUSALS: Mapping[int, Refusal] = {0: "quota", 1: "", 2: "slots", 3: "key"}


class LimiterUnavailable(Exception):
    """Redis did not reply in time, or the reply is not valid. The text is for logs only."""


@dataclass(frozen=True, slots=True)
class Decision:
    """The result of one check. Times are in microseconds of Redis' clock."""

    allowed: bool
    limit: int
    window_seconds: int
    remaining: int
    retry_after_us: int  # until a call can be admitted; 0 if this one was
    next_free_us: int  # until the oldest unit is free
    server_time_us: int  # since the epoch
    refusal: Refusal = ""

    @property
    def retry_after_seconds(self) -> int:
        """Whole seconds, at least 1, after which a call can be admitted."""
        return max(_ceil_seconds(self.retry_after_us), 1)

    @property
    def reset_after_seconds(self) -> int:
        """Whole seconds until the oldest unit is free."""
        return _ceil_seconds(self.next_free_us)

    @property
    def reset_epoch_seconds(self) -> int:
        """The first whole second since the epoch at which the oldest unit is free."""
        return _ceil_seconds(self.server_time_us + self.next_free_us)


@dataclass(frozen=True, slots=True)
class Quota:
    """The quota of a tenant: `limit` calls in any `window_seconds`."""

    tenant_id: uuid.UUID
    limit: int
    window_seconds: int


@dataclass(frozen=True, slots=True)
class Usage:
    """The number of units of a quota in use."""

    limit: int
    window_seconds: int
    used: int  # exceeds `limit` for up to a window after the limit was lowered
    next_free_us: int  # until the oldest unit is free; 0 if none is in use

    @property
    def remaining(self) -> int:
        """The number of units that are free."""
        return max(self.limit - self.used, 0)

    @property
    def reset_after_seconds(self) -> int:
        """Whole seconds until the oldest unit is free."""
        return _ceil_seconds(self.next_free_us)


@dataclass(frozen=True, slots=True)
class Lease:
    """What a run holds in Redis: a slot, and its idempotency key (empty: none)."""

    tenant_id: uuid.UUID
    token: str
    has_slot: bool
    idempotency_key: str = ""


class Limiter:
    """The sliding windows in one Redis. Safe to share between threads and greenlets."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def take(self, tenant_id: uuid.UUID, *, limit: int, window_seconds: int) -> Decision:
        """Take one unit of the tenant's quota if one is free.

        Raises LimiterUnavailable; it is then unknown whether a unit was taken.
        """
        key = window_key(tenant_id, window_seconds)
        with self._failing_closed():
            reply = self._run(SCRIPT, SCRIPT_SHA1, [key], limit, window_seconds)
            return _decision(limit, window_seconds, reply)

    def admit(
        self,
        tenant_id: uuid.UUID,
        *,
        limit: int,
        window_seconds: int,
        slots: int | None,
        token: str,
        idempotency_key: str = "",
    ) -> Decision:
        """Take one unit, and also a slot (`slots`: their number, None: not limited) and the idempotency key.

        Takes all or nothing. Slot and key are held by the token, until `release` or the end of the lease.
        Raises LimiterUnavailable.
        """
        keys = [
            window_key(tenant_id, window_seconds),
            slots_key(tenant_id),
            idempotency_redis_key(tenant_id, idempotency_key),
        ]
        numbers = (limit, window_seconds, slots or 0)
        has_key = int(bool(idempotency_key))
        with self._failing_closed():
            reply = self._run(ADMISSION, _ADMISSION_SHA1, keys, *numbers, token, LEASE_MS, has_key)
            return _decision(limit, window_seconds, reply, most=3)

    def take_slot(self, tenant_id: uuid.UUID, *, slots: int, token: str) -> bool:
        """Take a slot without a unit. Return False if none is free. Raises LimiterUnavailable."""
        with self._failing_closed():
            keys = [slots_key(tenant_id)]
            reply = self._run(TAKE_SLOT, _TAKE_SLOT_SHA1, keys, slots, token, LEASE_MS)
            if reply not in {0, 1}:
                raise ValueError(f"The script's reply is neither 0 nor 1: {reply!r:.200}")
            return bool(reply)

    def extend(self, leases: Iterable[Lease]) -> None:
        """Extend leases by `LEASE_MS`. Raises LimiterUnavailable."""
        with self._failing_closed(), self._redis.pipeline(transaction=False) as pipeline:
            seconds, microseconds = self._redis.time()
            expires_at_ms = seconds * 1000 + microseconds // 1000 + LEASE_MS
            for lease in leases:
                if lease.has_slot:
                    # Not again after a release at the same moment.
                    pipeline.zadd(slots_key(lease.tenant_id), {lease.token: expires_at_ms}, xx=True)
                    pipeline.pexpire(slots_key(lease.tenant_id), 2 * LEASE_MS)
                if lease.idempotency_key:
                    key = idempotency_redis_key(lease.tenant_id, lease.idempotency_key)
                    pipeline.set(key, lease.token, px=LEASE_MS, xx=True)
            pipeline.execute()

    def release(self, lease: Lease) -> None:
        """Free a slot and an idempotency key. Raises LimiterUnavailable."""
        with self._failing_closed(), self._redis.pipeline(transaction=False) as pipeline:
            if lease.has_slot:
                pipeline.zrem(slots_key(lease.tenant_id), lease.token)
            if lease.idempotency_key:
                pipeline.delete(idempotency_redis_key(lease.tenant_id, lease.idempotency_key))
            pipeline.execute()

    def peek(self, quotas: Sequence[Quota]) -> list[Usage]:
        """Return the usage of each quota, in order, in one round trip. Takes no unit.

        Raises LimiterUnavailable.
        """
        if not quotas:
            return []
        with self._failing_closed(), self._redis.pipeline(transaction=False) as pipeline:
            pipeline.script_load(SCRIPT)
            for quota in quotas:
                key = window_key(quota.tenant_id, quota.window_seconds)
                pipeline.evalsha(SCRIPT_SHA1, 1, key, _READ_ONLY_LIMIT, quota.window_seconds)
            _, *replies = pipeline.execute()
            return [_usage(quota, reply) for quota, reply in zip(quotas, replies, strict=True)]

    def reset(self, tenant_id: uuid.UUID, window_seconds: int) -> None:
        """Free all units of the tenant. Raises LimiterUnavailable."""
        with self._failing_closed():
            self._redis.delete(window_key(tenant_id, window_seconds))

    def _run(self, script: str, sha: str, keys: Sequence[str], *arguments: str | int) -> Any:
        try:
            return self._redis.evalsha(sha, len(keys), *keys, *arguments)
        except exceptions.NoScriptError:
            return self._redis.eval(script, len(keys), *keys, *arguments)

    @contextmanager
    def _failing_closed(self) -> Iterator[None]:
        """Raise LimiterUnavailable in place of every exception of the block."""
        try:
            yield
        except Exception as error:
            if isinstance(error, _CONNECTION_ERRORS):
                self._redis.connection_pool.disconnect(inuse_connections=False)
            raise LimiterUnavailable(f"{type(error).__name__}: {error}") from error


def default_limiter() -> Limiter:
    """Return a limiter on the default cache's Redis; all of them share its connection pool."""
    return Limiter(get_redis_connection("default"))


def window_key(tenant_id: uuid.UUID, window_seconds: int) -> str:
    """Return the Redis key of a tenant's log; 1 is the version of its layout."""
    return f"ratelimit:1:{{{tenant_id}}}:{window_seconds}"


def slots_key(tenant_id: uuid.UUID) -> str:
    """Return the Redis key of a tenant's slots."""
    return f"slots:1:{{{tenant_id}}}"


def idempotency_redis_key(tenant_id: uuid.UUID, key: str) -> str:
    """Return the Redis key that says which run uses an idempotency key."""
    return f"idempotency:1:{{{tenant_id}}}:{key}"


def _decision(limit: int, window_seconds: int, reply: Any, *, most: int = 1) -> Decision:
    admitted, used, retry_after_us, next_free_us, server_time_us = _integers(reply)
    is_consistent = {0: used >= limit, 1: 1 <= used <= limit}.get(admitted, admitted <= most)
    if not is_consistent:
        raise ValueError(f"The script's reply is not consistent: {reply!r:.200}")
    return Decision(
        allowed=admitted == 1,
        limit=limit,
        window_seconds=window_seconds,
        remaining=max(limit - used, 0),
        retry_after_us=retry_after_us,
        next_free_us=next_free_us,
        server_time_us=server_time_us,
        refusal=_REFUSALS[admitted],
    )


def _usage(quota: Quota, reply: Any) -> Usage:
    _, used, _, next_free_us, _ = _integers(reply)
    return Usage(quota.limit, quota.window_seconds, used, next_free_us)


def _integers(reply: Any) -> list[int]:
    """Return the script's five integers. Raises ValueError if `reply` is anything else."""
    if not isinstance(reply, list) or [*map(type, reply)] != _FIVE_INTEGERS or min(reply) < 0:
        raise ValueError(f"The script's reply is not five integers: {reply!r:.200}")
    return reply


def _ceil_seconds(microseconds: int) -> int:
    return -(-microseconds // 1_000_000)
