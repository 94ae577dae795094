"""The account of the embedded servers."""

import os
import pwd
from collections.abc import Iterator
from pathlib import Path

import pytest

from map_project.embedded.accounts import Account, account_for
from map_project.embedded.errors import EmbeddedServersError
from tests.checkouts import empty_checkout

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can select an account")


@pytest.fixture
def folder() -> Iterator[Path]:
    with empty_checkout() as path:
        yield path


@pytest.mark.skipif(os.geteuid() == 0, reason="root does not run the servers")
def test_the_account_of_this_process(folder: Path) -> None:
    assert account_for(folder / ".map" / "dev") == Account(os.geteuid(), os.getegid())


@as_root
def test_root_uses_a_system_account(folder: Path) -> None:
    assert account_for(folder / ".map" / "dev").name in ("postgres", "nobody")


@as_root
def test_root_uses_the_owner_of_the_checkout(folder: Path) -> None:
    os.chown(folder, 4321, 4321)

    assert account_for(folder / ".map" / "dev") == Account(4321, 4321)


@as_root
def test_root_prefers_the_owner_of_the_data(folder: Path) -> None:
    data_dir = folder / ".map" / "dev"
    data_dir.mkdir(parents=True)
    os.chown(folder, 4321, 4321)
    os.chown(data_dir, 1234, 1234)

    assert account_for(data_dir) == Account(1234, 1234)


@as_root
def test_root_without_such_an_account_is_an_error(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def getpwnam(name: str) -> pwd.struct_passwd:
        raise KeyError(name)

    monkeypatch.setattr(pwd, "getpwnam", getpwnam)

    with pytest.raises(EmbeddedServersError, match="run as another user"):
        account_for(folder / ".map" / "dev")


def test_an_account_without_a_name_has_its_id_as_name() -> None:
    assert Account(4321, 4321).name == "4321"


@as_root
def test_an_inaccessible_parent_folder_is_reported(folder: Path) -> None:
    inner = folder / "closed" / "inner"
    inner.mkdir(parents=True)
    inner.parent.chmod(0o700)
    account = account_for(folder / ".map" / "dev")

    account.check_reach([folder])
    with pytest.raises(EmbeddedServersError, match=f"cannot reach {inner}: move the checkout"):
        account.check_reach([folder, inner])
    assert inner.parent.stat().st_mode & 0o777 == 0o700
