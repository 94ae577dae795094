"""The Chromium that is installed, and a person in front of it."""

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from playwright.sync_api import Browser, Page, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# It runs as root in CI, and is not to call home: nobody would answer.
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
    """Where it is; None where there is none."""
    return next(filter(None, map(shutil.which, NAMES)), None)


@contextmanager
def running() -> Iterator[Browser]:
    """A headless one, until left."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable(), args=list(_FLAGS))
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Visit:
    """A person at the desk, in a browser without a past, from an address of their own."""

    page: Page
    base: str
    # What no page may do: complain in the console, or ask another host.
    problems: list[str] = field(default_factory=list)

    def watch(self) -> None:
        """From now on, note all that."""
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
        """Go there, and wait until it is all there."""
        self.page.goto(self.base + path)
        self.page.wait_for_load_state("networkidle")

    def sign_in(self, username: str, password: str) -> None:
        """Fill in the form."""
        self.open("/admin/")
        self.try_password(username, password)
        self.page.wait_for_load_state("networkidle")

    def try_password(self, username: str, password: str) -> None:
        """Fill in the form that is there."""
        self.page.get_by_label("Username").fill(username)
        self.page.get_by_label("Password").fill(password)
        self.page.get_by_role("button", name="Log in").click()

    @property
    def text(self) -> str:
        """What can be read."""
        return self.page.locator("body").inner_text()


@contextmanager
def visit(browser: Browser, port: int, size: tuple[int, int] = DESKTOP) -> Iterator[Visit]:
    """A visit; what went wrong on it fails at its end."""
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]},
        # As a proxy in front would tell; an address that fails too often is locked, and no other.
        extra_http_headers={
            "X-Forwarded-For": f"2001:db8:{uuid.uuid4().hex[:4]}:{uuid.uuid4().hex[:4]}::1"
        },
        color_scheme="light",
    )
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    made = Visit(context.new_page(), f"http://127.0.0.1:{port}")
    made.watch()
    try:
        yield made
        assert made.problems == []
    finally:
        context.close()
