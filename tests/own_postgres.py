"""A PostgreSQL of a test's own, which it may kill, halt, stop and start again; its data stay."""

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
    """One server, up or down."""

    def __init__(self, place: Location) -> None:
        self.url = place.database_url
        self._daemon = Postgres(place, account_for(place.data_dir), durable=True)

    @property
    def pid(self) -> int:
        return int(self._daemon.pid_file.read_text().split()[0])

    def start(self) -> None:
        """Returns once it answers."""
        self._daemon.ensure()

    def stop(self, number: signal.Signals) -> None:
        """As `pg_ctl stop` does: SIGINT is its mode fast, SIGQUIT immediate. Waits for the end."""
        os.kill(self.pid, number)
        assert eventually(lambda: not self._daemon.is_running())

    @contextmanager
    def halted(self) -> Iterator[None]:
        """Nobody of it does anything: not the postmaster, not one backend."""
        pids = [self.pid, *children(self.pid)]
        signal_all(pids, signal.SIGSTOP)
        # What the postmaster started before its signal came.
        late = [pid for pid in children(pids[0]) if pid not in pids]
        signal_all(late, signal.SIGSTOP)
        try:
            yield
        finally:
            signal_all([*pids, *late], signal.SIGCONT)

    @contextmanager
    def session(self) -> Iterator["psycopg.Connection[tuple[object, ...]]"]:
        """An operator's session in autocommit."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            yield connection

    def manage(self, *arguments: str) -> str:
        """What a `manage.py` command on this database prints."""
        return subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=SOURCE,
            env={**os.environ, "DATABASE_URL": self.url},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            timeout=60,
        ).stdout.strip()


@contextmanager
def own_postgres() -> Iterator[OwnPostgres]:
    """A server that is up, with all migrations; gone afterwards with all its data."""
    with empty_checkout() as folder:
        place = location(folder)
        with running(place, redis=False):
            server = OwnPostgres(place)
            server.manage("migrate", "--verbosity=0")
            yield server


def children(pid: int) -> list[int]:
    """The processes that this one started and that still are."""
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdigit():
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(fields[1]) == pid:
                    found.append(int(entry.name))
    return found


def signal_all(pids: list[int], number: signal.Signals) -> None:
    """Signals those that are still there."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
