"""Redis is killed, stopped, out of memory, a replica, restarted: calls fail in time, then work again."""

import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
from redis.exceptions import RedisError

from ratelimit.limiter import Limiter, LimiterUnavailable, Quota, window_key
from tests.own_redis import (
    IN_TIME_SECONDS,
    WINDOW,
    OwnRedis,
    is_refused_in_time,
    own_redis,
    refusals,
    seconds_to_refuse,
    take,
)

LONG_TIMEOUT_MS = 10_000  # for tests that are not about time


@pytest.fixture(params=["tcp", "unix"])
def server(request: pytest.FixtureRequest) -> Iterator[OwnRedis]:
    with own_redis(unix=request.param == "unix") as redis:
        yield redis


@pytest.fixture
def tenant() -> uuid.UUID:
    return uuid.uuid4()


def used(limiter: Limiter, tenant: uuid.UUID) -> int:
    (usage,) = limiter.peek([Quota(tenant, 100, WINDOW)])
    return usage.used


def recovers(limiter: Limiter, tenant: uuid.UUID) -> int:
    """Return the number of calls until one succeeds within a second, or 0 if none does."""
    deadline, calls = time.monotonic() + 1, 0
    while time.monotonic() < deadline:
        calls += 1
        with suppress(LimiterUnavailable):
            take(limiter, tenant)
            return calls
        time.sleep(0.01)
    return 0


def connection_ids(server: OwnRedis) -> set[str]:
    """Return the ids of the connections on the server, except that of the test."""
    own = str(server.client.client_id())
    return {client["id"] for client in server.client.client_list()} - {own}


def in_threads(count: int, call: Callable[[], Any]) -> list[Any]:
    """Return the results or the errors of `count` simultaneous calls."""
    barrier = threading.Barrier(count)

    def wait_and_call() -> Any:
        barrier.wait()
        try:
            return call()
        except LimiterUnavailable as error:
            return error

    with ThreadPoolExecutor(count) as pool:
        return [future.result() for future in [pool.submit(wait_and_call) for _ in range(count)]]


def test_a_killed_server(server: OwnRedis, tenant: uuid.UUID) -> None:
    limiter = server.limiter()
    take(limiter, tenant)
    server.kill()
    assert is_refused_in_time(lambda: take(limiter, tenant))
    server.start()
    assert recovers(limiter, tenant)


def test_a_stopped_server(server: OwnRedis, tenant: uuid.UUID) -> None:
    limiter = server.limiter()
    take(limiter, tenant)
    with server.halted():
        seconds = refusals(lambda: take(limiter, tenant))
    assert seconds[-1] <= IN_TIME_SECONDS
    assert (calls := recovers(limiter, tenant))
    # Each call was executed at most once, the first and the last exactly once.
    assert 2 <= used(limiter, tenant) <= 1 + len(seconds) + calls


def test_a_stall_longer_than_the_timeout_executes_a_call_at_most_once(
    server: OwnRedis, tenant: uuid.UUID
) -> None:
    limiter = server.limiter()
    take(limiter, tenant)
    with server.halted():
        start = time.monotonic()
        seconds_to_refuse(lambda: take(limiter, tenant))
        time.sleep(max(0.35 - (time.monotonic() - start), 0))
    assert (calls := recovers(limiter, tenant))
    assert used(limiter, tenant) <= 2 + calls


def test_a_stall_shorter_than_the_timeout_is_waited_for(
    server: OwnRedis, tenant: uuid.UUID
) -> None:
    limiter = server.limiter()
    take(limiter, tenant)
    server.signal(signal.SIGSTOP)
    timer = threading.Timer(0.1, server.signal, [signal.SIGCONT])
    timer.start()
    assert take(limiter, tenant).remaining == 98
    timer.join()


def test_simultaneous_calls_are_all_refused_in_time(server: OwnRedis, tenant: uuid.UUID) -> None:
    limiter = server.limiter()
    take(limiter, tenant)
    with server.halted():
        start = time.monotonic()
        results = in_threads(8, lambda: take(limiter, tenant))
        seconds = time.monotonic() - start
    assert all(isinstance(result, LimiterUnavailable) for result in results)
    assert seconds <= IN_TIME_SECONDS + 0.2  # eight threads and their start, on a busy machine
    assert recovers(limiter, tenant)


def test_connections_closed_by_a_restart_fail_no_call(server: OwnRedis, tenant: uuid.UUID) -> None:
    limiter = server.limiter(timeout_ms=LONG_TIMEOUT_MS)
    in_threads(8, lambda: take(limiter, tenant))
    server.kill()
    server.start()
    # The restart emptied the memory and closed the connections; they are replaced before use.
    results = in_threads(8, lambda: take(limiter, tenant))
    assert sorted(result.remaining for result in results) == list(range(92, 100))


def test_scripts_flushed_under_load(server: OwnRedis, tenant: uuid.UUID) -> None:
    limiter = server.limiter(timeout_ms=LONG_TIMEOUT_MS)
    done = threading.Event()

    def flush() -> None:
        while not done.is_set():
            server.client.script_flush()

    flusher = threading.Thread(target=flush)
    flusher.start()
    try:
        results = [
            decision
            for _ in range(30)
            for decision in in_threads(8, lambda: take(limiter, tenant, limit=150))
        ]
    finally:
        done.set()
        flusher.join()
    assert sum(decision.allowed for decision in results) == 150


def test_out_of_memory(server: OwnRedis, tenant: uuid.UUID) -> None:
    limiter = server.limiter()
    take(limiter, tenant, limit=1)
    server.client.config_set("maxmemory", 1)
    assert is_refused_in_time(lambda: take(limiter, tenant))
    # A denial writes nothing, so it still works.
    assert not take(limiter, tenant, limit=1).allowed
    server.client.config_set("maxmemory", 0)
    assert take(limiter, tenant).remaining == 98


def test_replica(server: OwnRedis, tenant: uuid.UUID) -> None:
    limiter = server.limiter()
    take(limiter, tenant)
    server.client.replicaof("127.0.0.1", "1")
    assert is_refused_in_time(lambda: take(limiter, tenant))
    server.client.replicaof("NO", "ONE")
    assert take(limiter, tenant).remaining == 98


def test_a_foreign_value_under_the_key(server: OwnRedis, tenant: uuid.UUID) -> None:
    limiter = server.limiter()
    key = window_key(tenant, WINDOW)
    for foreign in (["LPUSH", key, "x"], ["SET", key, "x"], ["SET", key, b"\x7f" * 29]):
        server.client.execute_command(*foreign)
        assert is_refused_in_time(lambda: take(limiter, tenant))
        assert take(limiter, uuid.uuid4()).allowed
        limiter.reset(tenant, WINDOW)
        assert take(limiter, tenant).remaining == 99
        limiter.reset(tenant, WINDOW)


def test_another_script_that_does_not_end(server: OwnRedis, tenant: uuid.UUID) -> None:
    limiter = server.limiter()
    take(limiter, tenant)
    server.client.config_set("lua-time-limit", 50)
    endless = threading.Thread(target=_run_endless_script, args=[server])
    endless.start()
    time.sleep(0.02)
    assert is_refused_in_time(lambda: take(limiter, tenant))
    server.client.script_kill()
    endless.join()
    assert recovers(limiter, tenant)


def _run_endless_script(server: OwnRedis) -> None:
    with suppress(RedisError):
        server.client.eval("while true do end", 0)


def test_after_a_failure_the_idle_connections_are_replaced(
    server: OwnRedis, tenant: uuid.UUID
) -> None:
    """Each of them could fail one more call if the host is lost."""
    limiter = server.limiter()
    in_threads(8, lambda: take(limiter, tenant))
    before = connection_ids(server)
    with server.halted():
        refusals(lambda: take(limiter, tenant))
    assert recovers(limiter, tenant)
    assert not before & connection_ids(server)


def test_a_foreign_value_costs_no_connection(server: OwnRedis, tenant: uuid.UUID) -> None:
    limiter = server.limiter()
    before = connection_ids(server)
    server.client.set(window_key(tenant, WINDOW), "x")
    assert is_refused_in_time(lambda: take(limiter, tenant))
    assert connection_ids(server) == before
