"""Mistakes of operators at the start: each is reported in one sentence, without a traceback."""

import os
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest
from django.conf import settings

from tests.checkouts import checkout
from tests.live import database_url, free_port
from tests.own_postgres import own_postgres

pytestmark = pytest.mark.slow


def manage(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return run("manage.py", *arguments, **environment)


def serve(**environment: str) -> subprocess.CompletedProcess[str]:
    return run("-m", "map_project.server", **environment)


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    variables = {"DATABASE_URL": database_url(), "REDIS_URL": settings.REDIS_URL, **environment}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=settings.BASE_DIR,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=180,
    )


def sentence_of(result: subprocess.CompletedProcess[str]) -> str:
    assert result.returncode == 1, result.stderr
    assert result.stderr.count("\n") == 1, result.stderr
    return result.stderr.strip()


def url_of_database(name: str) -> str:
    return urlunsplit(urlsplit(database_url())._replace(path=f"/{name}"))


@pytest.mark.parametrize("command", ["migrate", "create_tenant x", "list_api_keys", "up"])
def test_an_unreachable_database(command: str) -> None:
    port = free_port()
    url = f"postgresql://map:not-for-the-log@127.0.0.1:{port}/map"
    message = sentence_of(manage(*command.split(), DATABASE_URL=url, PORT=str(free_port())))
    assert message.startswith("The database does not answer (DATABASE_URL): ")
    assert "Connection refused" in message
    assert "not-for-the-log" not in message


def test_a_host_without_an_address() -> None:
    message = sentence_of(manage("migrate", DATABASE_URL="postgresql://map@nowhere.invalid/map"))
    assert message.startswith("The database does not answer (DATABASE_URL): ")
    assert "nowhere.invalid" in message


def test_a_database_that_does_not_exist() -> None:
    message = sentence_of(manage("migrate", DATABASE_URL=url_of_database("nosuch")))
    assert message.startswith("The database does not answer (DATABASE_URL): ")
    assert message.endswith('database "nosuch" does not exist.')


def test_a_database_without_tables() -> None:
    message = sentence_of(manage("create_tenant", "x", DATABASE_URL=url_of_database("postgres")))
    assert message == "Database tables are missing: run `manage.py migrate` first."


@pytest.mark.slow
def test_a_wrong_password_and_a_lock_timeout() -> None:
    with own_postgres() as server, server.session() as session:
        session.execute("CREATE ROLE operator SUPERUSER LOGIN PASSWORD 'right'")
        row = session.execute("SHOW hba_file").fetchone()
        assert row
        Path(str(row[0])).write_text("local all map trust\nlocal all all scram-sha-256\n")
        session.execute("SELECT pg_reload_conf()")
        url = server.url.replace("map@", "operator:wrong-one@", 1)
        message = sentence_of(manage("migrate", DATABASE_URL=url))
        assert message.endswith('password authentication failed for user "operator".')
        assert "wrong-one" not in message

        session.autocommit = False
        session.execute("LOCK TABLE tenants_tenant")
        message = sentence_of(manage("create_tenant", "x", DATABASE_URL=server.url))
        assert message == "Database error: canceling statement due to lock timeout."


def test_a_port_in_use() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        message = sentence_of(serve(HOST="127.0.0.1", PORT=str(port)))
    assert message.startswith(f"Port {port} of 127.0.0.1 is in use by another program")
    assert "PORT=" in message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WEB_CONCURRENCY", "many"),
        ("GRACEFUL_TIMEOUT_SECONDS", "0"),
        ("SECRET_KEY", ""),
        ("REDIS_URL", "localhost:6379"),
        ("REDIS_URL", "redis://localhost:port"),
        ("DATABASE_URL", "localhost"),
        ("ALLOWED_HOSTS", ","),
        ("SSL_CERT_FILE", "/nowhere/certificates.pem"),
        ("SSL_CERT_FILE", "/"),
        ("SSL_CERT_FILE", __file__),
        ("SSL_CERT_DIR", "/nowhere"),
        ("SSL_CERT_DIR", __file__),
    ],
)
def test_an_invalid_setting(name: str, value: str) -> None:
    assert name in sentence_of(serve(**{name: value}))
    assert name in sentence_of(manage("migrate", **{name: value}))


@pytest.mark.parametrize("command", ["up", "migrate"])
def test_a_checkout_that_is_not_writable(command: str) -> None:
    """`.map` is a file: not even root can create the folder."""
    with checkout() as folder:
        (folder / ".map").touch()
        result = subprocess.run(
            [sys.executable, "manage.py", command],
            cwd=folder,
            env={"PATH": os.environ["PATH"]},
            capture_output=True,
            text=True,
            timeout=180,
        )
    assert f"{folder}/.map" in sentence_of(result)
