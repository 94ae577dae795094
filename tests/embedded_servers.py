"""The tests' own PostgreSQL and Redis, apart from those of `make run`.

A plugin (`-p tests.embedded_servers`), since the addresses must stand in the environment before
pytest-django reads the settings. Addresses that are there already are used as they are.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from map_project.embedded import Location, location
from map_project.embedded.errors import EmbeddedServersError
from map_project.embedded.locks import FileLock
from map_project.embedded.servers import running

CHECKOUT = Path(__file__).resolve().parent.parent
# Sessions that run at the same time in one checkout: each has servers of its own.
_SESSIONS = 8

_servers = ExitStack()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests() -> Iterator[None]:
    """Start what the environment does not name, before the settings are read."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "map_project.settings"
    os.environ.setdefault("SECRET_KEY", "the tests' own key, which nothing outside them ever sees")
    os.environ.setdefault("SECRETS_KEYS", "dGhlIHRlc3RzJyBvd24ga2V5IG9mIDMyIGJ5dGVzIC4=")
    postgres, redis = "DATABASE_URL" not in os.environ, "REDIS_URL" not in os.environ
    if postgres or redis:
        try:
            own = _free_location()
            _servers.enter_context(running(own, postgres=postgres, redis=redis, durable=False))
        except EmbeddedServersError as error:
            raise pytest.UsageError(str(error)) from error
        os.environ.setdefault("DATABASE_URL", own.database_url)
        os.environ.setdefault("REDIS_URL", own.redis_url)
    return (yield)


def pytest_unconfigure() -> None:
    """Stop what was started, the last of all."""
    _servers.close()


def _free_location() -> Location:
    for number in range(1, _SESSIONS + 1):
        own = location(CHECKOUT, f"test-{number}")
        own.data_dir.parent.mkdir(exist_ok=True)
        lock = _servers.enter_context(FileLock(own.data_dir.with_suffix(".lock")))
        if lock.acquire(wait=False):
            return own
    raise EmbeddedServersError(
        f"{_SESSIONS} test sessions run in {CHECKOUT} already: wait for one."
    )
