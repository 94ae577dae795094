"""The operating system account that the servers run under."""

import os
import pwd
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from map_project.embedded.errors import EmbeddedServersError
from map_project.embedded.ownership import account_name


@dataclass(frozen=True)
class Account:
    """An account that is not root."""

    uid: int
    gid: int

    @property
    def name(self) -> str:
        """The user name, or the user ID if there is none."""
        return account_name(self.uid)

    @property
    def is_other(self) -> bool:
        """Whether it differs from the account of this process. Only root uses another account."""
        return self.uid != os.geteuid()

    def own(self, path: Path) -> None:
        """Make this account the owner of a file or folder, if it still exists."""
        if self.is_other:
            with suppress(FileNotFoundError):
                os.chown(path, self.uid, self.gid, follow_symlinks=False)

    def popen_arguments(self) -> dict[str, Any]:
        """Arguments of `subprocess.Popen` for a program under this account, in a new session."""
        arguments: dict[str, Any] = {"start_new_session": True, "umask": 0o077}
        if self.is_other:
            arguments |= {"user": self.uid, "group": self.gid, "extra_groups": []}
        return arguments

    def check_reach(self, paths: Sequence[Path]) -> None:
        """Raise EmbeddedServersError for the first of these paths that this account cannot enter."""
        for path in paths if self.is_other else ():
            test = ["/bin/sh", "-c", 'test -x "$0"', str(path)]
            if subprocess.run(test, cwd="/", **self.popen_arguments()).returncode:
                raise EmbeddedServersError(
                    f'As root, the database runs under the account "{self.name}", which cannot '
                    f"reach {path}: move the checkout to a folder that every account can enter (for "
                    "example /srv), or do not run as root."
                )


def account_for(data_dir: Path) -> Account:
    """The account for the servers of `data_dir`.

    For root: the owner of the data or of the checkout, else "postgres" or "nobody".
    """
    if os.geteuid() != 0:
        return Account(os.geteuid(), os.getegid())
    for folder in (data_dir, data_dir.parent.parent):
        if folder.exists() and (info := folder.stat()).st_uid != 0:
            return Account(info.st_uid, info.st_gid)
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_uid, entry.pw_gid)
    raise EmbeddedServersError(
        "PostgreSQL does not run as root, and this machine has no account "
        '"postgres" or "nobody": run as another user.'
    )
