"""Fixtures: Chromium, a live server, and visits to the admin."""

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from django.conf import settings
from django.contrib.auth.models import Group, User
from django.db import connections
from django.test import Client
from playwright.sync_api import Browser

from map_project.embedded.static_files import collect
from tests.browser import chromium
from tests.browser.chromium import DESKTOP, Visit
from tests.live import serving

PASSWORD = "a-password-of-the-tests"

Visitor = Callable[..., Visit]


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    if chromium.executable() is None:
        pytest.skip(f"none of these is installed: {', '.join(chromium.NAMES)}")
    # Playwright's event loop runs in this thread, and Django would reject the tests' queries.
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"
    with chromium.running() as running:
        yield running
        # While the event loop runs, Django uses other connections in this thread.
        connections.close_all()
    del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


@pytest.fixture(scope="package")
def desk_port(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A live server that trusts one proxy, with collected static files, as of `make run`."""
    folder = tmp_path_factory.mktemp("collected") / "static"
    collect(folder)
    with serving(TRUSTED_PROXIES="1", STATIC_ROOT=str(folder)) as port:
        yield port


@pytest.fixture
def visit(browser: Browser, desk_port: int) -> Iterator[Visitor]:
    """`visit()` is not signed in, `visit("operator")` is signed in as a user of that group."""
    with ExitStack() as visits:

        def open_visit(group: str | None = None, size: tuple[int, int] = DESKTOP) -> Visit:
            opened = visits.enter_context(chromium.visit(browser, desk_port, size))
            if group:
                enter(opened, account(group))
            return opened

        yield open_visit


def account(group: str, password: str | None = None) -> User:
    """Create a user in the group."""
    user = User.objects.create_user(f"{group}-{uuid.uuid4()}", password=password, is_staff=True)
    user.groups.add(Group.objects.get(name=group))
    return user


def enter(opened: Visit, user: User) -> None:
    """Sign in without the form, whose passwords cost time, and open the dashboard."""
    client = Client()
    client.force_login(user)
    name = settings.SESSION_COOKIE_NAME
    value = client.cookies[name].value
    path = settings.SESSION_COOKIE_PATH
    opened.page.context.add_cookies(
        [{"name": name, "value": value, "domain": "127.0.0.1", "path": path}]
    )
    opened.open("/admin/")
