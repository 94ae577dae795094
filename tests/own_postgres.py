"""A PostgreSQL server for one test, which may kill, suspend, stop and restart it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg

from map_project.embedded import Location, location
from map_project.embedded.accounts import account_for
from map_project.embedded.postgres import Postgres
from map_project.embedded.servers import running
from tests.checkouts import SOURCE, empty_checkout, eventually


class OwnPostgres:
    """A server. Its data is kept when it is stopped."""

    def __init__(self, place: Location) -> None:
        self.url = place.database_url
        self._daemon = Postgres(place, account_for(place.data_dir), durable=True)

    @property
    def pid(self) -> int:
        return int(self._daemon.pid_file.read_text().split()[0])

    def start(self) -> None:
        """Start the server and wait until it accepts connections."""
        self._daemon.ensure()

    def stop(self, number: signal.Signals) -> None:
        """Stop the server like `pg_ctl stop` (SIGINT: fast, SIGQUIT: immediate). Wait for its end."""
        os.kill(self.pid, number)
        assert eventually(lambda: not self._daemon.is_running())

    @contextmanager
    def halted(self) -> Iterator[None]:
        """Suspend the postmaster and all backends."""
        pids = [self.pid, *children(self.pid)]
        signal_all(pids, signal.SIGSTOP)
        # Processes that the postmaster started before it received the signal.
        late = [pid for pid in children(pids[0]) if pid not in pids]
        signal_all(late, signal.SIGSTOP)
        try:
            yield
        finally:
            signal_all([*pids, *late], signal.SIGCONT)

    @contextmanager
    def session(self) -> Iterator["psycopg.Connection[tuple[object, ...]]"]:
        """Connect to the database in autocommit mode."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            yield connection

    def manage(self, *arguments: str) -> str:
        """Run a `manage.py` command on this database and return its output."""
        return subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=SOURCE,
            env={**os.environ, "DATABASE_URL": self.url},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            timeout=180,
        ).stdout.strip()


@contextmanager
def own_postgres() -> Iterator[OwnPostgres]:
    """Start a server and apply all migrations. Stop it and delete its data at the end."""
    with empty_checkout() as folder:
        place = location(folder)
        with running(place, redis=False):
            server = OwnPostgres(place)
            server.manage("migrate", "--verbosity=0")
            yield server


def children(pid: int) -> list[int]:
    """Return the ids of the running child processes."""
    pids = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdigit():
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(fields[1]) == pid:
                    pids.append(int(entry.name))
    return pids


def signal_all(pids: list[int], number: signal.Signals) -> None:
    """Send a signal to the processes that still run."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
