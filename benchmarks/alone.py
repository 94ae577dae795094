"""A lock: two simultaneous benchmarks of a checkout would distort each other's results."""

from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.errors import BenchError
from map_project.embedded import Location
from map_project.embedded.locks import FileLock


@contextmanager
def alone(where: Location) -> Iterator[None]:
    """Hold the lock. Raises BenchError if another benchmark holds it."""
    path = where.data_dir.with_suffix(".lock")
    path.parent.mkdir(exist_ok=True)
    with FileLock(path) as lock:
        if not lock.acquire(wait=False):
            raise BenchError("Another benchmark of this checkout is running: wait for it.")
        yield
