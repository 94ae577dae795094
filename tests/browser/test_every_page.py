"""Every page of the admin: accessibility (axe-core) and width, light and dark, on a desktop and a phone."""

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.contrib.auth.models import User
from playwright.sync_api import Browser, Page

from agents.models import LanguageModel
from map_project.tenants.models import Tenant
from tests.browser import chromium
from tests.browser.chromium import PHONE, Visit
from tests.browser.conftest import PASSWORD, account, enter
from tests.browser.site_map import create_rows, model_pages, own_pages
from tests.checkouts import eventually

pytestmark = pytest.mark.slow

DESKTOP = (1280, 900)
# From 1536 px the theme shows the filters beside the list.
WIDE = ((1440, 900), (1600, 900))
Rows = dict[Any, Any]

_ALL_RULES: dict[str, Any] = {"resultTypes": ["violations"]}
# The only rule whose result depends on the color scheme.
_CONTRAST = {**_ALL_RULES, "runOnly": ["color-contrast"]}
_SERIOUS = """async options => (await axe.run(options)).violations
    .filter(violation => ["critical", "serious"].includes(violation.impact))
    .flatMap(violation => violation.nodes.map(node => `${violation.id}: ${node.html.slice(0, 200)}`))"""


# The part of a list that is outside the box in which it can be scrolled, in pixels.
_CUT = """() => {
    const list = document.querySelector("#result_list");
    const box = list?.closest(".simplebar-content-wrapper") ?? list?.parentElement;
    return box ? box.scrollWidth - box.clientWidth : 0;
}"""


class Report:
    """What is wrong with the pages that were examined."""

    def __init__(self) -> None:
        self.violations: list[str] = []
        self.too_wide: list[str] = []
        self.cut: list[str] = []
        self.examined: set[str] = set()

    def examine_path(self, name: str, path: str, desk: Visit) -> None:
        """Open a path and examine it. The page for 403 is examined once."""
        response = desk.page.goto(desk.base + path)
        if response and response.status == 403:
            if "forbidden" in self.examined:
                return
            name = "forbidden"
        self.examine(name, desk.page)

    def examine(self, name: str, page: Page) -> None:
        """Examine the current page in both sizes and both color schemes."""
        # A color in the middle of a transition has any contrast.
        page.add_style_tag(content="*, ::before, ::after { transition: none !important }")
        page.evaluate(Axe().axe_script)
        for size in (DESKTOP, PHONE):
            page.set_viewport_size({"width": size[0], "height": size[1]})
            for scheme, options in (("light", _ALL_RULES), ("dark", _CONTRAST)):
                page.evaluate(
                    "dark => document.documentElement.classList.toggle('dark', dark)",
                    scheme == "dark",
                )
                where = f"{name}, {size[0]} px, {scheme}"
                self.violations += [f"{where}: {text}" for text in page.evaluate(_SERIOUS, options)]
            width = page.evaluate("document.documentElement.scrollWidth")
            if width > size[0]:
                self.too_wide.append(f"{name}: {width} px of {size[0]} px")
        # Other pages have nothing to cut.
        is_list = page.locator("#result_list").count()
        for width, height in (*WIDE, DESKTOP) if is_list else (DESKTOP,):
            page.set_viewport_size({"width": width, "height": height})
            # The theme adapts the box a moment after the window.
            if not eventually(lambda: page.evaluate(_CUT) == 0, 2):
                self.cut.append(f"{name}, {width} px: {page.evaluate(_CUT)} px")
        self.examined.add(name)


@pytest.fixture(scope="module")
def report(browser: Browser, desk_port: int) -> Report:
    """The report on all pages, as a superuser sees them, and on those without an account."""
    found = Report()
    user = User.objects.create_superuser(f"root-{uuid.uuid4()}", password=PASSWORD)
    rows = create_rows(user)
    with chromium.visit(browser, desk_port, DESKTOP) as desk:
        examine_without_account(desk, found)
        enter(desk, user)
        for name, path in {**own_pages(rows), **model_pages(rows)}.items():
            found.examine_path(name, path, desk)
        for name, reach in STATES.items():
            reach(desk, rows)
            found.examine(name, desk.page)
        # The browser logs each 403, 404 and 429 as an error.
        desk.problems[:] = [text for text in desk.problems if "status of 4" not in text]
    with chromium.visit(browser, desk_port, DESKTOP) as desk:
        enter(desk, account("auditor"))
        for name, path in model_pages(rows).items():
            if name.endswith(" change"):
                found.examine_path(f"{name}, read-only", path, desk)
        desk.problems[:] = [text for text in desk.problems if "status of 4" not in text]
    # Tests of the API compare the list of models.
    rows[LanguageModel].delete()
    return found


def examine_without_account(desk: Visit, found: Report) -> None:
    """The sign-in page, its error, and the page of a locked address."""
    desk.open("/admin/")
    found.examine("sign in", desk.page)
    for attempt in range(10):
        desk.open("/admin/")
        desk.try_password("nobody", "wrong")
        desk.page.wait_for_load_state("networkidle")
        if attempt == 0:
            found.examine("sign in, wrong password", desk.page)
    found.examine("locked out", desk.page)
    desk.page.set_extra_http_headers({"X-Forwarded-For": "2001:db8:1:2::1"})


def with_open_filters(desk: Visit, rows: Rows) -> None:
    desk.open("/admin/executions/execution/")
    desk.page.get_by_role("button", name="Filters").click()


def with_open_account_menu(desk: Visit, rows: Rows) -> None:
    desk.open("/admin/tenants/tenant/")
    desk.page.locator(".desk-account").click()


def with_search_results(desk: Visit, rows: Rows) -> None:
    desk.open("/admin/tenants/tenant/")
    desk.page.keyboard.press("Control+k")
    field = desk.page.locator("#search-input-command")
    field.press_sequentially(rows[Tenant].name[:12], delay=1)
    desk.page.locator("#command-results a").first.wait_for()


def with_field_errors(desk: Visit, rows: Rows) -> None:
    desk.open("/admin/agents/languagemodel/add/")
    desk.page.get_by_role("button", name="Save", exact=True).click()
    desk.page.wait_for_load_state("networkidle")


def with_selected_rows(desk: Visit, rows: Rows) -> None:
    desk.open("/admin/tools/tool/")
    desk.page.locator("input.action-select").first.check()


def with_a_new_key(desk: Visit, rows: Rows) -> None:
    desk.open(f"/admin/tenants/tenant/{rows[Tenant].pk}/issue-key/")
    desk.page.get_by_role("button", name="Issue key").click()
    desk.page.locator("#new-key").wait_for()


def with_a_message(desk: Visit, rows: Rows) -> None:
    desk.open(f"/admin/tenants/tenant/{rows[Tenant].pk}/change/")
    desk.page.get_by_role("button", name="Save", exact=True).click()
    desk.page.wait_for_load_state("networkidle")


def with_runs_to_cancel(desk: Visit, rows: Rows) -> None:
    desk.open("/admin/queue/")
    desk.page.get_by_role("button", name="Cancel the run").first.click()
    desk.page.get_by_role("link", name="Back").wait_for()


STATES: dict[str, Callable[[Visit, Rows], None]] = {
    "open filters": with_open_filters,
    "open account menu": with_open_account_menu,
    "search results": with_search_results,
    "field errors": with_field_errors,
    "selected rows": with_selected_rows,
    "a new key": with_a_new_key,
    "a message": with_a_message,
    "runs to cancel": with_runs_to_cancel,
}


def test_no_page_has_a_serious_accessibility_violation(report: Report) -> None:
    assert len(report.examined) > 60
    assert not report.violations, "\n".join(report.violations)


def test_no_page_is_wider_than_the_screen(report: Report) -> None:
    assert not report.too_wide, "\n".join(report.too_wide)


def test_no_column_of_a_list_is_cut(report: Report) -> None:
    assert not report.cut, "\n".join(report.cut)
