"""Many processes use one quota: exactly as many calls are admitted as it has units."""

import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.managers import SyncManager
from multiprocessing.pool import Pool
from multiprocessing.synchronize import Barrier

import pytest

from tests.own_redis import OwnRedis, limiter_at, own_redis

PROCESSES = 6
SURPLUS = 25
WINDOW = 2_000
LONG_TIMEOUT_MS = 10_000  # the machine is busy, and these tests are not about time


class Processes:
    """Child processes, and the manager of the barrier at which they start together."""

    def __init__(self, manager: SyncManager, pool: Pool) -> None:
        self.manager = manager
        self.pool = pool


@pytest.fixture(scope="module")
def server() -> Iterator[OwnRedis]:
    with own_redis() as redis:
        yield redis


@pytest.fixture(scope="module")
def processes() -> Iterator[Processes]:
    spawn = get_context("spawn")
    with spawn.Manager() as manager, spawn.Pool(PROCESSES) as pool:
        yield Processes(manager, pool)


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


def compete(server: OwnRedis, processes: Processes, limit: int) -> None:
    """Let the processes take the quota at the same time, and compare all their decisions."""
    start = processes.manager.Barrier(PROCESSES)
    jobs = [(server.url, uuid.uuid4(), limit, start)] * PROCESSES
    results = processes.pool.starmap(take_all, jobs, chunksize=1)
    counts, admitted, denied = zip(*results, strict=True)
    assert sum(counts) == limit
    # Each unit was taken by exactly one process.
    assert sum(map(len, admitted)) == limit
    assert set().union(*admitted) == set(range(limit))
    assert set().union(*denied) == {0}


@pytest.mark.slow
@pytest.mark.parametrize("limit", [1, 100, 10_000])
def test_exactly_the_quota_passes(server: OwnRedis, processes: Processes, limit: int) -> None:
    compete(server, processes, limit)


@pytest.mark.slow
@pytest.mark.parametrize("limit", [1, 100, 2_000])
def test_exactly_the_quota_passes_while_scripts_are_flushed(
    server: OwnRedis, processes: Processes, limit: int
) -> None:
    with scripts_flushed(server):
        compete(server, processes, limit)
