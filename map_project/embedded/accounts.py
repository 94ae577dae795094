"""Which account the servers run under, and that it can reach what it needs."""

import os
import pwd
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from map_project.embedded.errors import EmbeddedServersError


@dataclass(frozen=True)
class Account:
    """An account of this machine that is not root."""

    uid: int
    gid: int

    @property
    def name(self) -> str:
        """What people call it; its number if it has no name."""
        try:
            return pwd.getpwuid(self.uid).pw_name
        except KeyError:
            return str(self.uid)

    @property
    def is_other(self) -> bool:
        """Whether it is another than the one we are: only root gets such an account."""
        return self.uid != os.geteuid()

    def own(self, path: Path) -> None:
        """Give it a file or folder that we made, unless that is gone by now."""
        if self.is_other:
            with suppress(FileNotFoundError):
                os.chown(path, self.uid, self.gid, follow_symlinks=False)

    def popen_arguments(self) -> dict[str, Any]:
        """What makes ``subprocess`` start a program under this account, in its own session."""
        arguments: dict[str, Any] = {"start_new_session": True, "umask": 0o077}
        if self.is_other:
            arguments |= {"user": self.uid, "group": self.gid, "extra_groups": []}
        return arguments

    def check_reach(self, paths: Sequence[Path]) -> None:
        """Refuse with the first of these programs and folders that this account cannot reach."""
        for path in paths if self.is_other else ():
            test = ["/bin/sh", "-c", 'test -x "$0"', str(path)]
            if subprocess.run(test, cwd="/", **self.popen_arguments()).returncode:
                raise EmbeddedServersError(
                    f'As root, the database runs under the account "{self.name}", which cannot '
                    f"reach {path}: move the checkout to a folder that every account may enter "
                    "(/srv, say), or run as another user than root."
                )


def account_for(data_dir: Path) -> Account:
    """Ourselves; for root the owner of the data or the checkout, else an account made for this."""
    if os.geteuid() != 0:
        _refuse_foreign(data_dir)
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
        "PostgreSQL does not run as root, and this machine has neither an account "
        '"postgres" nor "nobody": run as another user.'
    )


def _refuse_foreign(data_dir: Path) -> None:
    if data_dir.exists() and (uid := data_dir.stat().st_uid) != os.geteuid():
        owner = Account(uid, uid).name
        raise EmbeddedServersError(
            f'{data_dir} belongs to the account "{owner}": run as that account or as root, '
            "or remove the folder, and its data with it."
        )
