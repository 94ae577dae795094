"""The account the servers run under."""

import os
import pwd
from collections.abc import Iterator
from pathlib import Path

import pytest

from map_project.embedded.accounts import Account, account_for
from map_project.embedded.errors import EmbeddedServersError
from tests.checkouts import empty_checkout

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can choose")


@pytest.fixture
def folder() -> Iterator[Path]:
    with empty_checkout() as path:
        yield path


@pytest.mark.skipif(os.geteuid() == 0, reason="root never runs them itself")
def test_ourselves(folder: Path) -> None:
    assert account_for(folder / ".map" / "dev") == Account(os.geteuid(), os.getegid())


@as_root
def test_root_takes_an_account_made_for_it(folder: Path) -> None:
    assert account_for(folder / ".map" / "dev").name in ("postgres", "nobody")


@as_root
def test_root_takes_the_owner_of_the_checkout(folder: Path) -> None:
    os.chown(folder, 4321, 4321)

    assert account_for(folder / ".map" / "dev") == Account(4321, 4321)


@as_root
def test_root_takes_the_owner_of_the_data_above_all(folder: Path) -> None:
    data_dir = folder / ".map" / "dev"
    data_dir.mkdir(parents=True)
    os.chown(folder, 4321, 4321)
    os.chown(data_dir, 1234, 1234)

    assert account_for(data_dir) == Account(1234, 1234)


@as_root
def test_root_without_any_such_account_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def getpwnam(name: str) -> pwd.struct_passwd:
        raise KeyError(name)

    monkeypatch.setattr(pwd, "getpwnam", getpwnam)

    with pytest.raises(EmbeddedServersError, match="run as another user"):
        account_for(folder / ".map" / "dev")


def test_data_of_somebody_else_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 4321)

    with pytest.raises(EmbeddedServersError, match="belongs to the account"):
        account_for(folder)


def test_an_account_without_a_name_is_called_by_its_number() -> None:
    assert Account(4321, 4321).name == "4321"


@as_root
def test_a_closed_folder_on_the_way_is_told(folder: Path) -> None:
    inner = folder / "closed" / "inner"
    inner.mkdir(parents=True)
    inner.parent.chmod(0o700)
    account = account_for(folder / ".map" / "dev")

    account.check_reach([folder])
    with pytest.raises(EmbeddedServersError, match=f"cannot reach {inner}: move the checkout"):
        account.check_reach([folder, inner])
    assert inner.parent.stat().st_mode & 0o777 == 0o700
