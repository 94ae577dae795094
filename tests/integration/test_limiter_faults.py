"""Redis killed, halted, starved, demoted, restarted, talking nonsense: 503 in time, and back by itself."""

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
    TIMEOUT_SECONDS,
    WINDOW,
    OwnRedis,
    is_refused_in_time,
    own_redis,
    refusals,
    seconds_to_refuse,
    take,
)

PATIENT_SECONDS = 10  # where the test is not about time


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
    """After how many calls they get through again, with no help, within a second; else 0."""
    deadline, calls = time.monotonic() + 1, 0
    while time.monotonic() < deadline:
        calls += 1
        with suppress(LimiterUnavailable):
            take(limiter, tenant)
            return calls
        time.sleep(0.01)
    return 0


def in_threads(count: int, call: Callable[[], Any]) -> list[Any]:
    """What `count` simultaneous calls return, or raise."""
    barrier = threading.Barrier(count)

    def one() -> Any:
        barrier.wait()
        try:
            return call()
        except LimiterUnavailable as error:
            return error

    with ThreadPoolExecutor(count) as pool:
        return [future.result() for future in [pool.submit(one) for _ in range(count)]]


def test_killed(server: OwnRedis, tenant: uuid.UUID) -> None:
    limiter = server.limiter()
    take(limiter, tenant)
    server.kill()
    assert is_refused_in_time(lambda: take(limiter, tenant))
    server.start()
    assert recovers(limiter, tenant)


def test_halted(server: OwnRedis, tenant: uuid.UUID) -> None:
    limiter = server.limiter()
    take(limiter, tenant)
    with server.halted():
        seconds = refusals(lambda: take(limiter, tenant))
    assert seconds[-1] <= IN_TIME_SECONDS
    assert (calls := recovers(limiter, tenant))
    # Each call was executed once or not at all; the first and the last were.
    assert 2 <= used(limiter, tenant) <= 1 + len(seconds) + calls


def test_a_stall_longer_than_the_timeout_executes_a_call_at_most_once(
    server: OwnRedis, tenant: uuid.UUID
) -> None:
    limiter = server.limiter()
    take(limiter, tenant)
    with server.halted():
        start = time.monotonic()
        assert seconds_to_refuse(lambda: take(limiter, tenant)) >= TIMEOUT_SECONDS
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


def test_many_waiting_for_few_connections_are_all_refused_in_time(
    server: OwnRedis, tenant: uuid.UUID
) -> None:
    limiter = server.limiter(connections=1)
    take(limiter, tenant)
    with server.halted():
        start = time.monotonic()
        results = in_threads(8, lambda: take(limiter, tenant))
        seconds = time.monotonic() - start
    assert all(isinstance(result, LimiterUnavailable) for result in results)
    assert seconds <= IN_TIME_SECONDS + 0.2  # eight threads and their start, on a busy machine
    assert recovers(limiter, tenant)


def test_a_restart_costs_no_call_for_the_connections_left_over(
    server: OwnRedis, tenant: uuid.UUID
) -> None:
    limiter = server.limiter(timeout_seconds=PATIENT_SECONDS)
    in_threads(8, lambda: take(limiter, tenant))
    server.kill()
    server.start()
    # What was in memory is gone; the first call of each of the old connections passes all the same.
    results = in_threads(8, lambda: take(limiter, tenant))
    assert sorted(result.remaining for result in results) == list(range(92, 100))


def test_scripts_flushed_in_mid_load(server: OwnRedis, tenant: uuid.UUID) -> None:
    limiter = server.limiter(timeout_seconds=PATIENT_SECONDS)
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
    # A denial writes nothing, and is answered.
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


def test_something_else_under_the_key(server: OwnRedis, tenant: uuid.UUID) -> None:
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


def test_a_connection_made_too_late_serves_the_next_call(
    server: OwnRedis, monkeypatch: pytest.MonkeyPatch, tenant: uuid.UUID
) -> None:
    limiter = server.limiter(connections=1)
    connections = limiter._connections
    connections.forget()
    make, made = connections._make, threading.Event()

    def slow() -> Any:
        made.wait(10)
        return make()

    monkeypatch.setattr(connections, "_make", slow)
    assert seconds_to_refuse(lambda: take(limiter, tenant)) < 1
    made.set()
    assert recovers(limiter, tenant)
