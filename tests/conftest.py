"""Fixtures for all tests.

Every test works on tenants of its own and leaves its rows behind, as tenants do in production:
nothing is rolled back or truncated, so that commits, deferred constraints and other processes are
the real ones. A test must not expect to be alone in the database.
"""

import signal
import uuid
from collections.abc import Iterator

import pytest
from django.test.utils import setup_databases, teardown_databases
from pytest_django import DjangoDbBlocker

from map_project.tenants import last_used
from map_project.tenants.keys import issue_key
from map_project.tenants.models import Tenant
from tests.api import Api, LiveApi
from tests.factories import TenantFactory
from tests.live import serving

pytest_plugins = ["tests.log_guard"]

# Who is started in a shell's background ignores interrupts, and would hand that on to what the tests
# start, and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _database(django_test_environment: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """The test database, made anew; open to all tests (pytest-django would wrap each in a
    transaction, or empty the tables after it).
    """
    with django_db_blocker.unblock():
        databases = setup_databases(verbosity=0, interactive=False)
        yield
        # Or this process would write them when it ends, into a database that is gone.
        last_used.flush()
        teardown_databases(databases, verbosity=0)


def api_of(tenant: Tenant) -> Api:
    """Calls with a fresh key of the tenant."""
    return Api(issue_key(tenant=tenant)[1])


@pytest.fixture
def tenant() -> Tenant:
    return TenantFactory.create()


@pytest.fixture
def other_tenant() -> Tenant:
    return TenantFactory.create()


@pytest.fixture
def api(tenant: Tenant) -> Api:
    """The tenant's client."""
    return api_of(tenant)


@pytest.fixture
def other_api(other_tenant: Tenant) -> Api:
    """The other tenant's client."""
    return api_of(other_tenant)


@pytest.fixture(scope="session")
def live_port() -> Iterator[int]:
    """A live server, shared by the session: two processes with threads."""
    with serving() as port:
        yield port


@pytest.fixture
def live_api(live_port: int, api: Api) -> LiveApi:
    """The tenant's client at the live server."""
    return LiveApi(live_port, api.key)


@pytest.fixture
def unknown_id() -> str:
    """An id that no row has."""
    return str(uuid.uuid4())
