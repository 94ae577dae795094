"""The databases of both sides. They are filled once, kept as templates, and copied for each benchmark.

So each benchmark starts with the same rows after a few seconds.
"""

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import django
import psycopg
import redis
from psycopg import sql

from benchmarks.errors import BenchError
from map_project.embedded import Location

HISTORY_ROWS = 1_000_000
_HERE = Path(__file__).parent
_CHECKOUT = _HERE.parent
_PEER_SCHEMA = _HERE / "peer" / "schema.sql"
# Tables of the peer and the platform that must have the same number of rows.
_COUNTED = {
    "tenants": ("tenants", "tenants_tenant"),
    "keys": ("api_keys", "tenants_apikey"),
    "tools": ("tools", "tools_tool"),
    "agents": ("agents", "agents_agent"),
    "tools of agents": ("agent_tool_associations", "agents_agenttool"),
    "executions": ("execution_logs", "executions_execution"),
}


@dataclass(frozen=True)
class Databases:
    """The URLs of both databases, and their number of rows of each kind."""

    peer: str
    platform: str
    rows: dict[str, int]


def create(where: Location) -> Databases:
    """Copy both databases from their templates. Raises BenchError if their numbers of rows differ."""
    _keep_template(where, "bench_peer", _fill_peer, _digest([_PEER_SCHEMA]))
    _keep_template(where, "bench_platform", _fill_platform, _digest(_platform_schema()))
    for name in ("bench_peer", "bench_platform"):
        _copy(where, f"{name}_filled", name)
    peer, platform = _url(where, "bench_peer"), _url(where, "bench_platform")
    return Databases(peer, platform, _count_rows(peer, platform))


def prepare(where: Location, name: str, **settings: str) -> str:
    """Create an empty database, clear Redis, and set Django up in this process. Return the database's URL."""
    with psycopg.connect(where.database_url, autocommit=True) as connection:
        _create(connection, name)
    redis.Redis.from_url(where.redis_url).flushall()
    url = _url(where, name)
    os.environ |= environment(url, where.redis_url) | settings
    django.setup()
    return url


def close_connections() -> None:
    """Close those of this process, before the clients and the server are measured."""
    from django.db import connections

    connections.close_all()
    for connection in connections.all():
        connection.close_pool()  # type: ignore[attr-defined]


def checkpoint(where: Location) -> None:
    """Write all changes to disk, so that this does not slow down the next slice."""
    with psycopg.connect(where.database_url, autocommit=True) as connection:
        connection.execute("CHECKPOINT")


def environment(database_url: str, redis_url: str) -> dict[str, str]:
    """Return the environment of a process of the platform."""
    own = {
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "SECRET_KEY": "the public secret key of servers that only benchmarks use",
        "DJANGO_SETTINGS_MODULE": "map_project.settings",
    }
    return os.environ | own


def _url(where: Location, name: str) -> str:
    return where.database_url.replace("/map?", f"/{name}?")


def _platform_schema() -> Iterable[Path]:
    migrations = (
        path
        for app in ("map_project", "tools", "agents", "executions", "ratelimit")
        for path in (_CHECKOUT / app).rglob("migrations/*.py")
    )
    return [_HERE / "fill.py", *sorted(migrations)]


def _digest(paths: Iterable[Path]) -> str:
    digest = hashlib.sha256(str(HISTORY_ROWS).encode())
    for path in paths:
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def _keep_template(where: Location, name: str, fill: Callable[[str], None], digest: str) -> None:
    """Create and fill the template unless its comment is `digest`. The comment is written last."""
    template = f"{name}_filled"
    with psycopg.connect(where.database_url, autocommit=True) as connection:
        found = connection.execute(
            "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s",
            [template],
        ).fetchone()
        if found == (digest,):
            return
        print(f"Filling {name} with {HISTORY_ROWS:,} executions ...", file=sys.stderr, flush=True)
        identifier = _create(connection, template)
        fill(_url(where, template))
        connection.execute(
            sql.SQL("COMMENT ON DATABASE {} IS {}").format(identifier, sql.Literal(digest))
        )


def _create(connection: psycopg.Connection[Any], name: str) -> sql.Identifier:
    """Create an empty database, in place of one with this name."""
    identifier = sql.Identifier(name)
    connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(identifier))
    connection.execute(sql.SQL("CREATE DATABASE {}").format(identifier))
    return identifier


def _copy(where: Location, template: str, name: str) -> None:
    with psycopg.connect(where.database_url, autocommit=True) as connection:
        connection.execute(
            sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
        )
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY").format(
                sql.Identifier(name), sql.Identifier(template)
            )
        )


def _fill_peer(url: str) -> None:
    statements = _PEER_SCHEMA.read_text().replace(":rows", str(HISTORY_ROWS)).split(";\n")
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in filter(str.strip, statements):
            connection.execute(statement.encode())


def _fill_platform(url: str) -> None:
    command = [sys.executable, "-m", "benchmarks.fill", str(HISTORY_ROWS)]
    timeout = {"STATEMENT_TIMEOUT_MS": "600000"}
    # Filling does not use Redis.
    filled = subprocess.run(
        command, cwd=_CHECKOUT, env=environment(url, "unix:///nowhere") | timeout
    )
    if filled.returncode:
        raise BenchError("The platform's database could not be filled: see above.")


def _count_rows(peer_url: str, platform_url: str) -> dict[str, int]:
    with psycopg.connect(peer_url) as peer, psycopg.connect(platform_url) as platform:
        rows = {
            what: (_count(peer, tables[0]), _count(platform, tables[1]))
            for what, tables in _COUNTED.items()
        }
    for what, (of_peer, of_platform) in rows.items():
        if of_peer != of_platform:
            raise BenchError(f"The peer has {of_peer:,} {what} and the platform {of_platform:,}.")
    return {what: count for what, (count, _) in rows.items()}


def _count(connection: psycopg.Connection, table: str) -> int:
    row = connection.execute(
        sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table))
    ).fetchone()
    return row[0] if row else 0
