"""Lock files: the kernel lets go of them when their holder dies, however it dies."""

import fcntl
import os
from pathlib import Path
from typing import Self

from map_project.embedded.errors import EmbeddedServersError


class FileLock:
    """An open lock file, held until it is closed or this process ends; its forks do not hold it."""

    def __init__(self, path: Path) -> None:
        try:
            # To lock a file, reading suffices: whoever may use the folder may take part.
            self.fd = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        except OSError as error:
            raise EmbeddedServersError(f"Cannot open {path}: {error.strerror}.") from error
        _open_here.add(self)

    def acquire(self, *, shared: bool = False, wait: bool = True) -> bool:
        """Take the lock, or change the one held; False if another has it and ``wait`` is off."""
        mode = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        try:
            fcntl.flock(self.fd, mode if wait else mode | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def close(self) -> None:
        """Let go of the lock, unless a child was given the descriptor: then it holds on."""
        if self in _open_here:
            _open_here.remove(self)
            os.close(self.fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_no_link(path: str, flags: int) -> int:
    """An opener that follows no link: root writes into folders that belong to another account."""
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)


_open_here: set[FileLock] = set()


def _close_in_fork() -> None:
    for lock in list(_open_here):
        lock.close()


os.register_at_fork(after_in_child=_close_in_fork)
