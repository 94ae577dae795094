"""The pages of the API documentation in a browser."""

import pytest
from playwright.sync_api import expect

from map_project.tenants.models import Tenant
from tests.browser.conftest import Visitor
from tests.conftest import api_of

pytestmark = pytest.mark.slow


def test_swagger_ui_keeps_the_key_and_calls_the_api(visit: Visitor, tenant: Tenant) -> None:
    docs = visit()
    docs.open("/docs")
    assert docs.page.context.cookies() == []
    key = api_of(tenant).key
    assert key
    docs.page.locator("button.authorize").first.click()
    docs.page.locator(".modal-ux input").first.fill(key)
    docs.page.locator(".modal-ux button.authorize").first.click()
    docs.page.reload()
    docs.page.wait_for_load_state("networkidle")
    operation = docs.page.locator("#operations-tools-tools_create")
    operation.locator(".opblock-summary-control").click()
    operation.get_by_role("button", name="Try it out").click()
    operation.get_by_role("button", name="Execute").click()
    command = operation.locator(".curl")
    expect(command).to_contain_text(f"X-API-KEY: {key}")
    expect(operation.locator(".live-responses-table")).to_contain_text("201")
    assert "csrf" not in command.inner_text().lower()


def test_redoc_asks_no_other_host(visit: Visitor) -> None:
    docs = visit()
    docs.open("/redoc")
    expect(docs.page.get_by_role("heading", name="Mini Agent Platform")).to_be_visible()
    expect(docs.page.locator("img:visible")).to_have_count(0)
