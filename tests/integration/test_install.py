"""The installation by `make`, with variables of pip and Python that lead elsewhere."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.checkouts import SOURCE, checkout, environment

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("make") is None, reason="requires make"),
]
# One small package, without those that the platform imports.
LOCK = "".join(
    re.findall(
        r"^sqlparse==.*(?:\n .*)*\n",
        (SOURCE / "requirements" / "run.txt").read_text(),
        re.MULTILINE,
    )
)


@pytest.fixture
def folder() -> Iterator[Path]:
    with checkout() as path:
        for lock in ("run.txt", "dev.txt"):
            (path / "requirements" / lock).write_text(LOCK)
        yield path


def install(folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", "--silent", "install-run"],
        cwd=folder,
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_a_lock_whose_packages_cannot_be_imported_is_not_recorded(
    folder: Path, tmp_path: Path
) -> None:
    result = install(folder, PIP_CONFIG_FILE=str(_config(tmp_path)))
    assert result.returncode
    assert "The packages were installed, but not into .venv" in result.stderr
    assert not list((folder / ".venv").glob("*.txt"))


def _config(tmp_path: Path) -> Path:
    path = tmp_path / "pip.conf"
    path.write_text(f"[install]\nprefix = {tmp_path}/elsewhere\n")
    return path


def test_variables_do_not_change_where_it_is_installed(folder: Path, tmp_path: Path) -> None:
    elsewhere = {name: f"{tmp_path}/{name}" for name in ("PIP_TARGET", "PIP_PREFIX", "PIP_ROOT")}
    elsewhere |= {"PYTHONUSERBASE": f"{tmp_path}/base", "PYTHONHOME": "/nowhere"}
    switches = {"PIP_USER": "1", "PIP_DRY_RUN": "1", "PYTHONPATH": str(_modules(tmp_path))}
    config = tmp_path / "pip.conf"
    config.write_text(f"[global]\nuser = true\n[install]\ntarget = {tmp_path}/configured\n")
    install(folder, PIP_CONFIG_FILE=str(config), **elsewhere, **switches)
    assert list((folder / ".venv").glob("lib/*/site-packages/sqlparse"))
    assert {path.name for path in tmp_path.iterdir()} == {"modules", "pip.conf"}


def _modules(tmp_path: Path) -> Path:
    """Create a folder with a module that breaks pip."""
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / "zipfile.py").write_text("raise ImportError('of PYTHONPATH')\n")
    return folder


def test_pip_is_quiet_unless_it_fails(folder: Path) -> None:
    assert "Collecting" not in (result := install(folder)).stdout + result.stderr
    unknown = LOCK.replace("sqlparse==", "sqlparse==999.")
    (folder / "requirements" / "run.txt").write_text(unknown)
    result = install(folder)
    assert "No matching distribution found for sqlparse==999." in result.stderr
    assert (
        "The packages could not be installed. All messages are in .venv/pip.log." in result.stderr
    )
    assert "Traceback" not in result.stderr
