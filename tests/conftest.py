"""Fixtures for all tests.

Each test creates its own tenants and leaves its rows in the database. Nothing is rolled back or
truncated, so commits, deferred constraints and other processes behave as in production. A test must
not depend on the rows of other tests or on their absence.

`make test` distributes the files of tests to several processes, which must find the same tests: their
names contain no time and no random value.
"""

import signal
import uuid
from collections.abc import Iterator, Sequence

import hypothesis
import pytest
from django.test.utils import setup_databases, teardown_databases
from pytest_django import DjangoDbBlocker

from map_project.tenants import last_used
from map_project.tenants.keys import issue_key
from map_project.tenants.models import Tenant
from tests.api import Api, LiveApi
from tests.factories import TenantFactory
from tests.live import serving
from tests.stub_model import StubModel, stub_model

pytest_plugins = ["tests.log_guard"]

# No example fails because the machine is busy.
hypothesis.settings.register_profile(
    "busy", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("busy")

# A process started in the background of a shell ignores SIGINT, and so would its children.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _database(
    django_test_environment: None,
    django_db_modify_db_settings: None,
    django_db_blocker: DjangoDbBlocker,
) -> Iterator[None]:
    """Create the test database (each worker of pytest-xdist its own) and allow all tests to use it.

    The fixtures of pytest-django would wrap each test in a transaction or truncate the tables.
    """
    with django_db_blocker.unblock():
        databases = setup_databases(verbosity=0, interactive=False)
        yield
        # Otherwise they are written at the exit of this process, after the database is dropped.
        last_used.flush()
        teardown_databases(databases, verbosity=0)


def api_of(tenant: Tenant, scopes: Sequence[str] | None = None) -> Api:
    """Return a client with a new key of the tenant."""
    return Api(issue_key(tenant=tenant, scopes=scopes)[1])


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
    """A live server with two workers, shared by the session."""
    with serving() as port:
        yield port


@pytest.fixture
def live_api(live_port: int, api: Api) -> LiveApi:
    """The tenant's client for the live server."""
    return LiveApi(live_port, api.key)


@pytest.fixture(scope="module")
def model_server() -> Iterator[StubModel]:
    """Run a scripted model provider."""
    with stub_model() as stub:
        yield stub


@pytest.fixture
def unknown_id() -> str:
    """An id that no row has."""
    return str(uuid.uuid4())
