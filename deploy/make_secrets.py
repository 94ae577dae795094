"""Fills the secrets' volume: a given value is written, a missing one is made, once.

Runs before everything else. The servers read the files, so `docker inspect` shows no secret of theirs.
"""

import base64
import os
import secrets
import sys
from collections.abc import Callable
from pathlib import Path


def random_text() -> str:
    return secrets.token_urlsafe(48)


def fernet_key() -> str:
    return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()


# What makes each where it is missing; None: nothing does, it is there only while it is given.
MAKERS = {
    "SECRET_KEY": random_text,
    "SECRET_KEY_FALLBACKS": None,
    "SECRETS_KEYS": fernet_key,
    "POSTGRES_PASSWORD": random_text,
}


def write(path: Path, text: str) -> None:
    """Put `text` there whole or not at all."""
    part = path.with_name(f".{path.name}")
    part.write_text(text)
    part.replace(path)


def keep(path: Path, make: Callable[[], str] | None) -> str:
    """See to the secret of this file's name; tells what was done."""
    given = os.environ.get(path.name, "").strip()
    if given:
        changed = not path.exists() or path.read_text() != given
        write(path, given)
        return "taken from the environment" if changed else "unchanged"
    if make is None:
        path.unlink(missing_ok=True)
        return "none"
    if path.exists():
        return "kept"
    write(path, make())
    return "made"


def main() -> None:
    os.umask(0o077)  # for this user alone
    directory = Path(sys.argv[1])
    for name, make in MAKERS.items():
        print(f"{name}: {keep(directory / name, make)}")


if __name__ == "__main__":
    main()
