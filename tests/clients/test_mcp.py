"""Clients of MCP: the Python SDK, and the conformance suite of the protocol."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from executions.models import Execution
from tests.clients import environments
from tests.clients.conftest import Door
from tests.clients.keyed_proxy import keyed_proxy
from tests.clients.test_other_clients import SCRIPTS, run
from tests.conftest import api_of
from tests.factories import AgentFactory, TenantFactory

# Of these, the server has nothing, and the names of its tools, which the suite calls, are those of agents.
OTHER_FEATURES = re.compile(
    "completion-|logging-|prompts-|resources-|elicitation-|input-required-result-|tasks-|"
    "tools-call-(image|audio|embedded-resource|mixed-content|with-logging|with-progress|sampling|elicitation)"
    "|json-schema-2020-12|http-custom-header-server-validation"
)
# Checks that fail in other scenarios: they are about prompts and resources, and about a tool that requires a
# capability of its client. No agent does.
OTHER_CHECKS = {
    ("caching", "sep-2549-prompts-list-caching-hints"),
    ("caching", "sep-2549-resources-list-caching-hints"),
    ("caching", "sep-2549-resources-templates-list-caching-hints"),
    ("server-stateless", "sep-2575-server-rejects-undeclared-capability"),
    ("server-stateless", "sep-2575-missing-capability-http-400"),
}
PASSED = {
    "2025-11-25": {
        "dns-rebinding-protection",
        "ping",
        "server-initialize",
        "tools-call-error",
        "tools-call-simple-text",
        "tools-list",
    },
    "2026-07-28": {
        "dns-rebinding-protection",
        "http-header-validation",
        "input-required-result-unsupported-methods",
        "input-required-result-validate-input",
        "sep-2164-resource-not-found",
        "server-sse-multiple-streams",
        "tools-call-error",
        "tools-call-simple-text",
        "tools-list",
    },
}
# Names of tools that the suite calls.
TOOLS = (
    "test_simple_text",
    "test_error_handling",
    "test_logging_tool",
    "test_streaming_elicitation",
)


@pytest.mark.slow
def test_the_python_sdk(door: Door, tmp_path: Path) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    AgentFactory.create(
        tenant=door.tenant, name="Trip planner", model="gpt-4o", output_schema=schema
    )
    output = run(door, tmp_path, environments.python(), SCRIPTS / "mcp_checks.py")
    assert output.splitlines()[-1] == "9 passed"
    assert Execution.objects.filter(tenant=door.tenant).count() == 6


@pytest.fixture
def conformance_port(port: int) -> Iterator[int]:
    """The port of a server that has the tools which the suite calls, and needs no key."""
    tenant = TenantFactory.create(rate_limit_requests=10_000)
    for name in TOOLS:
        AgentFactory.create(tenant=tenant, name=name, model="gpt-4o")
    key = api_of(tenant).key
    assert key is not None
    with keyed_proxy(port, key) as proxy_port:
        yield proxy_port


@pytest.mark.slow
@pytest.mark.parametrize("revision", PASSED)
def test_conformance(conformance_port: int, tmp_path: Path, revision: str) -> None:
    statuses = conformance(f"http://127.0.0.1:{conformance_port}/mcp", revision, tmp_path)
    failed = {key for key, found in statuses.items() if "FAILURE" in found}
    # Every message of the server is valid, also in scenarios that need other features.
    assert not [key for key in failed if key[1].startswith("wire-schema")]
    assert {key for key in failed if not OTHER_FEATURES.match(key[0])} - OTHER_CHECKS == set()
    scenarios = {scenario for scenario, _ in statuses}
    assert PASSED[revision] <= scenarios - {scenario for scenario, _ in failed}
    if revision == "2026-07-28":
        assert failed >= OTHER_CHECKS
        stateless = [found for (name, _), found in statuses.items() if name == "server-stateless"]
        assert sum("SUCCESS" in found for found in stateless) >= 15


def conformance(url: str, revision: str, results: Path) -> dict[tuple[str, str], set[str]]:
    """Run the scenarios that a revision requires. Return the statuses by scenario and check."""
    folder = environments.node()
    shim = environments.SCRIPT.with_name("glob_sync.mjs")
    suite = folder / "node_modules" / "@modelcontextprotocol" / "conformance" / "dist" / "index.js"
    command = ["node", "--import", str(shim), str(suite), "server", "--url", url]
    options = ["--requirements", revision, "--output-dir", str(results)]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    assert "=== SUMMARY ===" in done.stdout, done.stdout + done.stderr
    statuses: dict[tuple[str, str], set[str]] = {}
    for path in results.glob("server-*/checks.json"):
        scenario = re.sub(r"^server-(.*)-\d{4}-\d\d-\d\dT.*$", r"\1", path.parent.name)
        for check in json.loads(path.read_text()):
            statuses.setdefault((scenario, check["id"]), set()).add(check["status"])
    return statuses
