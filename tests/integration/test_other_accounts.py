"""`sudo make run`, and then `make run` without sudo: the files of another account."""

import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from map_project.embedded.accounts import account_for
from tests.checkouts import checkout, environment, manage

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can run commands as other accounts"),
]


@pytest.fixture
def folder() -> Iterator[Path]:
    with checkout() as path:
        yield path


@pytest.fixture(scope="module")
def python() -> Iterator[str]:
    """A Python with the packages, which other accounts can execute, unlike one in /root."""
    candidates = (sys.executable, "/usr/bin/python3")
    found = [python for python in candidates if _others_can_execute(python)]
    if not found:
        pytest.skip("other accounts cannot execute Python")
    if found[0] == sys.executable:
        yield found[0]
        return
    with checkout() as path:
        install = ("sh", "requirements/install.sh", ".venv", "run", found[0])
        subprocess.run(install, cwd=path, env=environment(), check=True)
        yield str(path / ".venv" / "bin" / "python")


def _others_can_execute(python: str) -> bool:
    try:
        return subprocess.run([python, "-c", ""], user="nobody", cwd="/").returncode == 0
    except OSError:
        return False


class User:
    """An account that root does not select for the servers."""

    def __init__(self, folder: Path, python: str) -> None:
        servers = account_for(folder / ".map" / "dev").uid
        self._entry = next(e for e in pwd.getpwall() if e.pw_uid not in (0, servers))
        self._folder = folder
        self._python = python
        self.name = self._entry.pw_name

    def owns(self, path: Path) -> None:
        os.chown(path, self._entry.pw_uid, self._entry.pw_gid)

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=self._folder,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=180,
            user=self._entry.pw_uid,
            group=self._entry.pw_gid,
            extra_groups=[],
        )

    def manage(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.run(self._python, "manage.py", *arguments)


@pytest.fixture
def user(folder: Path, python: str) -> User:
    return User(folder, python)


def advice_of(result: subprocess.CompletedProcess[str]) -> list[str]:
    """Return the command in the sentence, without sudo."""
    assert result.returncode, result.stdout
    assert result.stderr.count("\n") == 1, result.stderr
    sudo, *command = result.stderr.split("`")[1].split()
    assert sudo == "sudo"
    return command


def test_data_of_root_in_a_checkout_of_root(folder: Path, user: User) -> None:
    assert manage(folder, "migrate", "--verbosity=0").returncode == 0
    for command in ("up", "migrate", "stop", "reset"):
        advice = advice_of(user.manage(command))
        assert advice == ["chown", "-R", user.name, str(folder / ".map")]
    subprocess.run(advice, check=True)
    result = user.manage("migrate", "--verbosity=0")
    assert result.returncode == 0, result.stderr


def test_a_checkout_of_root_without_data(folder: Path, user: User) -> None:
    assert advice_of(user.manage("up")) == ["chown", user.name, str(folder)]
    (folder / ".map").mkdir()
    advice = advice_of(user.manage("up"))
    assert advice == ["chown", "-R", user.name, str(folder / ".map")]


def test_a_checkout_of_the_user(folder: Path, user: User) -> None:
    """Root leaves nothing that the user cannot use. A piece of another account is reported."""
    user.owns(folder)
    assert manage(folder, "migrate", "--verbosity=0").returncode == 0
    result = user.manage("migrate", "--verbosity=0")
    assert result.returncode == 0, result.stderr
    for piece in ("secret_key", "redis.log", "postgres/base", "redis/appendonly*"):
        # The log of Redis is a directory from release 7 on, and a file before.
        (path,) = (folder / ".map" / "dev").glob(piece)
        os.chown(path, 0, 0)
        result = user.manage("migrate")
        assert advice_of(result) == ["chown", "-R", user.name, str(folder / ".map")]
        assert f"{path} " in result.stderr
        user.owns(path)


@pytest.mark.skipif(shutil.which("make") is None, reason="requires make")
@pytest.mark.parametrize("target", ["run", "test", "stop"])
def test_an_environment_of_another_account(folder: Path, user: User, target: str) -> None:
    result = user.run("make", "--silent", target)
    assert f"enter `sudo chown {user.name} {folder}`." in result.stderr
    user.owns(folder)
    packages = folder / ".venv" / "lib"
    packages.mkdir(parents=True)
    user.owns(folder / ".venv")
    result = user.run("make", "--silent", target)
    assert ".venv/lib, which" in result.stderr
    assert f"enter `sudo chown -R {user.name} {folder}/.venv`." in result.stderr
    assert "Traceback" not in result.stderr
