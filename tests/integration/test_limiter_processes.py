"""Many processes use one quota: exactly as many calls are admitted as it has units."""

import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier

import pytest

from tests.own_redis import OwnRedis, limiter_at, own_redis

PROCESSES = 6
SURPLUS = 25
WINDOW = 2_000
LONG_TIMEOUT_MS = 10_000  # the machine is busy, and these tests are not about time


@pytest.fixture(scope="module")
def server() -> Iterator[OwnRedis]:
    with own_redis() as redis:
        yield redis


def take_all(
    url: str, tenant: uuid.UUID, limit: int, start: Barrier
) -> tuple[int, set[int], set[int]]:
    """Take the whole quota and more, in a child process.

    Return the number of admitted calls, and `remaining` of the admitted and of the denied calls.
    """
    limiter = limiter_at(url, timeout_ms=LONG_TIMEOUT_MS)
    start.wait()
    remaining: dict[bool, list[int]] = {True: [], False: []}
    for _ in range(limit + SURPLUS):
        decision = limiter.take(tenant, limit=limit, window_seconds=WINDOW)
        remaining[decision.allowed].append(decision.remaining)
    return len(remaining[True]), set(remaining[True]), set(remaining[False])


@contextmanager
def scripts_flushed(server: OwnRedis) -> Iterator[None]:
    """Flush the scripts of the server repeatedly."""
    done = threading.Event()

    def flush() -> None:
        while not done.wait(0.001):
            server.client.script_flush()

    thread = threading.Thread(target=flush)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def compete(server: OwnRedis, limit: int) -> None:
    """Start the processes and compare all their decisions."""
    spawn, tenant = get_context("spawn"), uuid.uuid4()
    with spawn.Manager() as manager, spawn.Pool(PROCESSES) as pool:
        start = manager.Barrier(PROCESSES)
        jobs = [(server.url, tenant, limit, start)] * PROCESSES
        counts, admitted, denied = zip(*pool.starmap(take_all, jobs, chunksize=1), strict=True)
    assert sum(counts) == limit
    # Each unit was taken by exactly one process.
    assert sum(map(len, admitted)) == limit
    assert set().union(*admitted) == set(range(limit))
    assert set().union(*denied) == {0}


@pytest.mark.slow
@pytest.mark.parametrize("limit", [1, 100, 10_000])
def test_exactly_the_quota_passes(server: OwnRedis, limit: int) -> None:
    compete(server, limit)


@pytest.mark.slow
@pytest.mark.parametrize("limit", [1, 100, 10_000])
def test_exactly_the_quota_passes_while_scripts_are_flushed(server: OwnRedis, limit: int) -> None:
    with scripts_flushed(server):
        compete(server, limit)
