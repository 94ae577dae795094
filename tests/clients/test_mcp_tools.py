"""MCP servers that others have made, as tools: one with the Python SDK, and the protocol's test server."""

import ipaddress
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.conf import LazySettings

from map_project.tenants.models import Tenant
from tests.api import Api
from tests.clients import environments
from tests.clients.test_other_clients import SCRIPTS
from tests.factories import AgentFactory
from tests.live import free_port
from tools.models import Tool

EVERYTHING = Path("node_modules/@modelcontextprotocol/server-everything/dist/index.js")


@pytest.fixture(autouse=True)
def loopback(settings: LazySettings) -> None:
    """Allow tools to reach this machine."""
    settings.TOOL_ALLOWED_NETWORKS = (ipaddress.ip_network("127.0.0.1/32"),)


@contextmanager
def running(*command: str | Path, port: int = 0) -> Iterator[str]:
    """Run a server and yield its URL. It prints its port."""
    environment = {"PATH": os.environ["PATH"], "PORT": str(port), "HOME": os.environ["HOME"]}
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if found := re.search(r"(?:^|port )(\d+)$", line.strip()):
                yield f"http://127.0.0.1:{found[1]}/mcp"
                return
        raise AssertionError("the server did not start")
    finally:
        process.kill()
        process.communicate()


def imported(api: Api, url: str) -> dict[str, str]:
    """Import the tools of a server, and return their IDs by name."""
    response = api.post("tools/import", {"kind": "mcp", "url": url})
    assert response.status == 200, response.content
    assert response.json["left"] == []
    return {each["name"]: each["id"] for each in response.json["created"]}


def call(api: Api, pk: str, **arguments: Any) -> tuple[str | None, str]:
    response = api.post(f"tools/{pk}/test", {"arguments": arguments})
    assert response.status == 200, response.content
    return response.json["error"], response.json["result"]


def imported_again(api: Api, url: str) -> int:
    return len(api.post("tools/import", {"kind": "mcp", "url": url}).json["unchanged"])


def tool_step(api: Api, agent_id: object, prompt: str) -> Any:
    """Run an agent and return the step of its only tool call."""
    run = api.run(agent_id, prompt).json
    assert run["status"] == "succeeded"
    steps = api.get(f"history/{run['execution_id']}/steps").json["items"]
    [step] = [each for each in steps if each["kind"] == "tool"]
    return step


@pytest.mark.slow
@pytest.mark.parametrize("mode", [("json", "stateless"), ("events", "sessions")])
def test_a_server_made_with_the_python_sdk(api: Api, tenant: Tenant, mode: tuple[str, str]) -> None:
    with running(environments.python(), SCRIPTS / "mcp_tools.py", *mode) as url:
        ids = imported(api, url)
        assert call(api, ids["add"], a=1, b=2) == (None, "3")
        assert call(api, ids["slow"]) == (None, "done")
        # The server compares the header of the parameter with the body.
        assert call(api, ids["region"], name="eü") == (None, "eü")
        error, text = call(api, ids["place"], city="Ü")
        assert (error, '"population": 123456789012' in text) == (None, True)
        error, text = call(api, ids["fail"])
        assert (error, "Out of paper." in text) == ("tool_error", True)
        assert call(api, ids["ask"])[0] in {"mcp_error", "input_required"}
        assert call(api, ids["add"], a="x", b=2)[0] == "bad_arguments"

        agent = AgentFactory.create(tenant=tenant)
        agent.tools.add(Tool.objects.get(pk=ids["add"]))
        prompt = 'Go\n@add {"a": 20, "b": 22}'
        assert tool_step(api, agent.pk, prompt)["output"] == "42"
        assert call(api, ids["redefine"])[0] is None
        refused = tool_step(api, agent.pk, prompt)
        assert (refused["error"], "keys" in refused["output"]) == ("TOOL_CHANGED", False)
        assert api.get(f"tools/{ids['add']}").json["state"] == "changed"

        refreshed = api.post(f"tools/{ids['add']}/refresh").json
        assert (refreshed["state"], "keys" in refreshed["description"]) == ("ready", True)
        assert call(api, ids["add"], a=1, b=2) == (None, "3")


@pytest.mark.slow
def test_the_test_server_of_the_protocol(api: Api) -> None:
    """It has sessions, in the revision 2025-11-25, and responds with events."""
    folder = environments.node()
    command = ("node", folder / EVERYTHING, "streamableHttp")
    with running(*command, port=free_port()) as url:
        ids = imported(api, url)
        assert len(ids) >= 10
        assert call(api, ids["echo"], message="hello") == (None, "Echo: hello")
        error, text = call(api, ids["get-sum"], a=1, b=2)
        assert (error, "3" in text) == (None, True)
        error, text = call(api, ids["get-tiny-image"])
        assert (error, "[image, image/png: not shown]" in text) == (None, True)
        error, text = call(api, ids["get-structured-content"], location="New York")
        assert (error, '"temperature":' in text) == (None, True)
        error, text = call(api, ids["get-resource-links"], count=2)
        assert (error, "[link to a resource: demo://" in text) == (None, True)
        error, text = call(api, ids["get-resource-reference"], resourceId=1)
        assert (error, "[resource demo://" in text) == (None, True)
        error, text = call(api, ids["trigger-long-running-operation"], duration=1, steps=3)
        assert (error, "completed" in text) == (None, True)
        assert imported_again(api, url) == len(ids)
