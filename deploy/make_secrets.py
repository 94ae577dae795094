"""Write the secrets to the volume: values from the environment, and random values for missing ones.

Runs before the other services. They read the files, so `docker inspect` does not show their secrets.
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


# Generators for missing secrets. None: the secret is optional, and removed if it is not in the environment.
GENERATORS = {
    "SECRET_KEY": random_text,
    "SECRET_KEY_FALLBACKS": None,
    "SECRETS_KEYS": fernet_key,
    "POSTGRES_PASSWORD": random_text,
}


def write(path: Path, text: str) -> None:
    """Write `text` atomically."""
    draft = path.with_name(f".{path.name}")
    draft.write_text(text)
    draft.replace(path)


def update(path: Path, generate: Callable[[], str] | None) -> str:
    """Write, generate or remove the secret with the name of this file. Return what was done."""
    given = os.environ.get(path.name, "").strip()
    if given:
        changed = not path.exists() or path.read_text() != given
        write(path, given)
        return "written from the environment" if changed else "unchanged"
    if generate is None:
        path.unlink(missing_ok=True)
        return "none"
    if path.exists():
        return "kept"
    write(path, generate())
    return "generated"


def main() -> None:
    os.umask(0o077)  # no access for other users
    directory = Path(sys.argv[1])
    for name, generate in GENERATORS.items():
        print(f"{name}: {update(directory / name, generate)}")


if __name__ == "__main__":
    main()
