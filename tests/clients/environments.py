"""Environments of clients that this project does not use, created once for each lock file.

OpenAI's Agents SDK is a module `agents`, as one of this project's, and would shadow it.
"""

import fcntl
import hashlib
import shutil
import subprocess
import venv
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_LOCK = ROOT / "requirements" / "clients.txt"
_NODE = ROOT / "tests" / "clients" / "node"
# Its imports are found in the folder that it is copied to.
SCRIPT = _NODE / "checks.mjs"


def python() -> Path:
    """Return the interpreter of the Python clients."""
    return _created("python", _LOCK, _install_python) / "bin" / "python"


def node() -> Path:
    """Return the folder of the Node.js clients. Skips the test without Node.js."""
    if shutil.which("npm") is None:
        pytest.skip("requires Node.js and npm")
    return _created("node", _NODE / "package-lock.json", _install_node)


def _created(name: str, lock: Path, install: Callable[[Path], None]) -> Path:
    """Return the folder of an environment. If its lock file has changed, it is created again.

    The processes of pytest-xdist share it: one creates it, the others wait.
    """
    folder, digest = ROOT / ".map" / "clients" / name, hashlib.sha256(lock.read_bytes()).hexdigest()
    stamp = folder / "lock.sha256"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if not (stamp.exists() and stamp.read_text() == digest):
            shutil.rmtree(folder, ignore_errors=True)
            install(folder)
            stamp.write_text(digest)
    return folder


def _install_python(folder: Path) -> None:
    venv.create(folder, with_pip=True)
    pip = (folder / "bin" / "python", "-m", "pip", "install", "--disable-pip-version-check")
    options = ("--quiet", "--no-input", "--only-binary", ":all:", "--no-deps", "--require-hashes")
    _run(*pip, *options, "-r", _LOCK)


def _install_node(folder: Path) -> None:
    folder.mkdir(parents=True)
    for name in ("package.json", "package-lock.json"):
        shutil.copy(_NODE / name, folder)
    _run("npm", "ci", "--silent", "--no-audit", "--no-fund", "--prefix", folder)


def _run(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
