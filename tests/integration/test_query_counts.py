"""The number of statements of each call, counted on the wire, with BEGIN and pings."""

import re
import tempfile
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from django.db import connection, connections
from django.db.backends.postgresql.base import DatabaseWrapper
from psycopg.pq import Trace

from agents.models import Agent
from map_project.tenants import last_used
from map_project.tenants.models import Tenant
from tests.api import Answer
from tests.conftest import api_of
from tests.factories import AgentFactory, ExecutionFactory, TenantFactory, ToolFactory
from tests.mcp import McpClient

# A statement is executed by one of these messages of PostgreSQL's protocol.
_STATEMENT = re.compile(r"^F\t\d+\t(Execute|Query|FunctionCall)", re.MULTILINE)


def statements(call: Callable[[], Answer]) -> int:
    """Return how many statements `call` executes on a connection from the pool, as in production."""
    wrapper = connections["default"]
    assert isinstance(wrapper, DatabaseWrapper)
    last_used.flush()  # or its thread may use the connection
    wrapper.close()
    wrapper.close_pool()  # a new pool has one connection
    connection.ensure_connection()
    used = connection.connection.pgconn
    with tempfile.TemporaryFile() as file:
        used.trace(file.fileno())
        used.set_trace_flags(Trace.SUPPRESS_TIMESTAMPS)
        connection.close()
        response = call()
        connection.ensure_connection()
        assert connection.connection.pgconn is used, "another connection of the pool was used"
        used.untrace()
        file.seek(0)
        text = file.read().decode(errors="replace")
    assert response.status < 400, response.content
    return len(_STATEMENT.findall(text))


@pytest.fixture
def tenant() -> Tenant:
    return TenantFactory.create()


def fill(tenant: Tenant, count: int) -> Agent:
    """Create agents with three tools and an execution each, and return one of them."""
    agents = AgentFactory.create_batch(count, tenant=tenant, with_tools=3)
    for agent in agents:
        ExecutionFactory.create(agent=agent)
    return agents[0]


def test_statements_are_counted(tenant: Tenant) -> None:
    def call() -> Answer:
        with connection.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute("SELECT %s", [1])
            cursor.execute("SELECT 1")
            cursor.execute("COMMIT")
        return Answer(200, {}, b"")

    assert statements(call) == 4


@pytest.mark.parametrize(
    "query", ["", "?limit=100", "?limit=1", "?offset=1&limit=7", "?offset=1000"]
)
@pytest.mark.parametrize("route", ["tools", "agents", "history"])
def test_a_list_costs_at_most_4_whatever_its_length(route: str, query: str) -> None:
    """The first call with a key, which includes its lookup."""
    counts = []
    for length in (1, 4, 30):
        tenant = TenantFactory.create()
        fill(tenant, length)
        api = api_of(tenant)
        counts.append(statements(lambda api=api: api.get(f"{route}{query}")))  # type: ignore[misc]
    assert 1 <= min(counts) <= max(counts) <= 4, counts


@pytest.mark.parametrize("route", ["tools?agent_name={agent}", "agents?tool_name={tool}"])
def test_a_filtered_list_costs_at_most_4(tenant: Tenant, route: str) -> None:
    agent = fill(tenant, 5)
    path = route.format(agent=agent.name, tool=agent.tools_by_name()[0].name).replace(" ", "%20")
    api = api_of(tenant)
    assert 1 <= statements(lambda: api.get(path)) <= 4
    assert api.get(path).json["total"] >= 1


@pytest.mark.parametrize("tools", [0, 1, 50])
def test_one_agent_costs_at_most_3(tenant: Tenant, tools: int) -> None:
    agent = AgentFactory.create(tenant=tenant, with_tools=tools)
    api = api_of(tenant)
    assert 1 <= statements(lambda: api.get(f"agents/{agent.pk}")) <= 3


@pytest.mark.parametrize("tools", [0, 1, 50])
def test_the_first_run_costs_at_most_5(tenant: Tenant, tools: int) -> None:
    """The key, the models, the agent and its tools, all of which are cached then, and the insert."""
    agent = AgentFactory.create(tenant=tenant, with_tools=tools)
    api = api_of(tenant)
    assert 1 <= statements(lambda: api.run(agent.pk)) <= 5


@pytest.mark.parametrize("tools", [0, 50])
def test_a_run_with_cached_rows_costs_1(tenant: Tenant, tools: int) -> None:
    agent = AgentFactory.create(tenant=tenant, with_tools=tools)
    api = api_of(tenant)
    api.run(agent.pk)
    # The caches of the key and the models expire within a second, also between these two runs.
    counts = [statements(lambda: api.run(agent.pk)) for _ in range(5)]
    assert min(counts) == 1
    assert max(counts) <= 3


def test_one_tool_costs_at_most_2(tenant: Tenant) -> None:
    tool = ToolFactory.create(tenant=tenant)
    api = api_of(tenant)
    assert 1 <= statements(lambda: api.get(f"tools/{tool.pk}")) <= 2


def test_one_execution_costs_at_most_3(tenant: Tenant) -> None:
    execution = ExecutionFactory.create(agent=AgentFactory.create(tenant=tenant))
    api = api_of(tenant)
    assert 1 <= statements(lambda: api.get(f"history/{execution.pk}")) <= 3


@pytest.mark.parametrize("tools", [0, 20])
def test_a_run_at_v1_costs_4_with_cached_rows(tenant: Tenant, tools: int) -> None:
    """As a run of `/api/v1`: the agent by its name, and the execution and its steps for the response."""
    model = AgentFactory.create(tenant=tenant, model="gpt-4o", with_tools=tools).name
    body = {"model": model, "input": "Hi", "messages": [{"role": "user", "content": "Hi"}]}
    api = api_of(tenant)
    for path in ("/v1/responses", "/v1/chat/completions"):
        assert api.post(path, body).status == 200
        # As above, caches may expire between two runs.
        counts = [statements(partial(api.post, path, body)) for _ in range(5)]
        assert min(counts) == 4
        assert max(counts) <= 6


@pytest.mark.parametrize("count", [1, 30])
def test_the_items_of_a_conversation_cost_at_most_7(tenant: Tenant, count: int) -> None:
    api = api_of(tenant)
    model = AgentFactory.create(tenant=tenant, model="gpt-4o").name
    conversation = api.post("/v1/conversations", {}).json["id"]
    for number in range(count):
        body = {"model": model, "input": str(number), "conversation": conversation}
        assert api.post("/v1/responses", body).status == 200
    path = f"/v1/conversations/{conversation}/items"
    last = api.get(path).json["data"][-1]["id"]
    for url, limit in ((path, 4), (f"{path}?after={last}", 6), ("/v1/models", 1)):
        # The key is looked up again from time to time.
        assert 1 <= statements(partial(api.get, url)) <= limit + 1


@pytest.mark.parametrize("tools", [0, 20])
def test_a_call_over_mcp_costs_2_with_cached_rows(tenant: Tenant, tools: int) -> None:
    """The agent by its name, and the insert. The list costs two, whatever its length."""
    for name in ("first", "second", "third"):
        AgentFactory.create(tenant=tenant, name=name, model="gpt-4o", with_tools=tools)
    client = McpClient(api_of(tenant))
    client.tool("first")
    for call in (partial(client.tool, "first"), partial(client.call, "tools/list")):
        # As above, caches may expire between two calls.
        counts = [statements(call) for _ in range(5)]
        assert min(counts) == 2
        assert max(counts) <= 4


@pytest.mark.parametrize("is_repeated", [False, True])
def test_an_import_costs_the_same_whatever_its_length(tenant: Tenant, is_repeated: bool) -> None:
    counts = set()
    for length in (1, 50):
        api = api_of(TenantFactory.create())
        paths: dict[str, Any] = {f"/{number}": {"get": {}} for number in range(length)}
        document = {"openapi": "3.0.0", "servers": [{"url": "https://a.example"}], "paths": paths}
        if is_repeated:
            api.post("tools/import", {"kind": "openapi", "document": document})
            for operations in paths.values():
                operations["get"] = {"summary": "New."}
        body = {"kind": "openapi", "document": document}
        counts.add(statements(partial(api.post, "tools/import", body)))
    assert len(counts) == 1
