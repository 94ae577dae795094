"""`/mcp`: agents as tools, in both forms of the protocol."""

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.db import connection
from django.test import Client, override_settings
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from agents.models import Agent, LanguageModel
from executions.models import Execution
from map_project.mcp_server.tools import PAGE_SIZE
from map_project.tenants.models import Tenant
from ratelimit.limiter import Quota, default_limiter
from tests.api import Answer, Api
from tests.factories import AgentFactory, ToolFactory
from tests.mcp import META, MODERN, OLD, McpClient, error_of, failure_of, result_of
from tests.stub_model import StubModel, StubResponse, completion

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
VERSION_KEY = "io.modelcontextprotocol/protocolVersion"
CAPABILITIES_KEY = "io.modelcontextprotocol/clientCapabilities"
SERVER_INFO_KEY = "io.modelcontextprotocol/serverInfo"


@pytest.fixture(params=[MODERN, OLD])
def mcp(request: pytest.FixtureRequest, api: Api) -> McpClient:
    return McpClient(api, request.param)


@pytest.fixture
def modern(api: Api) -> McpClient:
    return McpClient(api)


@pytest.fixture
def old(api: Api) -> McpClient:
    return McpClient(api, OLD)


@pytest.fixture
def agent(tenant: Tenant) -> Agent:
    return AgentFactory.create(tenant=tenant, name="researcher", model="gpt-4o")


@pytest.fixture
def stub(model_server: StubModel) -> Iterator[StubModel]:
    model_server.says(completion("Done."))
    row = LanguageModel.objects.create(
        name="over-mcp", provider="openai", base_url=model_server.url, max_retries=0
    )
    yield model_server
    row.delete()


def runs(tenant: Tenant) -> int:
    return Execution.objects.filter(tenant=tenant).count()


def used_units(tenant: Tenant) -> int:
    (usage,) = default_limiter().peek([Quota(tenant.pk, 100, 60)])
    return usage.used


def code_of(answer: Answer) -> tuple[int, int]:
    return answer.status, error_of(answer)["code"]


class TestTheConnection:
    def test_discovery(self, modern: McpClient) -> None:
        result = result_of(modern.call("server/discover"))
        assert result["supportedVersions"] == [MODERN, OLD, "2025-06-18"]
        assert result["capabilities"] == {"tools": {}}
        assert (result["resultType"], result["cacheScope"]) == ("complete", "private")
        assert result["ttlMs"] > 0
        assert result["_meta"][SERVER_INFO_KEY]["name"] == "mini-agent-platform"

    @pytest.mark.parametrize(
        ("requested", "negotiated"),
        [(OLD, OLD), ("2025-06-18", "2025-06-18"), ("2024-11-05", OLD), (MODERN, OLD), (None, OLD)],
    )
    def test_the_handshake_of_old_clients(
        self, api: Api, requested: str | None, negotiated: str
    ) -> None:
        params = {
            "protocolVersion": requested,
            "capabilities": {},
            "clientInfo": {"name": "tests", "version": "1"},
        }
        body = {"jsonrpc": "2.0", "id": "a", "method": "initialize", "params": params}
        answer = api.post("/mcp", body)
        result = result_of(answer)
        assert answer.json["id"] == "a"
        assert result["protocolVersion"] == negotiated
        assert result["serverInfo"]["name"] == "mini-agent-platform"
        assert not [name for name in answer.headers if "session" in name]
        body = {"jsonrpc": "2.0", "method": "notifications/initialized"}
        answer = api.post("/mcp", body, headers={"MCP-Protocol-Version": negotiated})
        assert (answer.status, answer.content) == (202, b"")

    def test_ping(self, old: McpClient) -> None:
        assert result_of(old.call("ping")) == {}

    @pytest.mark.parametrize("method", ["GET", "DELETE", "PUT", "PATCH"])
    def test_other_http_methods(self, api: Api, method: str) -> None:
        answer = api.call(method, "/mcp")
        assert code_of(answer) == (405, -32600)
        assert answer.headers["allow"] == "POST"

    def test_it_needs_no_limiter(self, mcp: McpClient, tenant: Tenant, agent: Agent) -> None:
        answer = mcp.call("tools/list")
        assert "x-ratelimit-limit" not in answer.headers
        assert used_units(tenant) == 0

    @pytest.mark.parametrize(
        ("key", "code"), [(None, "MISSING_API_KEY"), ("wrong", "INVALID_API_KEY")]
    )
    @pytest.mark.parametrize("method", ["tools/list", "tools/call"])
    def test_without_a_key(self, key: str | None, code: str, method: str) -> None:
        answer = McpClient(Api(key)).call(method, {"name": "researcher"})
        assert answer.status == 401
        assert answer.headers["www-authenticate"].startswith("Bearer ")
        assert error_of(answer)["data"]["error_code"] == code

    def test_a_bearer_token(self, api: Api) -> None:
        client = McpClient(Api())
        answer = client.call("tools/list", headers={"Authorization": f"Bearer {api.key}"})
        assert result_of(answer)["tools"] == []


class TestOrigin:
    @pytest.mark.parametrize(
        "origin",
        ["https://evil.example", "http://localhost:1", "null", "", "http://[", "localhost"],
    )
    def test_another_host(self, mcp: McpClient, tenant: Tenant, agent: Agent, origin: str) -> None:
        headers = {"Host": "localhost", "Origin": origin}
        for answer in (
            mcp.call("tools/list", headers=headers),
            mcp.tool("researcher", headers=headers),
            mcp.api.get("/mcp", headers=headers),
        ):
            assert code_of(answer) == (403, -32600)
        assert (runs(tenant), used_units(tenant)) == (0, 0)

    @pytest.mark.parametrize("origin", ["http://localhost:8000", "https://LOCALHOST:8000"])
    def test_this_host(self, mcp: McpClient, origin: str) -> None:
        headers = {"Host": "localhost:8000", "Origin": origin}
        assert result_of(mcp.call("tools/list", headers=headers))["tools"] == []

    def test_a_host_that_is_not_allowed(self, mcp: McpClient) -> None:
        headers = {"Host": "evil.example", "Origin": "http://evil.example"}
        assert code_of(mcp.call("tools/list", headers=headers)) == (400, -32600)


class TestTheList:
    def test_agents_with_a_model(
        self, mcp: McpClient, tenant: Tenant, other_tenant: Tenant, agent: Agent
    ) -> None:
        AgentFactory.create(tenant=tenant, name="no-model")
        AgentFactory.create(tenant=other_tenant, name="foreign", model="gpt-4o")
        odd = AgentFactory.create(tenant=tenant, name="Überprüfer 2", model="gpt-4o")
        result = result_of(mcp.call("tools/list"))
        first, second = result["tools"]
        assert first == {
            "name": "researcher",
            "title": "researcher",
            "description": agent.description,
            "inputSchema": {
                "type": "object",
                "properties": {
                    "prompt": {"type": "string", "description": "The prompt for the agent."}
                },
                "required": ["prompt"],
                "additionalProperties": False,
            },
        }
        assert second["name"].startswith("berpr_fer_2_")
        assert second["title"] == odd.name
        assert (result["ttlMs"], result["cacheScope"]) == (60_000, "private")
        assert ("resultType" in result) == (mcp.revision == MODERN)
        # It is the same again, and the name is that of a call.
        assert result_of(mcp.call("tools/list")) == result
        called = result_of(mcp.tool(second["name"]))
        assert "Überprüfer 2" in called["content"][0]["text"]

    def test_an_output_schema(self, mcp: McpClient, tenant: Tenant) -> None:
        for schema in (SCHEMA, {"required": ["city"]}, {"type": ["object", "null"]}):
            AgentFactory.create(tenant=tenant, model="gpt-4o", output_schema=schema)
        tools = result_of(mcp.call("tools/list"))["tools"]
        assert [tool["outputSchema"] for tool in tools] == [
            SCHEMA,
            {"required": ["city"], "type": "object"},
            {"type": "object"},
        ]

    def test_pages(self, mcp: McpClient, tenant: Tenant) -> None:
        agents = AgentFactory.create_batch(PAGE_SIZE + 1, tenant=tenant, model="gpt-4o")
        first = result_of(mcp.call("tools/list"))
        assert len(first["tools"]) == PAGE_SIZE
        second = result_of(mcp.call("tools/list", {"cursor": first["nextCursor"]}))
        titles = [tool["title"] for tool in first["tools"] + second["tools"]]
        assert titles == [agent.name for agent in agents]
        assert "nextCursor" not in second

    @pytest.mark.parametrize("cursor", ["", "-1", "x", 5, {}, "1" * 20, "\0"])
    def test_a_wrong_cursor(self, modern: McpClient, cursor: Any) -> None:
        assert code_of(modern.call("tools/list", {"cursor": cursor})) == (400, -32602)


class TestACall:
    def test_a_run(self, mcp: McpClient, tenant: Tenant, agent: Agent) -> None:
        answer = mcp.tool("researcher", "Hello")
        result = result_of(answer)
        execution = Execution.objects.get(tenant=tenant)
        assert (execution.prompt, execution.model) == ("Hello", "gpt-4o")
        assert execution.agent_id == agent.pk
        assert result["content"] == [{"type": "text", "text": execution.response}]
        assert result["isError"] is False
        assert "structuredContent" not in result
        assert result["_meta"]["map/execution"] == {
            "id": str(execution.pk),
            "status": "succeeded",
            "stop_reason": "completed",
        }
        assert answer.headers["x-ratelimit-remaining"] == "99"
        assert used_units(tenant) == 1

    def test_structured_output(self, mcp: McpClient, tenant: Tenant) -> None:
        AgentFactory.create(tenant=tenant, name="planner", model="gpt-4o", output_schema=SCHEMA)
        result = result_of(mcp.tool("planner"))
        assert result["structuredContent"].keys() == {"city"}
        assert json.loads(result["content"][0]["text"]) == result["structuredContent"]

    def test_a_failed_model(
        self, mcp: McpClient, tenant: Tenant, agent: Agent, stub: StubModel
    ) -> None:
        Agent.objects.filter(pk=agent.pk).update(model="over-mcp")
        stub.says(StubResponse(500))
        failure = failure_of(mcp.tool("researcher"))
        assert failure["error_code"] == "MODEL_ERROR"
        execution = Execution.objects.get(tenant=tenant)
        assert failure["details"]["execution_id"] == str(execution.pk)
        assert execution.status == "failed"

    def test_an_invalid_output(self, mcp: McpClient, tenant: Tenant, stub: StubModel) -> None:
        AgentFactory.create(tenant=tenant, name="planner", model="over-mcp", output_schema=SCHEMA)
        stub.says(completion("no JSON"))
        answer = mcp.tool("planner")
        assert failure_of(answer)["error_code"] == "OUTPUT_INVALID"
        assert "The response is not JSON" in result_of(answer)["content"][0]["text"]

    def test_an_incomplete_run(
        self, mcp: McpClient, tenant: Tenant, agent: Agent, stub: StubModel
    ) -> None:
        Agent.objects.filter(pk=agent.pk).update(model="over-mcp")
        stub.says(completion("A part", finish_reason="length"))
        result = result_of(mcp.tool("researcher"))
        assert [each["text"] for each in result["content"]] == [
            "A part",
            "The run is incomplete: max_output_tokens.",
        ]
        assert result["isError"] is False
        # A result without the promised structure has to be an error.
        Agent.objects.filter(pk=agent.pk).update(output_schema=SCHEMA)
        assert result_of(mcp.tool("researcher"))["isError"] is True

    def test_a_cancelled_run(
        self, mcp: McpClient, tenant: Tenant, agent: Agent, stub: StubModel
    ) -> None:
        def cancel(_: object) -> dict[str, Any]:
            execution = Execution.objects.get(tenant=tenant)
            assert mcp.api.post(f"history/{execution.pk}/cancel").status == 200
            connection.close()
            return completion("Done.")

        Agent.objects.filter(pk=agent.pk).update(model="over-mcp")
        stub.says(cancel)
        result = result_of(mcp.tool("researcher"))
        assert result["content"] == [{"type": "text", "text": "The run was cancelled."}]
        assert result["isError"] is True
        assert result["_meta"]["map/execution"]["status"] == "cancelled"

    def test_a_run_that_waits_for_an_approval(
        self, mcp: McpClient, tenant: Tenant, agent: Agent, stub: StubModel
    ) -> None:
        config = {"method": "POST", "url": "http://127.0.0.1:1/", "timeout_seconds": 1}
        tool = ToolFactory.create(
            tenant=tenant, name="delete", kind="http", config=config, approval="always"
        )
        agent.tools.add(tool)
        Agent.objects.filter(pk=agent.pk).update(model="over-mcp")
        stub.says(completion("", calls=[("delete", "{}")] * 2))
        result = result_of(mcp.tool("researcher"))
        execution = Execution.objects.get(tenant=tenant)
        text = (
            f"The run waits until a person has approved calls of: delete. Its ID is {execution.pk}."
        )
        assert result["content"] == [{"type": "text", "text": text}]
        assert result["isError"] is True
        pending = mcp.api.get("approvals?status=pending").json["items"]
        assert {each["id"] for each in pending} == {
            *result["_meta"]["map/execution"].pop("approvals")
        }
        assert result["_meta"]["map/execution"] == {
            "id": str(execution.pk),
            "status": "requires_action",
            "stop_reason": None,
        }

    @pytest.mark.parametrize(
        ("arguments", "code", "text"),
        [
            ({}, "VALIDATION_ERROR", "prompt: This field is required."),
            ({"prompt": 1}, "VALIDATION_ERROR", "prompt: Not a valid string."),
            ({"prompt": " "}, "VALIDATION_ERROR", "prompt: This field may not be blank."),
            ({"prompt": "\0"}, "VALIDATION_ERROR", "prompt: Null characters are not allowed."),
            ({"prompt": "p", "model": "gpt-4"}, "VALIDATION_ERROR", "model: Unknown field."),
            ({"prompt": "p" * 10_001}, "PROMPT_TOO_LONG", "10,001 characters"),
        ],
    )
    def test_wrong_arguments_are_for_the_model(
        self, *, mcp: McpClient, tenant: Tenant, agent: Agent, arguments: Any, code: str, text: str
    ) -> None:
        answer = mcp.call("tools/call", {"name": "researcher", "arguments": arguments})
        assert failure_of(answer)["error_code"] == code
        assert text in result_of(answer)["content"][0]["text"]
        assert runs(tenant) == 0

    @pytest.mark.parametrize("arguments", [[], "p", 1, None])
    def test_arguments_that_are_no_object(
        self, modern: McpClient, agent: Agent, arguments: Any
    ) -> None:
        answer = modern.call("tools/call", {"name": "researcher", "arguments": arguments})
        assert code_of(answer) == (400, -32602)

    @pytest.mark.parametrize(
        "name", ["nobody", "", "\0", "foreign", "no-model", "Foreign Agent", "x" * 5_000, "é"]
    )
    def test_an_unknown_tool(
        self, mcp: McpClient, tenant: Tenant, other_tenant: Tenant, name: str
    ) -> None:
        AgentFactory.create(tenant=tenant, name="no-model")
        AgentFactory.create(tenant=other_tenant, name="foreign", model="gpt-4o")
        AgentFactory.create(tenant=other_tenant, name="Foreign Agent", model="gpt-4o")
        AgentFactory.create(tenant=tenant, name="Own Agent", model="gpt-4o")
        encoded = {"Mcp-Name": "=?base64?w6k=?="} if name == "é" else {}
        headers = {"Mcp-Name": name.strip("\0"), **encoded}
        expected = (400, -32602) if mcp.revision == MODERN else (200, -32602)
        if name == "\0":
            # It cannot be in a header.
            expected = (400, -32020) if mcp.revision == MODERN else (200, -32602)
        answer = mcp.tool(name, headers=headers)
        assert code_of(answer) == expected
        assert runs(tenant) == runs(other_tenant) == 0

    @pytest.mark.parametrize("name", [None, 1, [], {}])
    def test_a_name_that_is_no_text(self, old: McpClient, name: Any) -> None:
        assert code_of(old.call("tools/call", {"name": name})) == (200, -32602)
        assert code_of(old.call("tools/call")) == (200, -32602)

    def test_the_other_tenant_sees_nothing_of_the_agent(
        self, other_api: Api, other_tenant: Tenant, tenant: Tenant, agent: Agent
    ) -> None:
        client = McpClient(other_api)
        assert result_of(client.call("tools/list"))["tools"] == []
        unknown = client.tool("nobody")
        foreign = client.tool(agent.name)
        assert foreign.content == unknown.content.replace(b"nobody", agent.name.encode())
        assert runs(tenant) == runs(other_tenant) == 0

    def test_an_agent_with_a_model_that_is_not_allowed(
        self, mcp: McpClient, tenant: Tenant, agent: Agent
    ) -> None:
        Agent.objects.filter(pk=agent.pk).update(model="gone")
        assert failure_of(mcp.tool("researcher"))["error_code"] == "INVALID_MODEL"


class TestLimits:
    def test_the_quota(self, mcp: McpClient, tenant: Tenant, agent: Agent) -> None:
        Tenant.objects.filter(pk=tenant.pk).update(rate_limit_requests=1)
        assert result_of(mcp.tool("researcher"))["isError"] is False
        denied = mcp.tool("researcher", id="x")
        failure = failure_of(denied)
        assert denied.json["id"] == "x"
        assert failure["error_code"] == "RATE_LIMIT_EXCEEDED"
        seconds = failure["details"]["retry_after_seconds"]
        assert f"Retry in {seconds} second" in result_of(denied)["content"][0]["text"]
        assert denied.headers["retry-after"] == str(seconds)
        assert denied.headers["x-ratelimit-remaining"] == "0"
        # Other methods are not limited.
        assert result_of(mcp.call("tools/list"))["tools"]
        assert runs(tenant) == 1

    def test_an_id_that_is_none(self, old: McpClient, tenant: Tenant, agent: Agent) -> None:
        Tenant.objects.filter(pk=tenant.pk).update(rate_limit_requests=1)
        assert code_of(old.tool("researcher", id=1.5)) == (400, -32600)
        denied = old.tool("researcher", id=1.5)
        assert code_of(denied) == (429, -32600)
        assert denied.json["id"] is None

    def test_concurrent_runs(self, mcp: McpClient, tenant: Tenant, agent: Agent) -> None:
        Tenant.objects.filter(pk=tenant.pk).update(max_concurrent_runs=1)
        assert result_of(mcp.tool("researcher"))["isError"] is False
        default_limiter().take_slot(tenant.pk, slots=1, token="other")
        no_fields: dict[str, Any] = {}
        for more in (no_fields, {"background": True}):
            answer = mcp.tool("researcher", **more)
            assert failure_of(answer)["error_code"] == "CONCURRENCY_LIMIT_EXCEEDED"
            assert answer.headers["retry-after"] == "1"
        assert (runs(tenant), used_units(tenant)) == (1, 1)

    def test_idempotency(self, mcp: McpClient, tenant: Tenant, agent: Agent) -> None:
        headers = {"Idempotency-Key": uuid.uuid4().hex}
        first = mcp.tool("researcher", headers=headers)
        again = mcp.tool("researcher", headers=headers)
        assert again.content == first.content
        assert again.headers["idempotent-replayed"] == "true"
        assert (runs(tenant), used_units(tenant)) == (1, 1)
        other = mcp.tool("researcher", "Other", headers=headers)
        assert failure_of(other)["error_code"] == "IDEMPOTENCY_KEY_REUSED"
        assert code_of(mcp.tool("researcher", headers={"Idempotency-Key": "é"})) == (400, -32600)

    def test_a_failed_run_is_repeated_as_it_was(
        self, mcp: McpClient, tenant: Tenant, agent: Agent, stub: StubModel
    ) -> None:
        Agent.objects.filter(pk=agent.pk).update(model="over-mcp")
        stub.says(StubResponse(500))
        headers = {"Idempotency-Key": "k"}
        first = mcp.tool("researcher", headers=headers)
        assert failure_of(first)["error_code"] == "MODEL_ERROR"
        assert mcp.tool("researcher", headers=headers).json == first.json
        assert runs(tenant) == 1


class TestRevisions:
    @pytest.mark.parametrize("missing", [VERSION_KEY, CAPABILITIES_KEY, "_meta"])
    def test_the_body_names_the_revision(self, modern: McpClient, missing: str) -> None:
        meta = {name: value for name, value in META.items() if name != missing}
        params = {"_meta": 1 if missing == "_meta" else meta}
        answer = modern.call("tools/list", params)
        assert code_of(answer) == (400, -32602)
        assert answer.json["id"] == 1

    def test_the_name_of_the_client_is_optional(self, modern: McpClient) -> None:
        meta = {VERSION_KEY: MODERN, CAPABILITIES_KEY: {}}
        assert result_of(modern.call("tools/list", {"_meta": meta}))["tools"] == []

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("MCP-Protocol-Version", ""),
            ("MCP-Protocol-Version", OLD),
            ("MCP-Protocol-Version", "1900-01-01"),
            ("Mcp-Method", ""),
            ("Mcp-Method", "tools/list"),
            ("Mcp-Method", "TOOLS/CALL"),
            ("Mcp-Name", ""),
            ("Mcp-Name", "other"),
            ("Mcp-Name", "researcher, researcher"),
            ("Mcp-Name", "=?base64?cmVzZWFyY2hlcg?="),
            ("Mcp-Name", "=?base64?////?="),
        ],
    )
    def test_headers_that_differ_from_the_body(
        self, modern: McpClient, tenant: Tenant, agent: Agent, name: str, value: str
    ) -> None:
        answer = modern.tool("researcher", headers={name: value})
        assert code_of(answer) == (400, -32020)
        assert name in error_of(answer)["message"]
        assert runs(tenant) == 0

    @pytest.mark.parametrize("value", [" researcher ", "=?base64?cmVzZWFyY2hlcg==?="])
    def test_headers_that_agree(self, modern: McpClient, agent: Agent, value: str) -> None:
        assert result_of(modern.tool("researcher", headers={"Mcp-Name": value}))

    @pytest.mark.parametrize("stated", [1, None, [], {"a": 1}])
    def test_a_revision_that_is_no_text(self, modern: McpClient, stated: Any) -> None:
        answer = modern.call("tools/list", {"_meta": {**META, VERSION_KEY: stated}})
        assert code_of(answer) == (400, -32602 if stated is None else -32020)

    def test_an_unknown_revision(self, modern: McpClient) -> None:
        meta = {**META, VERSION_KEY: "2099-01-01"}
        headers = {"MCP-Protocol-Version": "2099-01-01"}
        for answer in (
            modern.call("server/discover", {"_meta": meta}, headers=headers),
            modern.call("server/discover", {"_meta": {}}, headers=headers),
        ):
            assert code_of(answer) == (400, -32022)
            assert error_of(answer)["data"] == {
                "supported": [MODERN, OLD, "2025-06-18"],
                "requested": "2099-01-01",
            }
        body = {"jsonrpc": "2.0", "method": "notifications/initialized"}
        assert code_of(modern.api.post("/mcp", body, headers=headers)) == (400, -32022)

    @pytest.mark.parametrize(
        "method", ["initialize", "ping", "logging/setLevel", "prompts/list", "", "__init__"]
    )
    def test_methods_that_the_newest_has_not(self, modern: McpClient, method: str) -> None:
        assert code_of(modern.call(method)) == (404, -32601)

    @pytest.mark.parametrize("method", ["server/discover", "logging/setLevel", "prompts/list", ""])
    def test_methods_that_old_ones_have_not(self, old: McpClient, method: str) -> None:
        assert code_of(old.call(method)) == (200, -32601)

    def test_trace_context_is_ignored(self, modern: McpClient, agent: Agent) -> None:
        meta = {**META, "traceparent": "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01"}
        params = {"name": "researcher", "arguments": {"prompt": "p"}, "_meta": meta}
        assert result_of(modern.call("tools/call", params))["isError"] is False


class TestGarbage:
    @pytest.mark.parametrize(
        ("raw", "code"),
        [
            (b"", -32600),
            (b"{", -32700),
            (b"\xff", -32700),
            (b"\x1f\x8b\x08", -32700),
            (b'{"jsonrpc": "2.0", "id": NaN, "method": "ping"}', -32700),
            (b"[" * 100_000, -32700),
            (b"[]", -32600),
            (b'[{"jsonrpc": "2.0", "id": 1, "method": "ping"}]', -32600),
            (b"null", -32600),
            (b'"tools/call"', -32600),
            (b"{}", -32600),
            (b'{"id": 1, "method": "ping"}', -32600),
            (b'{"jsonrpc": 2.0, "id": 1, "method": "ping"}', -32600),
            (b'{"jsonrpc": "2.0", "id": null, "method": "ping"}', -32600),
            (b'{"jsonrpc": "2.0", "id": true, "method": "ping"}', -32600),
            (b'{"jsonrpc": "2.0", "id": 1.5, "method": "ping"}', -32600),
            (b'{"jsonrpc": "2.0", "id": {}, "method": "ping"}', -32600),
            (b'{"jsonrpc": "2.0", "id": 123456789012345678901234567890, "method": "ping"}', -32600),
            (b'{"jsonrpc": "2.0", "id": 1}', -32600),
            (b'{"jsonrpc": "2.0", "id": 1, "result": {}}', -32600),
            (b'{"jsonrpc": "2.0", "id": 1, "method": ["ping"]}', -32600),
            (b'{"jsonrpc": "2.0", "id": 1, "method": "ping", "params": []}', -32600),
            (b'{"jsonrpc": "2.0", "id": 1, "method": "ping", "params": null}', -32600),
        ],
    )
    def test_bodies_that_are_no_message(self, api: Api, raw: bytes, code: int) -> None:
        assert code_of(api.post("/mcp", raw=raw)) == (400, code)

    def test_the_id_is_kept_where_there_is_one(self, api: Api) -> None:
        for message_id in ("", "é", 0, -1, 2**53, 2**64 - 1):
            answer = api.post("/mcp", {"jsonrpc": "2.0", "id": message_id, "method": 1})
            assert answer.json["id"] == message_id
            answer = api.post("/mcp", {"jsonrpc": "2.0", "id": message_id, "method": "ping"})
            assert answer.json == {"jsonrpc": "2.0", "id": message_id, "result": {}}

    def test_another_media_type(self, api: Api) -> None:
        for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
            answer = api.post("/mcp", raw=b"{}", headers={"Content-Type": kind})
            assert code_of(answer) == (415, -32600)

    def test_a_large_body(self, api: Api, tenant: Tenant) -> None:
        answer = api.post("/mcp", raw=b" " * (1024 * 1024 + 1))
        assert code_of(answer) == (413, -32600)

    @pytest.mark.parametrize("method", ["tools/call", "tools/list", "ping", "notifications/x", ""])
    def test_a_notification_has_no_response_and_no_effect(
        self, mcp: McpClient, tenant: Tenant, agent: Agent, method: str
    ) -> None:
        message = mcp.message(method, {"name": "researcher", "arguments": {"prompt": "p"}})
        del message["id"]
        answer = mcp.api.post("/mcp", message, headers=mcp.headers(message))
        assert (answer.status, answer.content) == (202, b"")
        assert (runs(tenant), used_units(tenant)) == (0, 0)


# Fields and headers in which a message may be a run or look like one.
METHODS = st.sampled_from(
    ["tools/call", "tools/list", "ping", "tools/call ", "TOOLS/CALL", "", None, 1]
)
MESSAGES = st.fixed_dictionaries(
    {},
    optional={
        "jsonrpc": st.sampled_from(["2.0", "2.0", "1.0", None]),
        "id": st.sampled_from([1, "a", "", None, 1.5, True, {}, 10**30]),
        "method": METHODS,
        "params": st.fixed_dictionaries(
            {},
            optional={
                "name": st.sampled_from(["researcher", "other", None]),
                "arguments": st.sampled_from([{"prompt": "p"}, {}, None]),
                "_meta": st.sampled_from([META, {}, None]),
            },
        ),
        "background": st.booleans(),
        "stream": st.booleans(),
    },
)
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "MCP-Protocol-Version": st.sampled_from([MODERN, OLD, "1900-01-01", ""]),
        "Mcp-Method": st.sampled_from(["tools/call", "tools/list", "ping", ""]),
        "Mcp-Name": st.sampled_from(["researcher", "other", ""]),
        "Content-Type": st.sampled_from(
            ["application/json", "text/plain", "application/JSON; a=b"]
        ),
        "Origin": st.sampled_from(["http://testserver", "http://evil.example"]),
    },
)


@pytest.fixture
def large(tenant: Tenant) -> Tenant:
    """The tenant, with a quota that is larger than the number of examples."""
    tenant.rate_limit_requests, tenant.rate_limit_window_seconds = 100_000, 2_000
    tenant.save()
    return tenant


RUN = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "tools/call",
    "params": {"name": "researcher", "arguments": {"prompt": "p"}},
}


@settings(
    max_examples=200,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(message=MESSAGES, headers=HEADERS, repeated=st.sampled_from(["", "method", "id"]))
@example(message=RUN, headers={}, repeated="")
@example(message=RUN, headers={"Mcp-Method": "ping", "Mcp-Name": "other"}, repeated="method")
@example(message={**RUN, "background": True, "stream": True}, headers={}, repeated="id")
def test_no_run_passes_the_limiter(
    *, api: Api, large: Tenant, agent: Agent, message: Any, headers: Any, repeated: str
) -> None:
    """Whatever a request has in its body and headers, the limiter has admitted each run, and nothing else."""
    before = runs(large)
    raw = json.dumps(message)
    if repeated and repeated in message:
        # Of two fields with one name, all parsers here use the last.
        raw = raw.replace("{", f'{{"{repeated}": "tools/call", ', 1)
    answer = api.post("/mcp", raw=raw.encode(), headers=headers)
    # On a busy machine the limiter may time out.
    assert answer.status in {200, 202, 400, 403, 404, 415, 503}
    is_counted = "x-ratelimit-remaining" in answer.headers
    assert runs(large) - before <= is_counted
    assert not is_counted or (message.get("method"), "id" in message) == ("tools/call", True)


def test_nothing_is_run_without_the_limiter(
    modern: McpClient, tenant: Tenant, agent: Agent
) -> None:
    """The view does not depend on what the middleware recognizes as a run."""
    limiter = "ratelimit.middleware.RateLimitMiddleware"
    others = [name for name in django_settings.MIDDLEWARE if name != limiter]
    message = modern.message("tools/call", {"name": "researcher", "arguments": {"prompt": "p"}})
    headers = {**modern.headers(message), "X-API-KEY": str(modern.api.key)}
    with override_settings(MIDDLEWARE=others):
        client = Client(raise_request_exception=False)
        response = client.post("/mcp", message, "application/json", headers=headers)
    assert (response.status_code, response.json()["error"]["code"]) == (500, -32603)
    assert runs(tenant) == 0
