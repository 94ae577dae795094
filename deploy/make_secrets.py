"""Fills the secrets' volume: a given value is written, a missing one is made, once.

Runs before everything else. The services read the files, so no secret stands in the environment
that `docker inspect` shows.
"""

import os
import secrets
import sys
from pathlib import Path

NAMES = ("SECRET_KEY", "POSTGRES_PASSWORD")


def write(path: Path, text: str) -> None:
    """Put `text` there whole or not at all."""
    part = path.with_name(f".{path.name}")
    part.write_text(text)
    part.replace(path)


def keep(directory: Path, name: str) -> str:
    """See to the secret of this name; tells what was done with it."""
    path = directory / name
    given = os.environ.get(name, "").strip()
    if given:
        changed = not path.exists() or path.read_text() != given
        write(path, given)
        return "taken from the environment" if changed else "unchanged"
    if path.exists():
        return "kept"
    write(path, secrets.token_urlsafe(48))
    return "made"


def main() -> None:
    os.umask(0o077)  # for this user alone
    directory = Path(sys.argv[1])
    for name in NAMES:
        print(f"{name}: {keep(directory, name)}")


if __name__ == "__main__":
    main()
