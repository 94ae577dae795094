"""The server with the packages of the container image alone (requirements/base.txt)."""

import subprocess
import sys
import venv
from pathlib import Path

import pytest
from django.conf import settings

from tests.api import LiveApi
from tests.live import serving

pytestmark = pytest.mark.slow


def test_the_image_has_all_packages_that_the_server_needs(tmp_path: Path) -> None:
    """The development environment has packages that base.txt may lack."""
    venv.create(tmp_path, with_pip=False)
    python = tmp_path / "bin" / "python"
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "--python", python, "install", "--quiet"),
            *("--require-hashes", "--only-binary", ":all:", "-r", "requirements/base.txt"),
        ],
        cwd=settings.BASE_DIR,
        check=True,
    )
    with serving(python, WEB_CONCURRENCY="1") as port:
        assert LiveApi(port).get("/ready").status == 200
