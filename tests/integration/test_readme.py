"""The curl calls of the README, in order."""

import re
import shutil
from pathlib import Path

import pytest
from django.core.management import call_command

from tests.compose.readme import actual_responses, curl_script, expected_responses
from tests.live import serving

PAGE = (Path(__file__).resolve().parents[2] / "README.md").read_text()

needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="requires curl")


@needs_curl
def test_every_curl_call_returns_the_documented_response(tmp_path: Path) -> None:
    call_command("seed_demo", "--force", verbosity=0)
    with serving() as port:
        actual = actual_responses(PAGE, f"127.0.0.1:{port}", tmp_path)
    expected = expected_responses(PAGE)
    assert [response.status for response in actual] == [response.status for response in expected]
    for number, (response, documented) in enumerate(zip(actual, expected, strict=True), start=1):
        assert response.fields >= documented.fields, f"call {number} of the page"


def test_every_curl_call_has_a_documented_response() -> None:
    expected = expected_responses(PAGE)
    assert expected
    assert len(re.findall(r"\bcurl\b", curl_script(PAGE))) == len(expected)


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
def test_every_route_is_called(route: str) -> None:
    assert re.search(re.escape(route) + r"(?![\w/$])", curl_script(PAGE))
