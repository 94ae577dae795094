"""PostgreSQL and Redis for the tests, separate from those of `make run`.

A plugin (`-p tests.embedded_servers`), because the addresses must be in the environment before
pytest-django reads the settings. Addresses that are already set are used. Each worker process of
pytest-xdist has its own servers.
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
# The number of concurrent test sessions in one checkout. Each has its own servers.
_SESSIONS = 8

_servers = ExitStack()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Iterator[None]:
    """Start the servers whose address is not set, before the settings are read."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "map_project.settings"
    os.environ.setdefault("SECRET_KEY", "a key for the tests only, with more than fifty characters")
    os.environ.setdefault("SECRETS_KEYS", "dGhlIHRlc3RzJyBvd24ga2V5IG9mIDMyIGJ5dGVzIC4=")
    postgres, redis = "DATABASE_URL" not in os.environ, "REDIS_URL" not in os.environ
    if (postgres or redis) and _runs_tests(early_config):
        try:
            place = _free_location()
            _servers.enter_context(running(place, postgres=postgres, redis=redis, durable=False))
        except EmbeddedServersError as error:
            raise pytest.UsageError(str(error)) from error
        os.environ.setdefault("DATABASE_URL", place.database_url)
        os.environ.setdefault("REDIS_URL", place.redis_url)
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_sessionfinish() -> Iterator[None]:
    """Stop the servers after the fixtures.

    pytest-xdist kills a worker process that does not exit soon after its session.
    """
    yield
    _servers.close()


def pytest_unconfigure() -> None:
    """Stop the servers if there was no session."""
    _servers.close()


def _runs_tests(early_config: pytest.Config) -> bool:
    """Return whether this process runs the tests itself, and not only distributes them to workers."""
    workers = getattr(early_config.known_args_namespace, "numprocesses", None)
    return not workers or "PYTEST_XDIST_WORKER" in os.environ


def _free_location() -> Location:
    for number in range(1, _SESSIONS + 1):
        place = location(CHECKOUT, f"test-{number}")
        place.data_dir.parent.mkdir(exist_ok=True)
        lock = _servers.enter_context(FileLock(place.data_dir.with_suffix(".lock")))
        if lock.acquire(wait=False):
            return place
    raise EmbeddedServersError(
        f"{_SESSIONS} test sessions already run in {CHECKOUT}: wait until one ends."
    )
