"""What a browser transfers for a page that it has never loaded, and for one that it has."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser

from map_project.embedded.static_files import collect
from tests.browser import chromium
from tests.browser.chromium import Visit
from tests.browser.conftest import account, enter
from tests.factories import AgentFactory, ExecutionFactory

pytestmark = pytest.mark.slow


def transferred(opened: Visit, path: str, *, cold: bool) -> dict[str, int]:
    """Open the path, and return the bytes of headers and bodies that came over the network, by URL."""
    session = opened.page.context.new_cdp_session(opened.page)
    session.send("Network.enable")
    urls: dict[str, str] = {}
    sizes: dict[str, int] = {}
    session.on(
        "Network.requestWillBeSent",
        lambda event: urls.update({event["requestId"]: event["request"]["url"]}),
    )
    session.on(
        "Network.loadingFinished",
        lambda event: sizes.update({urls[event["requestId"]]: event["encodedDataLength"]}),
    )
    if cold:
        session.send("Network.clearBrowserCache")
    opened.open(path)
    session.detach()
    return sizes


def test_static_files_are_collected_only_after_a_change(tmp_path: Path) -> None:
    folder = tmp_path / "static"
    manifest = folder / "staticfiles.json"
    times = []
    for stamp in (None, None, "old"):
        if stamp:
            folder.with_suffix(".sha256").write_text(stamp)
        collect(folder)
        times.append(manifest.stat().st_mtime_ns)
    assert times[0] == times[1] < times[2]


def test_the_fonts_have_every_icon(browser: Browser, desk_port: int) -> None:
    """The text of an icon without a glyph is wider than one character."""
    agent = AgentFactory.create(with_tools=1)
    execution = ExecutionFactory.create(agent=agent)
    tenant = f"/admin/tenants/tenant/{agent.tenant_id}"
    with chromium.visit(browser, desk_port) as opened:
        enter(opened, account("operator"))
        for path in (
            "/admin/",
            "/admin/queue/",
            "/admin/failures/",
            "/admin/tool-calls/",
            f"/admin/usage/?tenant={agent.tenant_id}",
            *(f"/admin/{kind}/" for kind in ("tenants/tenant", "agents/agent", "tools/tool")),
            *(f"/admin/{kind}/" for kind in ("agents/languagemodel", "executions/execution")),
            *(f"{tenant}/{verb}/" for verb in ("change", "history", "issue-key")),
            f"/admin/agents/agent/{agent.pk}/change/",
            f"/admin/executions/execution/{execution.pk}/change/",
            "/admin/agents/languagemodel/add/",
        ):
            opened.open(path)
            icons = opened.page.locator(".material-symbols-outlined")
            names = icons.evaluate_all(_TOO_WIDE)
            assert icons.count()
            assert names == [], path


_TOO_WIDE = """icons => icons.filter(icon => {
    const text = document.createRange();
    text.selectNodeContents(icon);
    return text.getBoundingClientRect().width > 1.3 * parseFloat(getComputedStyle(icon).fontSize);
}).map(icon => icon.textContent)
"""


@pytest.mark.parametrize(
    ("path", "limit"), [("/admin/", 400_000), ("/admin/executions/execution/", 500_000)]
)
def test_a_page_is_light(browser: Browser, desk_port: int, path: str, limit: int) -> None:
    ExecutionFactory.create_batch(60, agent=AgentFactory.create())
    with chromium.visit(browser, desk_port) as opened:
        enter(opened, account("operator"))
        sizes = transferred(opened, path, cold=True)
        assert any("/static/" in url for url in sizes)
        assert sum(sizes.values()) <= limit
        # Hashed files are never requested again.
        again = transferred(opened, path, cold=False)
        assert [url for url in again if "/static/" in url and again[url]] == []
