"""take, peek and reset, on the Redis of the tests."""

import os
import struct
import time
import uuid
from collections.abc import Iterator

import pytest
from django.conf import LazySettings
from django_redis import get_redis_connection
from redis import Redis

from ratelimit.limiter import (
    SCRIPT,
    SCRIPT_SHA1,
    Decision,
    LimiterUnavailable,
    Quota,
    default_limiter,
    window_key,
)

WINDOW = 60


@pytest.fixture
def tenant() -> uuid.UUID:
    return uuid.uuid4()


@pytest.fixture
def redis(settings: LazySettings) -> Iterator[Redis]:
    with Redis.from_url(settings.REDIS_URL, protocol=2) as client:
        yield client


def take(tenant: uuid.UUID, limit: int = 3, window_seconds: int = WINDOW) -> Decision:
    return default_limiter().take(tenant, limit=limit, window_seconds=window_seconds)


def used(tenant: uuid.UUID) -> int:
    return default_limiter().peek([Quota(tenant, 3, WINDOW)])[0].used


def test_units_are_taken_until_none_is_left(tenant: uuid.UUID) -> None:
    decisions = [take(tenant) for _ in range(5)]
    assert [decision.allowed for decision in decisions] == [True, True, True, False, False]
    assert [decision.remaining for decision in decisions] == [2, 1, 0, 0, 0]
    assert [decision.retry_after_us > 0 for decision in decisions] == [False] * 3 + [True] * 2
    assert {decision.limit for decision in decisions} == {3}
    assert {decision.window_seconds for decision in decisions} == {WINDOW}


def test_the_next_free_time_is_that_of_the_oldest_unit(tenant: uuid.UUID) -> None:
    first, *others = (take(tenant) for _ in range(4))
    assert first.next_free_us == WINDOW * 1_000_000
    free_at = first.server_time_us + first.next_free_us
    assert {other.server_time_us + other.next_free_us for other in others} == {free_at}
    assert others[-1].server_time_us + others[-1].retry_after_us == free_at


def test_the_clock_is_that_of_redis(tenant: uuid.UUID, redis: Redis) -> None:
    before, now, after = redis.time(), take(tenant).server_time_us, redis.time()
    assert before[0] * 1_000_000 + before[1] <= now <= after[0] * 1_000_000 + after[1]


def test_a_unit_is_free_again_one_window_after_it_was_taken(tenant: uuid.UUID) -> None:
    assert take(tenant, 1, window_seconds=1).allowed
    denied = take(tenant, 1, window_seconds=1)
    assert not denied.allowed
    time.sleep(denied.retry_after_us / 1_000_000)
    assert take(tenant, 1, window_seconds=1).allowed


def test_a_lowered_limit_denies_until_enough_units_are_free(tenant: uuid.UUID) -> None:
    taken_at = [take(tenant).server_time_us for _ in range(3)]
    denied = take(tenant, limit=1)
    assert (denied.allowed, denied.remaining) == (False, 0)
    window_us = WINDOW * 1_000_000
    assert denied.server_time_us + denied.retry_after_us == taken_at[2] + window_us
    assert denied.server_time_us + denied.next_free_us == taken_at[0] + window_us


def test_a_raised_limit_keeps_the_usage(tenant: uuid.UUID) -> None:
    for limit in (3, 1, 500, 2, 4):
        take(tenant, limit)
    assert used(tenant) == 3
    assert [take(tenant, limit).allowed for limit in (3, 4, 4, 200)] == [False, True, False, True]


def test_a_large_quota_is_counted_to_the_last_unit(tenant: uuid.UUID) -> None:
    remaining = [take(tenant, 1_000).remaining for _ in range(1_001)]
    assert remaining == [*range(999, -1, -1), 0]


def test_tenants_and_windows_have_units_of_their_own(tenant: uuid.UUID) -> None:
    assert take(tenant, 1).allowed
    assert take(uuid.uuid4(), 1).allowed
    assert take(tenant, 1, window_seconds=61).allowed


def test_peek_reports_the_usage_of_many_and_takes_nothing(tenant: uuid.UUID) -> None:
    idle = uuid.uuid4()
    last = [take(tenant) for _ in range(2)][-1]
    quotas = [Quota(idle, 5, WINDOW), Quota(tenant, 3, WINDOW), Quota(tenant, 1, WINDOW)]
    for _ in range(2):
        unused, within, exceeded = default_limiter().peek(quotas)
        assert (unused.limit, unused.window_seconds) == (5, WINDOW)
        assert (unused.used, unused.next_free_us) == (0, 0)
        assert (within.limit, within.used) == (3, 2)
        assert (exceeded.limit, exceeded.used) == (1, 2)
        assert 0 < within.next_free_us <= last.next_free_us


def test_peek_at_no_quota_is_empty() -> None:
    assert default_limiter().peek([]) == []


def test_reset_frees_all(tenant: uuid.UUID) -> None:
    for _ in range(3):
        take(tenant)
    default_limiter().reset(tenant, WINDOW)
    assert used(tenant) == 0
    assert take(tenant).remaining == 2


def test_the_script_is_sent_if_redis_does_not_have_it(tenant: uuid.UUID, redis: Redis) -> None:
    redis.script_flush()
    assert take(tenant).remaining == 2
    redis.script_flush()
    assert (
        default_limiter().peek([Quota(tenant, 3, WINDOW), Quota(uuid.uuid4(), 3, WINDOW)])[0].used
        == 1
    )
    assert redis.script_exists(SCRIPT_SHA1) == [True]


def test_a_window_lives_as_long_as_its_units(tenant: uuid.UUID, redis: Redis) -> None:
    take(tenant)
    lifetime = redis.pttl(window_key(tenant, WINDOW))
    assert WINDOW * 1_000 < lifetime <= (WINDOW + 1) * 1_000


def test_a_denial_changes_neither_the_log_nor_its_lifetime(tenant: uuid.UUID, redis: Redis) -> None:
    take(tenant, 1)
    key = window_key(tenant, WINDOW)
    redis.pexpire(key, 10_000)
    log = redis.get(key)
    assert not take(tenant, 1).allowed
    assert redis.pttl(key) <= 10_000
    assert redis.get(key) == log


def test_a_full_window_takes_four_bytes_a_unit(tenant: uuid.UUID, redis: Redis) -> None:
    for _ in range(1_000):
        take(tenant, 1_000)
    assert redis.strlen(window_key(tenant, WINDOW)) == 28 + 4 * 1_000


# The clock stepped back: the log has times in the future


def log(*units: int, newest: int, room: int = 4, oldest: int | None = None) -> bytes:
    """A log in the layout of the script; times are microseconds since the epoch."""
    first = units[0] if oldest is None else oldest
    header = struct.pack("<IIIdd", 0, len(units), room, first, newest)
    return header + struct.pack(
        f"<{room}I", *(unit % 2**32 for unit in units), *[0] * (room - len(units))
    )


def clock_us(redis: Redis) -> int:
    seconds, microseconds = redis.time()
    return int(seconds) * 1_000_000 + int(microseconds)


def test_a_clock_set_back_by_a_day_denies_calls_for_one_window_only(
    tenant: uuid.UUID, redis: Redis
) -> None:
    tomorrow = clock_us(redis) + 86_400_000_000
    key = window_key(tenant, WINDOW)
    redis.set(key, log(tomorrow, tomorrow, newest=tomorrow), px=86_460_000)
    denied = take(tenant, 2)
    assert not denied.allowed
    assert denied.server_time_us + denied.retry_after_us == tomorrow + WINDOW * 1_000_000
    assert redis.pttl(key) <= (WINDOW + 1) * 1_000


def test_a_clock_set_back_counts_on_from_the_newest_unit(tenant: uuid.UUID, redis: Redis) -> None:
    soon = clock_us(redis) + 5_000_000
    redis.set(window_key(tenant, WINDOW), log(soon, newest=soon), px=70_000)
    assert [take(tenant, 3).remaining for _ in range(3)] == [1, 0, 0]


def test_a_broken_log_does_not_hang_the_server(tenant: uuid.UUID, redis: Redis) -> None:
    now = clock_us(redis)
    old = [now - 120_000_000] * 4
    redis.set(window_key(tenant, WINDOW), log(*old, newest=now))
    take(tenant)
    assert redis.ping()


@pytest.mark.parametrize("value", ["x", b"\x00" * 27, b"\xff" * 400, b"\x7f" * 28])
def test_a_foreign_value_is_an_error(tenant: uuid.UUID, redis: Redis, value: bytes) -> None:
    redis.set(window_key(tenant, WINDOW), value)
    with pytest.raises(LimiterUnavailable):
        take(tenant)


# The client of the settings


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_opens_its_own_connections(tenant: uuid.UUID) -> None:
    take(tenant)
    if not (child := os.fork()):
        remaining = -1
        try:
            remaining = take(tenant).remaining
        finally:
            os._exit(remaining)
    remaining = take(tenant).remaining
    _, status = os.waitpid(child, 0)
    assert {remaining, os.waitstatus_to_exitcode(status)} == {0, 1}


def test_it_follows_the_settings(settings: LazySettings, tenant: uuid.UUID) -> None:
    cache = settings.CACHES["default"]
    settings.CACHES = {"default": cache | {"LOCATION": "unix:///nowhere/redis.sock"}}
    with pytest.raises(LimiterUnavailable, match="ConnectionError"):
        take(tenant)


def test_the_timeouts_add_up_to_that_of_the_settings(settings: LazySettings) -> None:
    options = settings.CACHES["default"]["OPTIONS"]
    seconds = options["SOCKET_CONNECT_TIMEOUT"] + options["SOCKET_TIMEOUT"]
    assert seconds == pytest.approx(settings.RATE_LIMIT_TIMEOUT_MS / 1000)


def test_there_is_a_connection_for_each_request_in_progress(settings: LazySettings) -> None:
    pool = get_redis_connection("default").connection_pool
    assert pool.max_connections >= settings.WEB_CONNECTIONS


def test_the_script_has_a_header_comment() -> None:
    opening = SCRIPT.split("\n\n")[0]
    assert all(word in opening for word in ("KEYS[1]", "ARGV[1]", "ARGV[2]", "Result", "Layout"))
