"""Start and stop the servers of a location. They run while at least one process uses them.

Each process that uses them holds a shared lock on `users.lock`. The last one to release it stops the
servers. `gate.lock` serializes starts and stops. The kernel releases the locks of a process that is killed;
the next process uses the servers that still run, and stops them.
"""

import os
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path

from django.conf import settings

from map_project.embedded import Location
from map_project.embedded.accounts import Account, account_for
from map_project.embedded.daemon import Daemon
from map_project.embedded.errors import EmbeddedServersError
from map_project.embedded.locks import FileLock
from map_project.embedded.ownership import check_owner
from map_project.embedded.postgres import Postgres
from map_project.embedded.redis import Redis


@contextmanager
def running(
    location: Location, *, postgres: bool = True, redis: bool = True, durable: bool = True
) -> Iterator[None]:
    """Run these servers within the block. The last process that uses the location stops them all.

    With `durable=False`, each start creates new data, and writes are not synced to disk.
    Raises EmbeddedServersError.
    """
    check_owner(location.data_dir)
    account = account_for(location.data_dir)
    _make_data_dir(location.data_dir, account)
    daemons = _daemons(location, durable=durable)
    with _users(location) as users:
        try:
            with _gate(location):
                users.acquire(shared=True)
                _make_runtime_dir(location.runtime_dir, account)
                for daemon, is_wanted in zip(daemons, (postgres, redis), strict=True):
                    if is_wanted:
                        daemon.ensure()
                _own_entries(location.data_dir, account)
            yield
        finally:
            with _gate(location):
                if users.acquire(wait=False):
                    _stop(location, daemons)
                users.close()


def running_as_configured() -> AbstractContextManager[None]:
    """Run the servers whose URLs the settings do not contain."""
    if settings.EMBEDDED is None:
        return nullcontext()
    return running(
        settings.EMBEDDED, postgres=settings.EMBEDDED_POSTGRES, redis=settings.EMBEDDED_REDIS
    )


def stop_unused(location: Location) -> None:
    """Stop servers that no process uses, which a killed process has left running."""
    with _users(location) as users, _gate(location):
        if users.acquire(wait=False):
            _stop(location, _daemons(location))


def delete_data(location: Location) -> None:
    """Stop the servers and delete their data and the secrets. Raises EmbeddedServersError if they are in use.

    The lock files remain: another process can wait for one of them.
    """
    with _users(location) as users, _gate(location):
        if not users.acquire(wait=False):
            raise EmbeddedServersError(
                f"Another command uses the data in {location.data_dir}: wait until it has ended."
            )
        _stop(location, _daemons(location))
        for path in location.data_dir.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path.suffix != ".lock":
                path.unlink()


def _daemons(location: Location, *, durable: bool = True) -> tuple[Daemon, Daemon]:
    account = account_for(location.data_dir)
    return (
        Postgres(location, account, durable=durable),
        Redis(location, account, durable=durable),
    )


def _stop(location: Location, daemons: Iterable[Daemon]) -> None:
    # Signal all of them before waiting: a second Ctrl-C during the wait leaves none running.
    for daemon in daemons:
        daemon.send_stop()
    for daemon in daemons:
        daemon.wait_for_stop()
    with suppress(OSError):
        location.runtime_dir.rmdir()


def _users(location: Location) -> FileLock:
    return FileLock(location.data_dir / "users.lock")


@contextmanager
def _gate(location: Location) -> Iterator[None]:
    with FileLock(location.data_dir / "gate.lock") as gate:
        gate.acquire()
        yield


def _make_data_dir(data_dir: Path, account: Account) -> None:
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        data_dir.chmod(0o700)
        if account.is_other:
            # As root: give the created folders to the owner of the checkout and to the account.
            checkout = data_dir.parent.parent.stat()
            os.chown(data_dir.parent, checkout.st_uid, checkout.st_gid)
            data_dir.parent.chmod(0o755)
            _own_entries(data_dir, account)
    except OSError as error:
        raise EmbeddedServersError(f"Cannot use {error.filename}: {error.strerror}.") from error


def _own_entries(data_dir: Path, account: Account) -> None:
    """As root: give all files to the account, which may run the next command itself."""
    for path in (data_dir, *data_dir.iterdir()):
        account.own(path)


def _make_runtime_dir(runtime_dir: Path, account: Account) -> None:
    """Create the folder of the sockets. Every account can write to its parent, so check the owner."""
    with suppress(FileExistsError):
        runtime_dir.mkdir(mode=0o700)
    info = runtime_dir.lstat()
    if not stat.S_ISDIR(info.st_mode) or info.st_uid not in (account.uid, os.geteuid()):
        raise EmbeddedServersError(
            f'{runtime_dir} must be a folder of the account "{account.name}": '
            f"enter `sudo rm -r {runtime_dir}`."
        )
    runtime_dir.chmod(0o700)
    account.own(runtime_dir)
