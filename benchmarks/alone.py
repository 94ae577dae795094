"""One bench at a time in a checkout: two would measure each other."""

from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.errors import BenchError
from map_project.embedded import Location
from map_project.embedded.locks import FileLock


@contextmanager
def alone(where: Location) -> Iterator[None]:
    """Raises BenchError where another runs."""
    path = where.data_dir.with_suffix(".lock")
    path.parent.mkdir(exist_ok=True)
    with FileLock(path) as lock:
        if not lock.acquire(wait=False):
            raise BenchError("Another bench of this checkout runs: wait for it.")
        yield
