"""The owners of the embedded servers' files: as root, a command can leave files that nobody else can use."""

import os
import pwd
import shlex
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from map_project.embedded.errors import EmbeddedServersError


def account_name(uid: int) -> str:
    """The user name, or the user ID if there is none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def check_owner(data_dir: Path) -> None:
    """Raise EmbeddedServersError if the data, or the folder for them, belong to another account.

    Root can use them: it runs the servers under the account that owns the data.
    """
    uid, folder = os.geteuid(), data_dir.parent
    for path in () if uid == 0 else (*_closed_folder(data_dir), *_contents(data_dir)):
        # PostgreSQL deletes files at any time, and a folder can be closed by its mode.
        with suppress(OSError):
            if (owner := path.lstat().st_uid) != uid:
                recursive, target = ("", path) if path == folder.parent else ("-R ", folder)
                raise EmbeddedServersError(
                    f'{path} belongs to the account "{account_name(owner)}" and cannot be used by '
                    f'"{account_name(uid)}": stop what runs there, and enter '
                    f"`sudo chown {recursive}{account_name(uid)} {shlex.quote(str(target))}`."
                )


def _closed_folder(data_dir: Path) -> Iterator[Path]:
    """The nearest folder above the data that exists, if this account cannot use it."""
    # Not Path.exists(), which raises PermissionError before Python 3.14.
    parent = data_dir.parent if os.path.exists(data_dir.parent) else data_dir.parent.parent  # noqa: PTH110
    needed = os.X_OK if os.path.exists(data_dir) else os.W_OK | os.X_OK  # noqa: PTH110
    if not os.access(parent, needed):
        yield parent


def _contents(data_dir: Path) -> Iterator[Path]:
    yield data_dir
    for folder, folders, files in os.walk(data_dir):
        yield from (Path(folder, name) for name in (*folders, *files))
