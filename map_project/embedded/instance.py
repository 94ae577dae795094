"""The lock of `up`: one process serves a checkout. The lock file contains its process ID and address."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from map_project.embedded.errors import EmbeddedServersError
from map_project.embedded.locks import FileLock, open_no_link
from map_project.embedded.ports import RELEASE_TIMEOUT_SECONDS
from map_project.embedded.waiting import wait_until


@contextmanager
def single_instance(data_dir: Path, address: str = "") -> Iterator[None]:
    """Hold the lock. Raises EmbeddedServersError if another process of this checkout holds it."""
    path = _lock_path(data_dir)
    with FileLock(path) as lock:
        if not wait_until(lambda: lock.acquire(wait=False), RELEASE_TIMEOUT_SECONDS):
            other = path.read_text().strip()
            raise EmbeddedServersError(
                f"Another `make run` of this checkout is running ({other}): stop it first (`make stop`)."
            )
        with open(path, "w", opener=open_no_link) as file:
            file.write(f"process {os.getpid()}, {address}\n")
        yield


def stop_instance(data_dir: Path, seconds: float) -> bool:
    """Stop the process that holds the lock. Return False if there is none."""
    path = _lock_path(data_dir)
    with FileLock(path) as lock:
        if lock.acquire(wait=False):
            return False
        other = path.read_text().strip()
        try:
            os.kill(int(other.split()[1].rstrip(",")), signal.SIGTERM)
        except PermissionError:
            raise EmbeddedServersError(
                f"`make run` was started by another account ({other}): stop it as that account, or as root."
            ) from None
        if not wait_until(lambda: lock.acquire(wait=False), seconds):
            raise EmbeddedServersError(f"`make run` ({other}) did not stop within {seconds:.0f} s.")
    return True


def _lock_path(data_dir: Path) -> Path:
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EmbeddedServersError(f"Cannot use {error.filename}: {error.strerror}.") from error
    return data_dir / "up.lock"
