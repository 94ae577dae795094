"""The highest memory use of a server, and of its database connections, during a block."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.processes import Family, memory
from map_project.embedded import Location

_SAMPLE_SECONDS = 0.25


@dataclass
class Peaks:
    """The highest values of all samples. Memory is that of all processes together."""

    most_connections: int = 0
    most_rss_mb: float = 0.0
    most_pss_mb: float = 0.0
    most_threads: int = 0


@contextmanager
def sampling(peaks: Peaks, where: Location, database: str, master: int) -> Iterator[None]:
    """Sample inside the block. `master` is the process whose children serve."""
    finished = threading.Event()

    def sample() -> None:
        family = Family((master,))
        with psycopg.connect(where.database_url, autocommit=True) as connection:
            while not finished.wait(_SAMPLE_SECONDS):
                _sample(
                    peaks, connection, database, [pid for pid in family.members() if pid != master]
                )

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield
    finally:
        finished.set()
        thread.join()


def _sample(
    peaks: Peaks, connection: psycopg.Connection[Any], database: str, workers: list[int]
) -> None:
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s"
    row = connection.execute(query, [database]).fetchone()
    sizes, threads = [], []
    for pid in workers:
        # Some libraries start programs that end at once.
        with suppress(OSError):
            sizes.append(memory(pid))
            threads.append(len([*Path(f"/proc/{pid}/task").iterdir()]))
    for name, found in {
        "most_connections": row[0] if row else 0,
        "most_rss_mb": sum(size.rss_mb for size in sizes),
        "most_pss_mb": sum(size.pss_mb for size in sizes),
        "most_threads": max(threads, default=0),
    }.items():
        setattr(peaks, name, max(getattr(peaks, name), found))
