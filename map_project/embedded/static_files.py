"""The collected static files of a checkout, for `make run`."""

import hashlib
import subprocess
import sys
from pathlib import Path

from django.conf import settings
from django.contrib.staticfiles.finders import get_finders

from map_project.embedded.errors import EmbeddedServersError
from map_project.environment import child_environment


def collect(folder: Path) -> None:
    """Run collectstatic into the folder, unless no file has changed since the last time."""
    stamp = folder.with_suffix(".sha256")
    digest = _digest()
    try:
        if folder.is_dir() and stamp.is_file() and stamp.read_text() == digest:
            return
        folder.mkdir(parents=True, exist_ok=True)
        stamp.unlink(missing_ok=True)
        subprocess.run(
            [sys.executable, "manage.py", "collectstatic", "--clear", "--noinput", "--verbosity=0"],
            cwd=settings.BASE_DIR,
            env=child_environment(STATIC_ROOT=str(folder)),
            check=True,
        )
        stamp.write_text(digest)
    except OSError as error:
        raise EmbeddedServersError(f"Cannot write {error.filename}: {error.strerror}.") from error
    except subprocess.CalledProcessError:
        raise EmbeddedServersError("Cannot collect the static files.") from None


def _digest() -> str:
    """A digest of the names, sizes and modification times of all static files."""
    digest = hashlib.sha256()
    for finder in get_finders():
        for name, storage in finder.list([]):
            status = Path(storage.path(name)).stat()
            digest.update(f"{name}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()
