"""The embedded servers with several users, and after crashes."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
import redis

from map_project.embedded import Location, location
from map_project.embedded.errors import EmbeddedServersError
from map_project.embedded.servers import running
from tests.checkouts import SOURCE, empty_checkout, environment, eventually, is_running, server_pids

pytestmark = pytest.mark.slow

_USER = """
import sys
from pathlib import Path
from map_project.embedded import location
from map_project.embedded.errors import EmbeddedServersError
from map_project.embedded.servers import running
try:
    with running(location(Path(sys.argv[1]))):
        print("up", flush=True)
        sys.stdin.readline()
except EmbeddedServersError as error:
    sys.exit(str(error))
"""


@pytest.fixture
def place() -> Iterator[Location]:
    with empty_checkout() as folder:
        yield location(folder)
        if any(map(is_running, server_pids(location(folder)).values())):
            with running(location(folder)):
                pass  # stops servers that the test left running


@contextmanager
def another_user(place: Location) -> Iterator[subprocess.Popen[str]]:
    """Start a process that uses the servers until it is killed or the block ends."""
    user = subprocess.Popen(
        [sys.executable, "-c", _USER, str(place.data_dir.parent.parent)],
        cwd=SOURCE,
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield user
    finally:
        user.communicate("\n", timeout=60)


def ready(user: subprocess.Popen[str]) -> bool:
    assert user.stdout
    return user.stdout.readline() == "up\n"


def query(place: Location, sql: str) -> list[tuple[object, ...]]:
    with psycopg.connect(place.database_url) as connection:
        cursor = connection.execute(sql.encode())
        return cursor.fetchall() if cursor.description else []


def redis_client(place: Location) -> redis.Redis:
    return redis.Redis.from_url(place.redis_url, single_connection_client=True)


def store_data(place: Location) -> None:
    query(place, "CREATE TABLE kept AS SELECT 42 AS value")
    with redis_client(place) as client:
        client.set("kept", "42")


def assert_data_is_kept(place: Location) -> None:
    assert query(place, "SELECT value FROM kept") == [(42,)]
    with redis_client(place) as client:
        assert client.get("kept") == b"42"


def test_settings_of_the_servers(place: Location) -> None:
    with running(place):
        names = ("server_version_num", "timezone", "server_encoding", "listen_addresses")
        values = [query(place, f"SHOW {name}")[0][0] for name in names]
        assert str(values[0]).startswith("18")
        assert values[1:] == ["UTC", "UTF8", ""]
        assert query(place, "SELECT upper('ä'), 'Z' < 'a'") == [("Ä", True)]
        with redis_client(place) as client:
            assert client.config_get("*a*")["appendonly"] == "yes"
            assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
            assert client.config_get("port") == {"port": "0"}


def test_they_receive_no_signals_of_the_terminal_and_stop_with_their_user(place: Location) -> None:
    with running(place):
        pids = server_pids(place)
        assert set(pids) == {"postgres", "redis"}
        assert all(os.getsid(pid) != os.getsid(0) for pid in pids.values())
    assert not any(map(is_running, pids.values()))
    assert not place.runtime_dir.exists()


def test_one_server_can_run_alone(place: Location) -> None:
    with running(place, redis=False):
        assert set(server_pids(place)) == {"postgres"}
    with running(place, postgres=False):
        assert set(server_pids(place)) == {"redis"}


def test_data_are_kept(place: Location) -> None:
    with running(place):
        store_data(place)
    with running(place):
        assert_data_is_kept(place)


def test_data_that_are_not_durable_are_deleted(place: Location) -> None:
    with running(place, durable=False):
        store_data(place)
    with running(place, durable=False):
        assert query(place, "SELECT to_regclass('kept')") == [(None,)]


def test_the_last_user_stops_them(place: Location) -> None:
    with another_user(place) as user:
        assert ready(user)
        pids = server_pids(place)
        with running(place):
            assert server_pids(place) == pids
        assert all(map(is_running, pids.values()))
    assert not any(map(is_running, pids.values()))


def test_servers_of_a_killed_user_are_reused(place: Location) -> None:
    with another_user(place) as user:
        assert ready(user)
        pids = server_pids(place)
        user.kill()
        user.wait()
        assert all(map(is_running, pids.values()))
        with running(place):
            assert server_pids(place) == pids
            assert query(place, "SELECT 1") == [(1,)]
        assert not any(map(is_running, pids.values()))


def test_simultaneous_users_share_the_servers(place: Location) -> None:
    with (
        another_user(place) as first,
        another_user(place) as second,
        another_user(place) as third,
    ):
        assert all(map(ready, (first, second, third)))
        pids = server_pids(place)
    assert not any(map(is_running, pids.values()))


@pytest.mark.parametrize("victim", ["postgres", "redis"])
def test_a_killed_server_is_restarted_with_its_data(place: Location, victim: str) -> None:
    with running(place):
        store_data(place)
        killed = server_pids(place)[victim]
        os.kill(killed, signal.SIGKILL)
        assert eventually(lambda: not is_running(killed))
        with running(place):
            assert server_pids(place)[victim] != killed
            assert_data_is_kept(place)


def test_start_after_a_power_failure(place: Location) -> None:
    """All processes are killed, and the remaining pid and lock files name an unrelated process."""
    with another_user(place) as user:
        assert ready(user)
        store_data(place)
        pids = server_pids(place)
        user.kill()
        for pid in pids.values():
            os.kill(pid, signal.SIGKILL)
        assert eventually(lambda: not any(map(is_running, pids.values())))
    pid_file = place.data_dir / "postgres" / "postmaster.pid"
    unrelated = str(os.getpid())
    for file in (pid_file, place.runtime_dir / ".s.PGSQL.5432.lock"):
        file.write_text(file.read_text().replace(str(pids["postgres"]), unrelated))

    with running(place):
        assert_data_is_kept(place)


@pytest.mark.slow
def test_servers_without_sockets_are_replaced(
    place: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("map_project.embedded.daemon._ADOPT_SECONDS", 0.2)
    with running(place):
        for socket in place.runtime_dir.iterdir():
            socket.unlink()
        with running(place):
            assert query(place, "SELECT 1") == [(1,)]


def test_an_interrupted_first_start_is_repeated(place: Location) -> None:
    unfinished = place.data_dir / "postgres.new" / "base"
    unfinished.mkdir(parents=True)

    with running(place):
        assert query(place, "SELECT 1") == [(1,)]
    assert not unfinished.exists()


def test_data_of_another_major_version_are_an_error(place: Location) -> None:
    data = place.data_dir / "postgres"
    data.mkdir(parents=True)
    (data / "PG_VERSION").write_text("17\n")

    with (
        pytest.raises(
            EmbeddedServersError, match="created by PostgreSQL 17, and this is PostgreSQL 18"
        ),
        running(place),
    ):
        pass
    (data / "PG_VERSION").unlink()
    data.rmdir()


def test_the_error_of_a_failed_start_has_the_message_of_the_server(place: Location) -> None:
    with running(place):
        pass
    configuration = place.data_dir / "postgres" / "postgresql.conf"
    valid = configuration.read_text()
    configuration.write_text("work_mem = lots\n")

    with (
        pytest.raises(EmbeddedServersError, match=r"PostgreSQL did not start in .*FATAL"),
        running(place),
    ):
        pass
    assert "redis" not in server_pids(place)
    configuration.write_text(valid)


@pytest.mark.slow
def test_a_deep_checkout() -> None:
    with empty_checkout() as folder:
        deep = folder.joinpath(*["a-folder-with-a-rather-long-name"] * 8)
        deep.mkdir(parents=True)
        with running(location(deep)):
            assert query(location(deep), "SELECT 1") == [(1,)]


@pytest.mark.parametrize("kind", ["a file", "a link"])
def test_an_invalid_runtime_folder_is_an_error(place: Location, tmp_path: Path, kind: str) -> None:
    if kind == "a file":
        place.runtime_dir.touch()
    else:
        place.runtime_dir.symlink_to(tmp_path)

    with (
        pytest.raises(EmbeddedServersError, match="must be a folder of the account"),
        running(place),
    ):
        pass
    place.runtime_dir.unlink()


@pytest.mark.skipif(os.geteuid() != 0, reason="requires root")
def test_a_runtime_folder_of_another_account_is_an_error(place: Location) -> None:
    place.runtime_dir.mkdir()
    os.chown(place.runtime_dir, 4321, 4321)

    with (
        pytest.raises(EmbeddedServersError, match="must be a folder of the account"),
        running(place),
    ):
        pass
    shutil.rmtree(place.runtime_dir, ignore_errors=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="requires root")
def test_root_uses_another_account_and_changes_no_permissions(place: Location) -> None:
    checkout = place.data_dir.parent.parent
    parents = {folder: folder.stat().st_mode for folder in (checkout, *checkout.parents)}
    with running(place):
        owners = {Path(f"/proc/{pid}").stat().st_uid for pid in server_pids(place).values()}
        assert owners == {place.data_dir.stat().st_uid}
        assert 0 not in owners
        assert place.data_dir.stat().st_mode & 0o777 == 0o700
        assert place.runtime_dir.stat().st_mode & 0o777 == 0o700
    assert {folder: folder.stat().st_mode for folder in parents} == parents


@pytest.mark.skipif(os.geteuid() != 0, reason="requires root")
def test_the_error_of_an_inaccessible_folder_says_what_to_do() -> None:
    with empty_checkout() as folder:
        folder.chmod(0o700)
        with (
            pytest.raises(EmbeddedServersError, match="move the checkout"),
            running(location(folder)),
        ):
            pass
        assert folder.stat().st_mode & 0o777 == 0o700


def test_the_error_of_a_missing_redis_says_what_to_do(
    place: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("map_project.embedded.redis.find_spec", lambda _name: None)

    with pytest.raises(EmbeddedServersError, match="install redis-server"), running(place):
        pass
    assert server_pids(place) == {}


def test_the_error_of_a_missing_postgresql_says_what_to_do(
    place: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("map_project.embedded.postgres.find_spec", lambda _name: None)

    with pytest.raises(EmbeddedServersError, match="install the extra"), running(place):
        pass
