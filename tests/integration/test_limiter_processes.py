"""Many processes on one quota: exactly as many calls pass as it has units."""

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
PATIENT_SECONDS = 10  # nothing here is about time, and the machine is as busy as can be


@pytest.fixture(scope="module")
def server() -> Iterator[OwnRedis]:
    with own_redis() as redis:
        yield redis


def take_all(
    url: str, tenant: uuid.UUID, limit: int, start: Barrier
) -> tuple[int, set[int], set[int]]:
    """In a process of its own: admitted calls, what they left, and what denials left."""
    limiter = limiter_at(url, timeout_seconds=PATIENT_SECONDS)
    start.wait()
    left: dict[bool, list[int]] = {True: [], False: []}
    for _ in range(limit + SURPLUS):
        decision = limiter.take(tenant, limit=limit, window_seconds=WINDOW)
        left[decision.allowed].append(decision.remaining)
    return len(left[True]), set(left[True]), set(left[False])


@contextmanager
def scripts_flushed(server: OwnRedis) -> Iterator[None]:
    """All the while."""
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
    """Let the processes loose, and check what each of them was told."""
    spawn, tenant = get_context("spawn"), uuid.uuid4()
    with spawn.Manager() as manager, spawn.Pool(PROCESSES) as pool:
        start = manager.Barrier(PROCESSES)
        jobs = [(server.url, tenant, limit, start)] * PROCESSES
        counts, admitted, denied = zip(*pool.starmap(take_all, jobs, chunksize=1), strict=True)
    assert sum(counts) == limit
    # Each unit was taken by one of them.
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
