"""Lock files, between the open descriptions of one process and between processes."""

import subprocess
import sys
from pathlib import Path

import pytest

from map_project.embedded.errors import EmbeddedServersError
from map_project.embedded.locks import FileLock


def test_exclusive_keeps_everybody_else_out(tmp_path: Path) -> None:
    with FileLock(tmp_path / "lock") as first, FileLock(tmp_path / "lock") as second:
        assert first.acquire()
        assert not second.acquire(wait=False)
        assert not second.acquire(shared=True, wait=False)
        first.close()
        assert second.acquire(wait=False)


def test_the_last_of_the_sharers_can_have_it_alone(tmp_path: Path) -> None:
    with FileLock(tmp_path / "lock") as first, FileLock(tmp_path / "lock") as second:
        assert first.acquire(shared=True)
        assert second.acquire(shared=True)
        assert not first.acquire(wait=False)
        second.close()
        assert first.acquire(wait=False)


def test_a_child_that_was_given_the_descriptor_holds_it(tmp_path: Path) -> None:
    with FileLock(tmp_path / "lock") as lock:
        lock.acquire()
        child = subprocess.Popen(
            [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=[lock.fd]
        )
    with FileLock(tmp_path / "lock") as other:
        assert not other.acquire(wait=False)
        child.communicate(b"\n")
        assert other.acquire(wait=False)


def test_a_link_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(EmbeddedServersError, match="Cannot open"):
        FileLock(tmp_path / "lock")

    assert not (tmp_path / "elsewhere").exists()
