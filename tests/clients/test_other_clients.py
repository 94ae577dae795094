"""LangChain, OpenAI's Agents SDK and Vercel's AI SDK, each in an environment of its own."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.clients import environments
from tests.clients.conftest import TWO_TOOLS, Door

SCRIPTS = Path(__file__).parent / "scripts"


def run(door: Door, folder: Path, *command: str | Path) -> str:
    """Run the checks of a client and return their output, which names those that failed."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "MAP_URL": door.url,
        "MAP_KEY": door.key,
        "MAP_MODEL": door.model,
        "MAP_TWO_TOOLS": TWO_TOOLS,
    }
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(("script", "count"), [("langchain_checks.py", 9), ("agents_checks.py", 5)])
def test_python_clients(door: Door, tmp_path: Path, script: str, count: int) -> None:
    output = run(door, tmp_path, environments.python(), SCRIPTS / script)
    assert output.splitlines()[-1] == f"{count} passed"


@pytest.mark.slow
def test_the_ai_sdk(door: Door) -> None:
    folder = environments.node()
    shutil.copy(environments.SCRIPT, folder)
    output = run(door, folder, "node", folder / environments.SCRIPT.name)
    assert output.splitlines()[-1] == "12 passed"
