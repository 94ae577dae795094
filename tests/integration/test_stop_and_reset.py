"""`make stop` and `make reset`: the commands `stop` and `reset`."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from map_project.embedded import location
from tests.checkouts import checkout, is_running, manage, process, server_pids
from tests.integration.test_up import assert_nothing_runs, wait_until_serving
from tests.live import free_port

pytestmark = pytest.mark.slow
UP = (sys.executable, "manage.py", "up")


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with checkout() as path:
        yield path


def test_stop(folder: Path) -> None:
    assert "not running" in manage(folder, "stop").stdout
    port = str(free_port())
    with process(*UP, cwd=folder, PORT=port) as child:
        wait_until_serving(child)
        pids = server_pids(location(folder))
        assert manage(folder, "stop").stdout == "Stopped.\n"
        assert child.wait(timeout=30) == 0
    assert_nothing_runs(folder, pids, port)


def test_stop_ends_what_killed_processes_left(folder: Path) -> None:
    with process(*UP, cwd=folder, PORT=str(free_port())) as child:
        wait_until_serving(child)
        os.killpg(child.pid, signal.SIGKILL)
    pids = server_pids(location(folder))
    assert all(map(is_running, pids.values()))
    assert manage(folder, "stop").returncode == 0
    assert not any(map(is_running, pids.values()))


def test_reset_refuses_while_the_data_are_in_use(folder: Path) -> None:
    with process(*UP, cwd=folder, PORT=str(free_port())) as child:
        wait_until_serving(child)
        result = manage(folder, "reset", "--noinput")
        assert "stop it first (`make stop`)." in result.stderr
        assert result.stderr.count("\n") == 1
        assert (location(folder).data_dir / "postgres" / "PG_VERSION").exists()
        child.terminate()
        assert child.wait(timeout=30) == 0
    shell = (sys.executable, "manage.py", "shell", "-c", "print('up', flush=True); input()")
    with process("/bin/sh", "-c", 'sleep 60 | "$@"', "sh", *shell, cwd=folder) as child:
        assert child.stdout
        while "up" not in child.stdout.readline():
            pass
        assert "Another command uses the data" in manage(folder, "reset", "--noinput").stderr


def test_reset(folder: Path) -> None:
    assert manage(folder, "migrate", "--verbosity=0").returncode == 0
    data_dir = location(folder).data_dir
    former = {path: path.read_text() for path in data_dir.glob("secret*")}
    assert former

    # Standard input is empty, so nobody confirms.
    unconfirmed = manage(folder, "reset")
    assert "Nothing was deleted" in unconfirmed.stderr
    assert unconfirmed.returncode == 1
    assert (data_dir / "postgres" / "PG_VERSION").exists()

    assert manage(folder, "reset", "--noinput").returncode == 0
    assert {path.suffix for path in data_dir.iterdir()} == {".lock"}
    result = manage(folder, "create_tenant", "x")
    assert result.stderr.endswith("Database tables are missing: run `manage.py migrate` first.\n")
    assert all(path.read_text() != text for path, text in former.items())
