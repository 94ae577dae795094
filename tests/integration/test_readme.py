"""The commands of the README and of the page about HTTP tools, in order."""

import re
import shutil
from pathlib import Path

import pytest
from django.core.management import call_command

from tests.compose.readme import SHELLS, actual_responses, curl_script, expected_responses
from tests.live import serving
from tools.models import Tool

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "README.md").read_text()
TOOL_PAGE = (ROOT / "docs" / "call-your-api.md").read_text()

in_both_shells = pytest.mark.parametrize(
    "shell",
    [
        pytest.param(
            shell, marks=pytest.mark.skipif(not shutil.which(shell), reason="not installed")
        )
        for shell in SHELLS
    ],
)
needs_curl = pytest.mark.skipif(not shutil.which("curl"), reason="requires curl")


@in_both_shells
@needs_curl
def test_every_curl_call_returns_the_documented_response(shell: str, tmp_path: Path) -> None:
    call_command("seed_demo", "--force", verbosity=0)
    with serving() as port:
        actual = actual_responses(PAGE, f"127.0.0.1:{port}", tmp_path, shell=shell)
    expected = expected_responses(PAGE)
    assert [response.status for response in actual] == [response.status for response in expected]
    for number, (response, documented) in enumerate(zip(actual, expected, strict=True), start=1):
        assert response.fields >= documented.fields, f"call {number} of the page"


@in_both_shells
@needs_curl
def test_the_example_of_an_http_tool(shell: str, tmp_path: Path) -> None:
    call_command("seed_demo", "--force", verbosity=0)
    # The demo tenant of the key in the example.
    Tool.objects.filter(name="weather", tenant__name="Tenant A").delete()
    with serving() as port:
        created, tested = actual_responses(TOOL_PAGE, f"127.0.0.1:{port}", tmp_path, shell=shell)
    assert (created.status, tested.status) == (201, 200)
    # The host of the example does not exist.
    assert tested.fields == {"ok", "error", "result", "latency_ms"}


def test_every_curl_call_has_a_documented_response() -> None:
    expected = expected_responses(PAGE)
    assert expected
    assert len(re.findall(r"\bcurl\b", curl_script(PAGE))) == len(expected)


def test_the_default_address_is_that_of_make_run() -> None:
    assert curl_script(PAGE).startswith("BASE=${BASE:-http://127.0.0.1:8000}\n")


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
        "/api/v1/me",
        "/health",
        "/ready",
        "/live",
        "/schema",
    ],
)
def test_every_route_is_called(route: str) -> None:
    assert re.search(re.escape(route) + r"(?![\w/$])", curl_script(PAGE))
