"""The Python SDK of MCP, in both forms of the protocol, and with the choice left to it."""

from contextlib import asynccontextmanager

import httpx2
from checks import KEY, MODEL, START, TWO_TOOLS, URL, run
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client

ENDPOINT = URL.removesuffix("/v1") + "/mcp"
MODES = {"2026-07-28": "2026-07-28", "legacy": "2025-11-25", "auto": "2026-07-28"}


@asynccontextmanager
async def connected(mode, key=KEY):
    http = httpx2.AsyncClient(headers={"Authorization": f"Bearer {key}"})
    async with (
        http,
        Client(streamable_http_client(ENDPOINT, http_client=http), mode=mode) as client,
    ):
        yield client


def text_of(result):
    (content,) = result.content
    return content.text


def cause_of(error):
    """Return the error in a group of one, which may be in another."""
    while isinstance(error, BaseExceptionGroup):
        (error,) = error.exceptions
    return error


async def in_each_mode(check):
    for mode, revision in MODES.items():
        async with connected(mode) as client:
            assert client.protocol_version == revision
            await check(client)


async def tool_of(client, title):
    """Return the tool of the agent with this name."""
    return next(tool for tool in (await client.list_tools()).tools if tool.title == title)


async def check_the_server():
    # With a revision that the caller names, the client does not read it.
    for mode in ("legacy", "auto"):
        async with connected(mode) as client:
            assert client.server_info.name == "mini-agent-platform"
            assert client.server_capabilities.tools is not None
            assert client.server_capabilities.prompts is None
            assert "agent" in client.instructions


async def check_the_list():
    async def check(client):
        found = await client.list_tools()
        first, second = found.tools
        assert (first.title, second.title) == (MODEL, "Trip planner")
        assert first.name.startswith("agent_")
        assert second.name.startswith("Trip_planner_")
        assert first.input_schema["required"] == ["prompt"]
        assert first.output_schema is None
        assert second.output_schema["properties"].keys() == {"city"}
        assert found.next_cursor is None

    await in_each_mode(check)


async def check_calls():
    async def check(client):
        tool = await tool_of(client, MODEL)
        result = await client.call_tool(tool.name, {"prompt": TWO_TOOLS})
        assert text_of(result).startswith(START)
        assert not result.is_error
        assert result.meta["map/execution"]["status"] == "succeeded"

    await in_each_mode(check)


async def check_structured_output():
    async def check(client):
        # The client validates the output by the schema of the list.
        tool = await tool_of(client, "Trip planner")
        result = await client.call_tool(tool.name, {"prompt": "Oslo"})
        assert result.structured_content.keys() == {"city"}

    await in_each_mode(check)


async def check_errors_of_a_run():
    async def check(client):
        tool = await tool_of(client, "Trip planner")
        result = await client.call_tool(tool.name, {"prompt": ""})
        assert result.is_error
        assert text_of(result).startswith("VALIDATION_ERROR: ")

    await in_each_mode(check)


async def check_unknown_tools():
    async def check(client):
        try:
            await client.call_tool("nobody", {"prompt": "p"})
        except MCPError as error:
            assert error.error.code == -32602
        else:
            raise AssertionError

    await in_each_mode(check)


async def check_ping():
    async with connected("legacy") as client:
        await client.send_ping()


async def check_a_wrong_key():
    for mode in MODES:
        try:
            async with connected(mode, "wrong") as client:
                await client.list_tools()
        except (MCPError, BaseExceptionGroup) as error:
            assert "The API key is not valid." in str(cause_of(error))
        else:
            raise AssertionError


async def check_methods_that_the_server_has_not():
    async def check(client):
        for request in (client.list_prompts, client.list_resources):
            try:
                await request()
            except MCPError as error:
                assert error.error.code == -32601
            else:
                raise AssertionError

    await in_each_mode(check)


run(globals())
