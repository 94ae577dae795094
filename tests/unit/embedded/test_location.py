"""Where the servers of a checkout are is told by its path alone."""

from pathlib import Path

from map_project.embedded import installed, location


def test_same_path_same_place(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)

    assert location(tmp_path) == location(tmp_path) == location(tmp_path / "link")


def test_places_of_other_checkouts_and_other_names_share_nothing(tmp_path: Path) -> None:
    places = [location(tmp_path), location(tmp_path / "a"), location(tmp_path, "test")]

    assert len({place.data_dir for place in places}) == 3
    assert len({place.runtime_dir for place in places}) == 3


def test_data_lie_in_the_ignored_folder_of_the_checkout(tmp_path: Path) -> None:
    assert location(tmp_path, "test").data_dir == tmp_path / ".map" / "test"


def test_socket_paths_are_short_however_deep_the_checkout_is() -> None:
    deep = Path("/" + "/".join(["a-folder-with-a-long-name"] * 20))

    assert len(str(location(deep).runtime_dir / ".s.PGSQL.5432.lock")) <= 107


def test_addresses_lead_to_the_sockets(tmp_path: Path) -> None:
    place = location(tmp_path)
    name = place.runtime_dir.name

    assert place.database_url == f"postgresql://map@/map?host=%2Ftmp%2F{name}"
    assert place.redis_url == f"unix:///tmp/{name}/redis.sock?db=0"


def test_the_extra_is_installed_where_the_tests_run() -> None:
    assert installed()
