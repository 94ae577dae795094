"""The admin in a browser, against a live server."""

import re
import time
import uuid
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import expect

from agents.models import LanguageModel
from executions.models import Conversation, Execution, Step
from map_project.tenants.models import Tenant
from tests.api import LiveApi
from tests.browser.chromium import PHONE, Visit
from tests.browser.conftest import PASSWORD, account
from tests.checkouts import eventually
from tests.conftest import api_of
from tests.factories import AgentFactory, ApprovalFactory, ExecutionFactory
from tests.streams import streaming
from tests.stub_model import completion, streamed, stub_model

pytestmark = pytest.mark.slow

Visitor = Callable[..., Visit]


@pytest.fixture
def execution(tenant: Tenant) -> Execution:
    """A failed execution. The tenant has three successful ones as well."""
    agent = AgentFactory.create(tenant=tenant, name="Researcher")
    ExecutionFactory.create_batch(3, agent=agent)
    return ExecutionFactory.create(
        agent=agent,
        prompt="What <b>changed</b> in the third quarter?\nBriefly.",
        response="Prices did.",
        status="failed",
        error_code="MODEL_TIMEOUT",
    )


def test_the_dashboard_shows_the_runs(visit: Visitor, execution: Execution) -> None:
    desk = visit("operator")
    for name in ("1 hour", "24 hours", "7 days", "30 days"):
        desk.page.get_by_role("link", name=name, exact=True).click()
        desk.page.wait_for_load_state("networkidle")
        expect(desk.page.get_by_role("img", name="Runs over time, by status")).to_be_visible()
        expect(desk.page.get_by_label("Failures")).to_contain_text("MODEL_TIMEOUT")
    expect(desk.page.get_by_label("Rate limit usage")).to_contain_text("of 100 per 60 s")
    expect(desk.page.get_by_label("Latest runs")).to_contain_text("Researcher")
    chart_types = desk.page.evaluate(
        "[...document.querySelectorAll('canvas')].map(canvas => Chart.getChart(canvas).config.type)"
    )
    assert chart_types == ["bar", "bar", "line"]


def test_long_durations_have_larger_units(visit: Visitor, execution: Execution) -> None:
    desk = visit("operator")
    desk.open("/admin/?range=1h")
    shown = desk.page.evaluate(
        """() => {
            const latency = Chart.getChart(document.querySelector("canvas[data-chart=latency]"));
            const format = latency.options.scales.y.ticks.callback;
            return [1, 10_000, 100_000, 10_000_000].map(value => format(value));
        }"""
    )
    assert shown == ["1 ms", "10 s", "1 min 40 s", "2 h 46 min"]


def test_the_charts_lead_to_their_runs(visit: Visitor, execution: Execution) -> None:
    desk = visit("operator")
    desk.open("/admin/?range=1h")
    shown = desk.page.evaluate(
        """() => {
            const latency = Chart.getChart(document.querySelector("canvas[data-chart=latency]"));
            const p50 = latency.data.datasets.find(each => each.label === "p50");
            return {spanGaps: p50.spanGaps, values: p50.data,
                    drawn: p50.data.map((value, at) => value === null || latency.getDatasetMeta(
                        latency.data.datasets.indexOf(p50)).data[at].skip !== true)};
        }"""
    )
    # A p50 of 0 ms is drawn, and times without runs are gaps.
    assert shown["spanGaps"] is False
    assert None in shown["values"]
    assert all(value is None or value >= 1 for value in shown["values"])
    assert all(shown["drawn"])
    bar = desk.page.evaluate(
        """() => {
            const canvas = document.querySelector("canvas[data-chart=runs]");
            const chart = Chart.getChart(canvas);
            const at = chart.data.datasets.findIndex(each => each.label === "failed");
            const index = chart.data.datasets[at].data.findLastIndex(runs => runs > 0);
            const {x, y, base} = chart.getDatasetMeta(at).data[index].getProps(["x", "y", "base"]);
            return {x, y: (y + base) / 2};
        }"""
    )
    desk.page.locator("canvas[data-chart=runs]").click(position=bar)
    desk.page.wait_for_url(re.compile("executions/execution/.*status__exact=failed"))
    expect(desk.page.get_by_role("link", name=re.compile("What <b>changed")).first).to_be_visible()
    desk.open("/admin/?range=1h")
    desk.page.get_by_label("Failures").get_by_role("link", name="MODEL_TIMEOUT").click()
    desk.page.wait_for_url(re.compile("error_code=MODEL_TIMEOUT"))
    expect(desk.page.get_by_role("link", name=re.compile("What <b>changed")).first).to_be_visible()


def test_the_page_of_an_execution(visit: Visitor, execution: Execution) -> None:
    desk = visit("operator")
    desk.open(f"/admin/executions/execution/?tenant__id__exact={execution.tenant_id}")
    expect(desk.page.locator("#result_list tbody tr")).to_have_count(4)
    desk.page.locator("#result_list").get_by_text("MODEL_TIMEOUT").click()
    desk.page.get_by_role("link", name=re.compile("What <b>changed")).click()
    expect(desk.page.locator("#prompt")).to_have_text(execution.prompt)
    expect(desk.page.locator("#response")).to_have_text("Prices did.")
    desk.page.get_by_role("button", name="Copy").first.click()
    assert desk.page.evaluate("navigator.clipboard.readText()") == execution.prompt


@pytest.fixture
def slow_model() -> Iterator[str]:
    """A model whose response takes seconds. Tests of the API compare the list of models."""
    with stub_model() as stub:
        stub.says(streamed(completion("One two three four."), delay_seconds=1.0))
        name = f"slow {uuid.uuid4()}"
        row = LanguageModel.objects.create(name=name, provider="openai", base_url=stub.url)
        time.sleep(1)  # the models are cached for less
        yield name
        row.delete()


def test_a_run_in_progress_is_followed(
    visit: Visitor, tenant: Tenant, desk_port: int, slow_model: str
) -> None:
    agent = AgentFactory.create(tenant=tenant)
    body = {"prompt": "Count", "model": slow_model, "stream": True}
    path = f"agents/{agent.pk}/run"
    with streaming(desk_port, api_of(tenant).key, "POST", path, body) as response:
        assert response.status == 200
        execution = Execution.objects.get(tenant=tenant)
        desk = visit("operator")
        url = f"{desk.base}/admin/executions/execution/{execution.pk}/change/"
        desk.page.goto(url, wait_until="domcontentloaded")
        expect(desk.page.locator("#response")).to_have_text(re.compile("^One "))
        expect(desk.page.get_by_role("button", name="Cancel run")).to_be_visible()
        # The page is loaded again at the end.
        expect(desk.page.locator(".desk-outcome")).to_contain_text("succeeded", timeout=30_000)
        expect(desk.page.locator("#response")).to_have_text("One two three four.")
        expect(desk.page.get_by_role("button", name="Cancel run")).to_have_count(0)


def test_the_page_of_a_conversation(visit: Visitor, execution: Execution) -> None:
    conversation = Conversation.objects.create(
        tenant_id=execution.tenant_id, metadata={"ticket": "4711"}
    )
    Execution.objects.filter(pk=execution.pk).update(conversation_id=conversation.pk)
    step = {"kind": "tool", "name": "look", "input": '{"city": "Oslo"}', "output": "It rains."}
    Step.objects.create(execution=execution, position=0, latency_ms=1, **step)
    desk = visit("auditor")
    desk.page.get_by_role("link", name="Conversations", exact=True).click()
    row = desk.page.locator("#result_list tbody tr").first
    expect(row).to_contain_text("ticket: 4711")
    expect(row.locator(".field-runs")).to_have_text("1")
    row.get_by_role("link").first.click()
    expect(desk.page.locator(".desk-facts")).to_contain_text("4711")
    expect(desk.page.get_by_text("What <b>changed</b> in the third quarter?")).to_be_visible()
    expect(desk.page.get_by_text("It rains.")).to_be_hidden()
    desk.page.get_by_text("look", exact=True).click()
    expect(desk.page.get_by_text("It rains.")).to_be_visible()
    desk.page.locator(".desk-exchanges h2 a").click()
    expect(desk.page.locator("#prompt")).to_have_text(execution.prompt)
    desk.page.get_by_role("link", name=str(conversation.pk)).click()
    expect(desk.page.locator(".desk-exchanges")).to_contain_text("MODEL_TIMEOUT")


def test_the_history_is_searched_within_a_tenant(visit: Visitor, execution: Execution) -> None:
    desk = visit("operator")
    desk.open("/admin/executions/execution/")
    desk.page.get_by_placeholder("Search prompts and responses").fill("third quarter")
    desk.page.keyboard.press("Enter")
    expect(desk.page.get_by_text("Choose a tenant and a time range")).to_be_visible()
    desk.open(f"/admin/executions/execution/?tenant__id__exact={execution.tenant_id}")
    desk.page.get_by_placeholder("Search prompts and responses").fill("third quarter")
    desk.page.keyboard.press("Enter")
    expect(desk.page.locator("#result_list tbody tr")).to_have_count(1)


def test_a_key_is_issued_used_rotated_and_revoked(
    visit: Visitor, tenant: Tenant, desk_port: int
) -> None:
    desk = visit("operator")
    desk.open(f"/admin/tenants/tenant/{tenant.pk}/change/")
    desk.page.get_by_role("link", name="Issue key").click()
    desk.page.get_by_label("Name", exact=True).fill("production")
    desk.page.get_by_role("button", name="Issue key").click()
    key = shown_key(desk)
    desk.page.reload()
    expect(desk.page.get_by_text("was already shown")).to_be_visible()
    assert key not in desk.page.content()
    assert tenant.api_keys.count() == 1
    assert LiveApi(desk_port, key).get("tools").status == 200

    desk.page.get_by_role("link", name=f"Back to {tenant}").click()
    assert key not in desk.page.content()
    desk.page.get_by_role("link", name="Rotate").click()
    desk.page.get_by_label("The old key stays valid for").select_option("1 hour")
    desk.page.get_by_role("button", name="Rotate").click()
    rotated = shown_key(desk)
    assert rotated != key
    assert LiveApi(desk_port, key).get("tools").status == 200
    assert LiveApi(desk_port, rotated).get("tools").status == 200

    desk.page.get_by_role("link", name=f"Back to {tenant}").click()
    row = desk.page.get_by_role("row").filter(has_text=rotated[:12])
    row.get_by_role("link", name="Revoke").click()
    desk.page.get_by_role("button", name="Revoke").click()
    expect(desk.page.get_by_text("revoked. It stops working")).to_be_visible()
    assert eventually(lambda: LiveApi(desk_port, rotated).get("tools").status == 401, 2)
    assert LiveApi(desk_port, key).get("tools").status == 200


def shown_key(desk: Visit) -> str:
    """Return the key on the page. Check that the button copies it."""
    key = desk.page.locator("#new-key").inner_text()
    assert re.fullmatch(r"map_[\w-]{43}", key)
    desk.page.get_by_role("button", name="Copy").click()
    assert desk.page.evaluate("navigator.clipboard.readText()") == key
    return key


def test_a_quota_is_lowered_and_its_usage_is_reset(
    visit: Visitor, tenant: Tenant, api: LiveApi, desk_port: int
) -> None:
    agent = AgentFactory.create(tenant=tenant)
    live = LiveApi(desk_port, api.key)
    assert [live.run(agent.pk).status for _ in range(2)] == [200, 200]
    desk = visit("operator")
    desk.open(f"/admin/tenants/tenant/{tenant.pk}/change/")
    expect(desk.page.get_by_label("Rate limit usage")).to_contain_text("2 of 100")
    desk.page.get_by_label("Rate limit requests").fill("2")
    desk.page.get_by_role("button", name="Save", exact=True).click()
    desk.page.wait_for_load_state("networkidle")
    assert eventually(lambda: live.run(agent.pk).status == 429, 2)
    desk.open(f"/admin/tenants/tenant/{tenant.pk}/change/")
    desk.page.get_by_role("link", name="Reset usage").click()
    expect(desk.page.get_by_role("heading", name="Reset usage?").first).to_be_visible()
    desk.page.get_by_role("button", name="Reset usage").click()
    expect(desk.page.get_by_text("was reset")).to_be_visible()
    assert live.run(agent.pk).status == 200


def test_a_tool_call_is_declined_with_a_reason(visit: Visitor, execution: Execution) -> None:
    Execution.objects.filter(pk=execution.pk).update(status="requires_action")
    approval = ApprovalFactory.create(execution=execution)
    desk = visit("operator")
    desk.open(f"/admin/executions/execution/{execution.pk}/change/")
    desk.page.get_by_role("link", name="delete_customer").click()
    expect(desk.page.get_by_text('"customer": 4711')).to_be_visible()
    desk.page.get_by_label("Reason").fill("The contract runs until March.")
    desk.page.get_by_role("button", name="Decline").click()
    expect(desk.page.get_by_text("The call was declined.")).to_be_visible()
    expect(desk.page.get_by_role("button", name="Approve")).to_have_count(0)
    approval.refresh_from_db()
    assert (approval.status, approval.reason) == ("declined", "The contract runs until March.")
    desk.page.get_by_role("link", name="Approvals").first.click()
    expect(desk.page.get_by_role("heading", name="Approvals").first).to_be_visible()


def test_an_auditor_can_read_but_not_change(visit: Visitor, execution: Execution) -> None:
    desk = visit("auditor")
    tenant = execution.tenant
    desk.open(f"/admin/tenants/tenant/{tenant.pk}/change/")
    expect(desk.page.get_by_label("API keys")).to_be_visible()
    for name in ("Issue key", "Rotate", "Revoke", "Reset usage"):
        expect(desk.page.get_by_role("link", name=name)).to_have_count(0)
    expect(desk.page.get_by_role("button", name="Save")).to_have_count(0)
    for kind in ("tools/tool", "agents/agent", "tenants/tenant", "tenants/apikey", "auth/user"):
        desk.open(f"/admin/{kind}/")
        assert desk.page.locator("a[href$='/add/']").count() == 0, kind


def test_ten_wrong_passwords_lock_the_address(visit: Visitor) -> None:
    locked, name = visit(), account("operator", PASSWORD).username
    locked.open("/admin/")
    for _ in range(10):
        locked.try_password(name, "wrong")
        locked.page.wait_for_load_state("networkidle")
    assert "Wait 15 minutes" in locked.text
    # The right password is rejected from this address and accepted from another one.
    locked.open("/admin/")
    locked.try_password(name, PASSWORD)
    expect(locked.page.get_by_text("Wait 15 minutes")).to_be_visible()
    assert all("429" in problem for problem in locked.problems)
    locked.problems.clear()
    other = visit()
    other.sign_in(name, PASSWORD)
    expect(other.page.get_by_role("heading", name="Dashboard")).to_be_visible()


def test_pages_fit_the_width_of_a_phone(visit: Visitor, execution: Execution) -> None:
    desk = visit("operator", PHONE)
    for path in (
        "/admin/",
        f"/admin/tenants/tenant/{execution.tenant_id}/change/",
        f"/admin/executions/execution/{execution.pk}/change/",
        "/admin/executions/execution/",
        "/admin/tenants/tenant/",
    ):
        desk.open(path)
        assert desk.page.evaluate("document.documentElement.scrollWidth") <= PHONE[0], path


def test_the_search_finds_an_execution_by_its_id(visit: Visitor, execution: Execution) -> None:
    desk = visit("operator")
    desk.page.get_by_role("button", name="Find by name or ID").click()
    field = desk.page.get_by_placeholder("Type to search")
    field.press_sequentially(str(execution.pk), delay=1)
    desk.page.locator("#command-results a").click()
    expect(desk.page.locator("#response")).to_have_text("Prices did.")


def test_the_tool_choices_are_those_of_the_tenant(
    visit: Visitor, tenant: Tenant, other_tenant: Tenant
) -> None:
    agent = AgentFactory.create(tenant=tenant, with_tools=1)
    foreign = AgentFactory.create(tenant=other_tenant, with_tools=1).tools.get()
    desk = visit("operator")
    desk.open(f"/admin/agents/agent/{agent.pk}/change/")
    desk.page.locator(".select2-search__field").click()
    expect(desk.page.locator(".select2-results__option").first).to_contain_text("tool ")
    assert foreign.name not in desk.page.locator(".select2-results").inner_text()


@pytest.mark.parametrize("width", [1280, 1440])
def test_no_column_of_the_history_is_cut(visit: Visitor, execution: Execution, width: int) -> None:
    desk = visit("operator", size=(width, 900))
    desk.open(f"/admin/executions/execution/?tenant__id__exact={execution.tenant_id}")
    expect(desk.page.locator("#result_list thead th")).to_have_count(8)
    right = desk.page.evaluate(
        """() => {
            const box = document.querySelector("#result_list").closest(".simplebar-content-wrapper");
            return box.scrollWidth - box.clientWidth;
        }"""
    )
    assert right <= 0
