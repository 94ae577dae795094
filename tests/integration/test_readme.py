"""README's first session, call by call, as it stands there."""

import re
import shutil
from pathlib import Path

import pytest
from django.core.management import call_command

from tests.compose.readme import curl_script, promised, replies
from tests.live import serving

PAGE = (Path(__file__).resolve().parents[2] / "README.md").read_text()

needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl here")


@needs_curl
def test_every_curl_line_does_what_it_says(tmp_path: Path) -> None:
    call_command("seed_demo", "--force", verbosity=0)
    with serving() as port:
        got = replies(PAGE, f"127.0.0.1:{port}", tmp_path)
    said = promised(PAGE)
    assert [reply.status for reply in got] == [reply.status for reply in said]
    for number, (reply, promise) in enumerate(zip(got, said, strict=True), start=1):
        assert reply.fields >= promise.fields, f"call {number} of the page"


def test_every_curl_line_says_what_comes_back() -> None:
    said = promised(PAGE)
    assert said
    assert len(re.findall(r"\bcurl\b", curl_script(PAGE))) == len(said)


@pytest.mark.parametrize(
    "route",
    [
        "/api/v1/tools",
        "/api/v1/tools/$TOOL_ID",
        "/api/v1/agents",
        "/api/v1/agents/$AGENT_ID",
        "/api/v1/agents/$AGENT_ID/run",
        "/api/v1/history",
        "/api/v1/history/$RUN_ID",
        "/health",
        "/ready",
        "/live",
        "/schema",
    ],
)
def test_the_session_goes_everywhere(route: str) -> None:
    assert re.search(re.escape(route) + r"(?![\w/$])", curl_script(PAGE))
