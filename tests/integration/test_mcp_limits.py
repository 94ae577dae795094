"""`/mcp` at live servers: the quota is exact, and each call of a run takes a unit."""

from collections import Counter
from collections.abc import Iterator
from functools import partial

import pytest

from agents.models import Agent
from executions.models import Execution
from map_project.tenants.models import Tenant
from ratelimit.limiter import Quota, default_limiter
from tests.api import Api, LiveApi
from tests.at_once import at_once
from tests.contract import wire
from tests.factories import AgentFactory
from tests.live import serving
from tests.mcp import MODERN, OLD, McpClient, failure_of, result_of

LIMIT, SURPLUS, THREADS = 40, 20, 12


@pytest.fixture(scope="module")
def second_port() -> Iterator[int]:
    with serving() as port:
        yield port


@pytest.fixture
def agent(tenant: Tenant) -> Agent:
    tenant.rate_limit_requests = LIMIT
    tenant.rate_limit_window_seconds = 2_000
    tenant.save()
    return AgentFactory.create(tenant=tenant, name="researcher", model="gpt-4o")


def used_units(tenant: Tenant) -> int:
    (usage,) = default_limiter().peek([Quota(tenant.pk, LIMIT, 2_000)])
    return usage.used


@pytest.mark.slow
def test_exactly_the_quota_passes(
    api: Api, tenant: Tenant, agent: Agent, live_port: int, second_port: int
) -> None:
    """Calls of both revisions at two servers, mixed with messages that take nothing."""
    clients = [
        McpClient(LiveApi(port, api.key), revision)
        for port in (live_port, second_port)
        for revision in (MODERN, OLD)
    ]

    def calls(number: int) -> Counter[bool]:
        outcomes: Counter[bool] = Counter()
        for index in range((LIMIT + SURPLUS) // THREADS):
            client = clients[(number + index) % len(clients)]
            assert result_of(client.call("tools/list"))["tools"]
            answer = client.tool("researcher")
            outcomes[result_of(answer)["isError"]] += 1
            if result_of(answer)["isError"]:
                assert failure_of(answer)["error_code"] == "RATE_LIMIT_EXCEEDED"
                assert answer.headers["retry-after"]
        return outcomes

    outcomes = at_once([partial(calls, number) for number in range(THREADS)])
    assert sum(outcomes, Counter()) == {False: LIMIT, True: SURPLUS}
    assert Execution.objects.filter(tenant=tenant).count() == LIMIT
    assert used_units(tenant) == LIMIT


def test_a_chunked_body_is_counted(api: Api, tenant: Tenant, agent: Agent, live_port: int) -> None:
    """The limiter reads the body before the view does."""
    body = (
        b'{"jsonrpc": "2.0", "id": 1, "method": "tools/call", '
        b'"params": {"name": "researcher", "arguments": {"prompt": "p"}}}'
    )
    headers = (b"Content-Type: application/json", b"Transfer-Encoding: chunked")
    request = wire.request("POST", "/mcp", key=api.key, headers=headers)
    answer = wire.exchange(live_port, request, wire.chunked(body[:50], body[50:]))
    assert answer.status == 200
    assert b'"isError":false' in answer.content
    assert used_units(tenant) == Execution.objects.filter(tenant=tenant).count() == 1


def test_a_body_that_ends_early(api: Api, tenant: Tenant, agent: Agent, live_port: int) -> None:
    body = b'{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {}}'
    headers = (b"Content-Type: application/json", b"Content-Length: 1000")
    request = wire.request("POST", "/mcp", key=api.key, headers=headers)
    answer = wire.exchange(live_port, request, body, end=True)
    assert answer.status == 400
    assert answer.json["jsonrpc"] == "2.0"
    assert not Execution.objects.filter(tenant=tenant).exists()


@pytest.mark.slow
def test_without_redis(api: Api, tenant: Tenant, agent: Agent) -> None:
    """Nothing is run, and the model of the client reads why. Other methods need no Redis."""
    with serving(REDIS_URL="redis://127.0.0.1:1/0", WEB_CONCURRENCY="1") as port:
        for revision in (MODERN, OLD):
            client = McpClient(LiveApi(port, api.key), revision)
            assert result_of(client.call("tools/list"))["tools"]
            answer = client.tool("researcher")
            assert failure_of(answer)["error_code"] == "SERVICE_UNAVAILABLE"
            assert answer.headers["retry-after"] == "1"
    assert not Execution.objects.filter(tenant=tenant).exists()
