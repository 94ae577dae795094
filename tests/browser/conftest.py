"""A desk with history, a live server, an installed Chromium."""

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from django.contrib.auth.models import Group, User
from django.db import connections
from playwright.sync_api import Browser

from tests.browser import chromium
from tests.browser.chromium import DESKTOP, Visit
from tests.live import serving

PASSWORD = "a-password-of-the-tests"

Visitor = Callable[..., Visit]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if chromium.executable() is None:
        pytest.skip(f"none of these is installed: {', '.join(chromium.NAMES)}")
    # Playwright's loop runs in this thread; the tests' own queries wait for nothing in it.
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"
    with chromium.running() as running:
        yield running
        # While its loop runs, Django gives this thread other connections than before and after.
        connections.close_all()
    del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


@pytest.fixture(scope="session")
def desk_port(browser: Browser) -> Iterator[int]:
    """A live server that believes one proxy in front of it."""
    with serving(TRUSTED_PROXIES="1") as port:
        yield port


@pytest.fixture
def visit(browser: Browser, desk_port: int) -> Iterator[Visitor]:
    """`visit()` is a stranger, `visit("operator")` somebody of that kind who signed in."""
    with ExitStack() as visits:

        def make(kind: str | None = None, size: tuple[int, int] = DESKTOP) -> Visit:
            made = visits.enter_context(chromium.visit(browser, desk_port, size))
            if kind:
                made.sign_in(account(kind), PASSWORD)
            return made

        yield make


def account(kind: str) -> str:
    """The name of a new account of the group `kind`."""
    user = User.objects.create_user(f"{kind}-{uuid.uuid4()}", password=PASSWORD, is_staff=True)
    user.groups.add(Group.objects.get(name=kind))
    return str(user.username)
