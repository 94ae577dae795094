"""The admin without a mouse: each control is reached with Tab, used with Enter or Space, left with Escape."""

import pytest
from playwright.sync_api import Locator, Page, expect

from map_project.tenants.models import Tenant
from tests.browser.chromium import PHONE
from tests.browser.conftest import Visitor

pytestmark = pytest.mark.slow

MAX_TABS = 60


def tab_to(page: Page, control: Locator) -> None:
    """Press Tab until the control has the focus."""
    expect(control).to_be_visible()
    for _ in range(MAX_TABS):
        page.keyboard.press("Tab")
        if control.evaluate("element => element === document.activeElement"):
            return
    raise AssertionError(f"Tab does not reach {control}")


def test_the_filters_are_opened_and_closed(visit: Visitor, tenant: Tenant) -> None:
    page = visit("operator", (1280, 900)).page
    for path in ("executions/execution", "tenants/tenant", "agents/agent"):
        page.goto(f"{page.url.partition('/admin/')[0]}/admin/{path}/")
        button = page.get_by_role("button", name="Filters", exact=True)
        tab_to(page, button)
        expect(button).to_have_attribute("aria-expanded", "false")
        page.keyboard.press("Enter")
        expect(page.get_by_role("region", name="Filters")).to_be_focused()
        expect(button).to_have_attribute("aria-expanded", "true")
        page.keyboard.press("Tab")
        is_inside = "document.activeElement.closest('#changelist-filter') !== null"
        assert page.evaluate(is_inside), path
        page.keyboard.press("Escape")
        expect(page.get_by_role("region", name="Filters")).to_be_hidden()
        expect(button).to_be_focused()


def test_the_account_menu_is_used(visit: Visitor) -> None:
    page = visit("operator", (1280, 900)).page
    button = page.locator("button.desk-account")
    tab_to(page, button)
    page.keyboard.press("Space")
    light = page.get_by_role("button", name="Light")
    expect(light).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("html")).to_have_class("dark")
    page.keyboard.press("Escape")
    expect(light).to_be_hidden()
    expect(button).to_be_focused()


def test_the_sidebar_is_hidden_and_shown(visit: Visitor) -> None:
    page = visit("operator", (1280, 900)).page
    button, sidebar = page.get_by_role("button", name="Menu"), page.locator("#nav-sidebar")
    tab_to(page, button)
    page.keyboard.press("Enter")
    expect(sidebar).to_be_hidden()
    page.keyboard.press("Enter")
    expect(sidebar).to_be_visible()


def test_the_menu_of_a_phone_is_opened_and_closed(visit: Visitor) -> None:
    page = visit("operator", PHONE).page
    button, sidebar = (
        page.get_by_role("button", name="Menu", exact=True),
        page.locator("#nav-sidebar"),
    )
    tab_to(page, button)
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Close the menu")).to_be_focused()
    page.keyboard.press("Escape")
    expect(sidebar).to_be_hidden()
    expect(button).to_be_focused()


def test_the_menu_can_be_skipped(visit: Visitor) -> None:
    page = visit("operator", (1280, 900)).page
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("main")).to_be_focused()


def test_the_color_scheme_of_the_sign_in_page_is_changed(visit: Visitor) -> None:
    desk = visit()
    desk.open("/admin/login/")
    tab_to(desk.page, desk.page.get_by_role("button", name="Color scheme"))
    desk.page.keyboard.press("Enter")
    tab_to(desk.page, desk.page.get_by_role("button", name="Dark"))
    desk.page.keyboard.press("Enter")
    expect(desk.page.locator("html")).to_have_class("dark")


def test_icons_are_not_read_aloud(visit: Visitor, tenant: Tenant) -> None:
    desk = visit("operator", (1280, 900))
    for path in ("/admin/", "/admin/tenants/tenant/", f"/admin/tenants/tenant/{tenant.pk}/change/"):
        desk.open(path)
        icons = desk.page.locator(".material-symbols-outlined:not([aria-hidden=true]):visible")
        assert (
            icons.evaluate_all("icons => icons.filter(icon => icon.role !== 'button').length") == 0
        )
