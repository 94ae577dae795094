"""The databases of both sides: filled once, kept as templates, and copied anew for every bench.

So a bench always begins with the same rows, whatever the one before wrote, and needs seconds for it.
"""

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql

from benchmarks.errors import BenchError
from map_project.embedded import Location

HISTORY_ROWS = 1_000_000
_HERE = Path(__file__).parent
_CHECKOUT = _HERE.parent
_PEER_SCHEMA = _HERE / "peer" / "schema.sql"
# Each counts the same rows on both sides.
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
    """The addresses of both sides' databases, and how many rows of each kind either holds."""

    peer: str
    platform: str
    rows: dict[str, int]


def fresh(where: Location) -> Databases:
    """Both databases as they are before any load. Raises BenchError where they are not alike."""
    _keep_template(where, "bench_peer", _fill_peer, _digest([_PEER_SCHEMA]))
    _keep_template(where, "bench_platform", _fill_platform, _digest(_platform_schema()))
    for name in ("bench_peer", "bench_platform"):
        _copy(where, f"{name}_filled", name)
    peer, platform = _url(where, "bench_peer"), _url(where, "bench_platform")
    return Databases(peer, platform, _same_rows(peer, platform))


def checkpoint(where: Location) -> None:
    """What one side wrote is not written out at the other's cost."""
    with psycopg.connect(where.database_url, autocommit=True) as connection:
        connection.execute("CHECKPOINT")


def environment(database_url: str, redis_url: str) -> dict[str, str]:
    """The environment of a process of the platform."""
    own = {
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "SECRET_KEY": "of the bench alone, which nothing outside it ever sees",
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
    """The template is what `digest` says, once its comment says so."""
    template = f"{name}_filled"
    with psycopg.connect(where.database_url, autocommit=True) as connection:
        found = connection.execute(
            "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s",
            [template],
        ).fetchone()
        if found == (digest,):
            return
        print(f"Filling {name} with {HISTORY_ROWS:,} executions ...", file=sys.stderr, flush=True)
        identifier = sql.Identifier(template)
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(identifier))
        connection.execute(sql.SQL("CREATE DATABASE {}").format(identifier))
        fill(_url(where, template))
        connection.execute(
            sql.SQL("COMMENT ON DATABASE {} IS {}").format(identifier, sql.Literal(digest))
        )


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
    patient = {"STATEMENT_TIMEOUT_MS": "600000"}
    # Redis is not asked for.
    filled = subprocess.run(
        command, cwd=_CHECKOUT, env=environment(url, "unix:///nowhere") | patient
    )
    if filled.returncode:
        raise BenchError("The platform's database could not be filled: see above.")


def _same_rows(peer_url: str, platform_url: str) -> dict[str, int]:
    with psycopg.connect(peer_url) as peer, psycopg.connect(platform_url) as platform:
        rows = {
            what: (_count(peer, tables[0]), _count(platform, tables[1]))
            for what, tables in _COUNTED.items()
        }
    for what, (theirs, ours) in rows.items():
        if theirs != ours:
            raise BenchError(f"The peer has {theirs:,} {what} and the platform {ours:,}.")
    return {what: ours for what, (_, ours) in rows.items()}


def _count(connection: psycopg.Connection, table: str) -> int:
    row = connection.execute(
        sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table))
    ).fetchone()
    return row[0] if row else 0
