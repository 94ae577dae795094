"""Lock files, within one process and between processes."""

import subprocess
import sys
from pathlib import Path

import pytest

from map_project.embedded.errors import EmbeddedServersError
from map_project.embedded.locks import FileLock


def test_an_exclusive_lock_excludes_all_others(tmp_path: Path) -> None:
    with FileLock(tmp_path / "lock") as first, FileLock(tmp_path / "lock") as second:
        assert first.acquire()
        assert not second.acquire(wait=False)
        assert not second.acquire(shared=True, wait=False)
        first.close()
        assert second.acquire(wait=False)


def test_the_last_shared_lock_can_become_exclusive(tmp_path: Path) -> None:
    with FileLock(tmp_path / "lock") as first, FileLock(tmp_path / "lock") as second:
        assert first.acquire(shared=True)
        assert second.acquire(shared=True)
        assert not first.acquire(wait=False)
        second.close()
        assert first.acquire(wait=False)


def test_a_child_with_the_descriptor_holds_the_lock(tmp_path: Path) -> None:
    with FileLock(tmp_path / "lock") as lock:
        lock.acquire()
        child = subprocess.Popen(
            [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=[lock.fd]
        )
    with FileLock(tmp_path / "lock") as other:
        assert not other.acquire(wait=False)
        child.communicate(b"\n")
        assert other.acquire(wait=False)


def test_a_symbolic_link_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(EmbeddedServersError, match="Cannot open"):
        FileLock(tmp_path / "lock")

    assert not (tmp_path / "elsewhere").exists()
