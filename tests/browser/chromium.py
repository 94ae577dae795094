"""The installed Chromium, and visits to the admin."""

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from playwright.sync_api import Browser, Page, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# Chromium runs as root in CI, where its background requests would get no response.
_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
DESKTOP = (1440, 900)
PHONE = (390, 844)


def executable() -> str | None:
    """Return the path of Chromium, or None if it is not installed."""
    return next(filter(None, map(shutil.which, NAMES)), None)


@contextmanager
def running() -> Iterator[Browser]:
    """Run a headless Chromium."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable(), args=list(_FLAGS))
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Visit:
    """A page of the admin in a new browser context, with its own client address."""

    page: Page
    base: str
    # Errors in the console and requests to other hosts.
    problems: list[str] = field(default_factory=list)

    def watch(self) -> None:
        """Start to record problems."""
        self.page.on(
            "console",
            lambda message: self.problems.append(message.text) if message.type == "error" else None,
        )
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on(
            "request",
            lambda request: (
                None
                if request.url.startswith((f"{self.base}/", "data:", "blob:"))
                else self.problems.append(f"a request to {request.url}")
            ),
        )

    def open(self, path: str) -> None:
        """Open a path and wait until the page is loaded."""
        self.page.goto(self.base + path)
        self.page.wait_for_load_state("networkidle")

    def sign_in(self, username: str, password: str) -> None:
        """Open the login form and submit it."""
        self.open("/admin/")
        self.try_password(username, password)
        self.page.wait_for_load_state("networkidle")

    def try_password(self, username: str, password: str) -> None:
        """Submit the login form on the current page."""
        self.page.get_by_label("Username").fill(username)
        self.page.get_by_label("Password").fill(password)
        self.page.get_by_role("button", name="Log in").click()

    @property
    def text(self) -> str:
        """The visible text."""
        return self.page.locator("body").inner_text()


@contextmanager
def visit(browser: Browser, port: int, size: tuple[int, int] = DESKTOP) -> Iterator[Visit]:
    """Open a page. Fail at the end if it had problems."""
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]},
        # As set by a proxy. Each visit has its own address, because failed logins lock an address.
        extra_http_headers={
            "X-Forwarded-For": f"2001:db8:{uuid.uuid4().hex[:4]}:{uuid.uuid4().hex[:4]}::1"
        },
        color_scheme="light",
    )
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    opened = Visit(context.new_page(), f"http://127.0.0.1:{port}")
    opened.watch()
    try:
        yield opened
        assert opened.problems == []
    finally:
        context.close()
