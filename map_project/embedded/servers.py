"""Have the servers of a location running for as long as anybody uses them.

Every user holds a shared lock on ``users.lock``. Who leaves and finds nobody else there stops the servers.
Coming and going is one at a time, behind ``gate.lock``. A user that is killed lets go of its locks, and
the servers it may leave behind are taken over, and stopped, by the next one.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path

from django.conf import settings

from map_project.embedded import Location
from map_project.embedded.accounts import Account, account_for
from map_project.embedded.daemon import Daemon
from map_project.embedded.errors import EmbeddedServersError
from map_project.embedded.locks import FileLock
from map_project.embedded.postgres import Postgres
from map_project.embedded.redis import Redis

__all__ = ["EmbeddedServersError", "running", "running_as_configured"]


@contextmanager
def running(
    location: Location, *, postgres: bool = True, redis: bool = True, durable: bool = True
) -> Iterator[None]:
    """Have these servers answer within the block; the last user of the location stops them all.

    Not durable: data that are made anew whenever the servers start, and are written without care.
    Raises EmbeddedServersError.
    """
    account = account_for(location.data_dir)
    _make_data_dir(location.data_dir, account)
    daemons: dict[Daemon, bool] = {
        Postgres(location, account, durable=durable): postgres,
        Redis(location, account, durable=durable): redis,
    }
    process = os.getpid()
    with FileLock(location.data_dir / "users.lock") as users:
        try:
            with _gate(location):
                users.acquire(shared=True)
                _make_runtime_dir(location.runtime_dir, account)
                for daemon, wanted in daemons.items():
                    if wanted:
                        daemon.ensure()
            yield
        finally:
            # A fork that unwinds this far (a worker of a server, say) is no user of its own.
            if os.getpid() == process:
                _leave(location, users, list(daemons))


def running_as_configured() -> AbstractContextManager[None]:
    """`running`, for what the settings leave to us: for nothing where both addresses are given."""
    if settings.EMBEDDED is None:
        return nullcontext()
    return running(
        settings.EMBEDDED, postgres=settings.EMBEDDED_POSTGRES, redis=settings.EMBEDDED_REDIS
    )


def _leave(location: Location, users: FileLock, daemons: list[Daemon]) -> None:
    with _gate(location):
        if users.acquire(wait=False):
            # All are asked before one is waited for: an impatient second Ctrl-C leaves none behind.
            for daemon in daemons:
                daemon.ask_to_stop()
            for daemon in daemons:
                daemon.await_end()
            with suppress(OSError):
                location.runtime_dir.rmdir()
        users.close()


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
            _hand_over(data_dir, account)
    except OSError as error:
        raise EmbeddedServersError(f"Cannot use {error.filename}: {error.strerror}.") from error


def _hand_over(data_dir: Path, account: Account) -> None:
    """As root: leave nothing in the checkout that its owner and the account cannot use."""
    checkout = data_dir.parent.parent.stat()
    os.chown(data_dir.parent, checkout.st_uid, checkout.st_gid)
    data_dir.parent.chmod(0o755)
    for path in (data_dir, *data_dir.iterdir()):
        account.own(path)


def _make_runtime_dir(runtime_dir: Path, account: Account) -> None:
    """Anybody may write in the folder's parent: take nothing there that is not ours."""
    with suppress(FileExistsError):
        runtime_dir.mkdir(mode=0o700)
    info = runtime_dir.lstat()
    if not stat.S_ISDIR(info.st_mode) or info.st_uid not in (account.uid, os.geteuid()):
        raise EmbeddedServersError(
            f'{runtime_dir} must be a folder of the account "{account.name}" and is not: remove it.'
        )
    runtime_dir.chmod(0o700)
    account.own(runtime_dir)
