"""The location of the servers depends only on the path of the checkout."""

from pathlib import Path

from map_project.embedded import installed, location


def test_the_same_path_has_the_same_location(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)

    assert location(tmp_path) == location(tmp_path) == location(tmp_path / "link")


def test_other_checkouts_and_other_names_have_other_locations(tmp_path: Path) -> None:
    places = [location(tmp_path), location(tmp_path / "a"), location(tmp_path, "test")]

    assert len({place.data_dir for place in places}) == 3
    assert len({place.runtime_dir for place in places}) == 3


def test_the_data_are_in_the_ignored_folder_of_the_checkout(tmp_path: Path) -> None:
    assert location(tmp_path, "test").data_dir == tmp_path / ".map" / "test"


def test_socket_paths_are_short_for_a_deep_checkout() -> None:
    deep = Path("/" + "/".join(["a-folder-with-a-long-name"] * 20))

    assert len(str(location(deep).runtime_dir / ".s.PGSQL.5432.lock")) <= 107


def test_the_urls_contain_the_sockets(tmp_path: Path) -> None:
    place = location(tmp_path)
    name = place.runtime_dir.name

    assert place.database_url == f"postgresql://map@/map?host=%2Ftmp%2F{name}"
    assert place.redis_url == f"unix:///tmp/{name}/redis.sock?db=0"


def test_the_embedded_servers_are_installed() -> None:
    assert installed()
