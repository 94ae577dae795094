"""Lock files. The kernel releases a lock when its holder ends, also if the holder is killed."""

import fcntl
import os
from contextlib import AbstractContextManager
from pathlib import Path

from map_project.embedded.errors import EmbeddedServersError


class FileLock(AbstractContextManager["FileLock"]):
    """An open lock file. The lock is held until the file is closed or this process ends."""

    def __init__(self, path: Path) -> None:
        try:
            self._file = open(path, "rb", opener=_open_for_locking)  # noqa: SIM115  (closed by `close`)
        except OSError as error:
            raise EmbeddedServersError(f"Cannot open {path}: {error.strerror}.") from error
        self.fd = self._file.fileno()

    def acquire(self, *, shared: bool = False, wait: bool = True) -> bool:
        """Acquire the lock, or convert the one held. False if it is taken and `wait` is off."""
        mode = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        try:
            fcntl.flock(self.fd, mode if wait else mode | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def close(self) -> None:
        """Release the lock, except if a child process inherited the descriptor and still runs."""
        self._file.close()

    def __exit__(self, *_: object) -> None:
        self.close()


def open_no_link(path: str, flags: int) -> int:
    """An opener that follows no symlink: root writes into folders that another account owns."""
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)


def _open_for_locking(path: str, _flags: int) -> int:
    # Read access is sufficient for a lock, so every account with access to the folder can use it.
    return os.open(path, os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW, 0o644)
