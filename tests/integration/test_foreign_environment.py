"""Variables of the shell that belong to other programs: libpq, Django, Python."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings
from psycopg import pq

from tests.api import LiveApi
from tests.checkouts import checkout, manage, process
from tests.integration.test_up import wait_until_healthy, wait_until_serving
from tests.live import free_port, serving

# All that libpq documents: those of a connection's parameters, and those of the library.
LIBPQ = {option.envvar.decode() for option in pq.Conninfo.get_defaults() if option.envvar} | {
    "PGSERVICEFILE", "PGSYSCONFDIR", "PGLOCALEDIR", "PGDATESTYLE", "PGTZ", "PGGEQO",
}  # fmt: skip
WRONG = dict.fromkeys(LIBPQ, "wrong") | {
    "PGHOST": "192.0.2.1",
    "PGHOSTADDR": "127.0.0.9",
    "PGPORT": "1",
}
# They select no server: with DATABASE_URL, they complete what the URL omits.
CREDENTIALS = {"PGPASSWORD", "PGPASSFILE", "PGSSLMODE", "PGSSLROOTCERT", "PGREQUIREAUTH"}
OTHERS = {"DJANGO_SETTINGS_MODULE": "other.settings", "PYTHONSAFEPATH": "1"}


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with checkout() as path:
        yield path


def settings_of(**variables: str) -> dict[str, str]:
    """Return the variables of libpq that a process has once it has read the settings."""
    script = (
        "import json, os, map_project.settings; "
        "print(json.dumps({k: v for k, v in os.environ.items() if k.startswith('PG')}))"
    )
    addresses = {"DATABASE_URL": "postgresql://host/map", "REDIS_URL": settings.REDIS_URL}
    result = subprocess.run(
        [sys.executable, "-c", script],
        cwd=settings.BASE_DIR,
        env={**os.environ, **addresses, **variables},
        capture_output=True,
        check=True,
    )
    remaining: dict[str, str] = json.loads(result.stdout)
    return remaining


def test_libpq_knows_the_variables_of_this_test() -> None:
    assert {"PGHOST", "PGHOSTADDR", "PGSERVICE", "PGTARGETSESSIONATTRS", *CREDENTIALS} <= LIBPQ


@pytest.mark.parametrize("name", ["PGPORT", "PGHOSTADDR", "PGSERVICE", "all"])
def test_a_command_with_the_embedded_database(folder: Path, name: str) -> None:
    variables = WRONG if name == "all" else {name: WRONG[name]}
    result = manage(folder, "migrate", "--verbosity=0", **OTHERS, **variables)
    assert (result.returncode, result.stderr.count("Traceback")) == (0, 0), result.stderr


@pytest.mark.slow
def test_up(folder: Path) -> None:
    port = str(free_port())
    command = (sys.executable, "manage.py", "up")
    with process(*command, cwd=folder, PORT=port, **OTHERS, **WRONG) as child:
        wait_until_serving(child)
        wait_until_healthy(port)
        child.terminate()
        assert child.wait(timeout=30) == 0


def test_with_database_url_only_credentials_remain() -> None:
    remaining = settings_of(**WRONG)
    assert {*CREDENTIALS} <= remaining.keys()
    assert not remaining.keys() & {
        "PGHOST", "PGHOSTADDR", "PGPORT", "PGUSER", "PGDATABASE", "PGSERVICE", "PGSERVICEFILE",
        "PGOPTIONS", "PGTARGETSESSIONATTRS", "PGLOADBALANCEHOSTS", "PGAPPNAME", "PGCLIENTENCODING",
        "PGCONNECT_TIMEOUT", "PGDATESTYLE", "PGTZ", "PGGEQO", "PGSYSCONFDIR",
    }  # fmt: skip


def test_with_database_url_a_connection_goes_where_it_says() -> None:
    port = free_port()
    with socket.create_server(("127.0.0.9", port)) as other:
        result = manage(
            settings.BASE_DIR,
            "migrate",
            DATABASE_URL=f"postgresql://map@127.0.0.1:{port}/map",
            REDIS_URL=settings.REDIS_URL,
            SECRET_KEY="x" * 50,
            PGHOSTADDR="127.0.0.9",
        )
        other.setblocking(False)
        with pytest.raises(BlockingIOError):
            other.accept()
    assert result.stderr.startswith("The database does not answer (DATABASE_URL): ")
    assert "127.0.0.1" in result.stderr


@pytest.mark.slow
def test_the_server() -> None:
    """Without PYTHONSAFEPATH, with which Python itself does not find the module."""
    remaining = settings_of(**WRONG)
    ignored = {name: value for name, value in WRONG.items() if name not in remaining}
    with serving(DJANGO_SETTINGS_MODULE="other.settings", **ignored) as port:
        assert LiveApi(port).get("/ready").status == 200
