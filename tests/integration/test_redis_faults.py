"""Redis is unavailable: run calls get 503 and are not run, all other endpoints work."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import pytest

from executions.models import Execution
from map_project.tenants.models import Tenant
from tests.api import Answer, LiveApi
from tests.at_once import at_once, timed
from tests.conftest import api_of
from tests.factories import AgentFactory, TenantFactory
from tests.live import serving
from tests.own_redis import OwnRedis, own_redis

pytestmark = pytest.mark.slow

# RATE_LIMIT_TIMEOUT_MS is 250; the rest is a margin for a busy machine.
IN_TIME_SECONDS = 1.0
RECOVERY_SECONDS = 1.0
CLIENTS = 12


@dataclass
class Service:
    """A server on a Redis of this test, and a tenant."""

    redis: OwnRedis
    api: LiveApi
    tenant: Tenant
    agent_id: str

    def run(self) -> Answer:
        return self.api.run(self.agent_id)

    def recorded(self) -> int:
        return Execution.objects.filter(tenant=self.tenant).count()


@pytest.fixture(scope="module", params=["tcp", "unix"])
def port_and_redis(request: pytest.FixtureRequest) -> Iterator[tuple[int, OwnRedis]]:
    with own_redis(unix=request.param == "unix") as redis, serving(REDIS_URL=redis.url) as port:
        yield port, redis


@pytest.fixture
def service(port_and_redis: tuple[int, OwnRedis]) -> Service:
    port, redis = port_and_redis
    tenant = TenantFactory.create(rate_limit_requests=1000)
    agent = AgentFactory.create(tenant=tenant, with_tools=1)
    service = Service(redis, LiveApi(port, api_of(tenant).key), tenant, str(agent.pk))
    assert {response.status for response in at_once([service.run] * CLIENTS)} == {200}
    return service


@contextmanager
def killed(redis: OwnRedis) -> Iterator[None]:
    redis.kill()
    yield
    redis.start()


OUTAGES: dict[str, Callable[[OwnRedis], AbstractContextManager[None]]] = {
    "killed": killed,
    "halted": OwnRedis.halted,
}


def is_unavailable(response: Answer) -> bool:
    return (
        response.status == 503
        and response.error_code == "SERVICE_UNAVAILABLE"
        and response.details == {"reason": "redis_unavailable"}
        and int(response.headers["retry-after"]) >= 1
        and not [name for name in response.headers if "ratelimit" in name]
    )


def assert_runs_are_refused(service: Service) -> None:
    for response, seconds in at_once([timed(service.run)] * CLIENTS):
        assert is_unavailable(response), response
        assert seconds < IN_TIME_SECONDS


def assert_other_endpoints_work(service: Service) -> None:
    api, agent_id = service.api, service.agent_id
    tool = api.post("tools", {"name": f"t {time.monotonic_ns()}", "description": "d"})
    assert tool.status == 201
    changed = api.patch(f"agents/{agent_id}", {"tool_ids": [tool.json["id"]]})
    assert changed.status == 200
    assert api.get("history").json["total"] == service.recorded()
    assert api.get(f"agents/{agent_id}").json["tools"][0]["id"] == tool.json["id"]
    assert api.get("/live").status == api.get("/ready").status == 200
    limits = api.get("me").json["rate_limit"]
    assert (limits["limit"], limits["remaining"]) == (1000, None)
    health = api.get("/health")
    assert health.status == 503
    assert health.json["checks"] == {"database": "ok", "redis": "unavailable"}


def assert_recovers_in_time(service: Service) -> None:
    """Assert that one run succeeds in time, and then all do."""
    deadline = time.monotonic() + RECOVERY_SECONDS
    while time.monotonic() < deadline and service.run().status != 200:
        time.sleep(0.01)
    for _ in range(3):
        assert {response.status for response in at_once([service.run] * CLIENTS)} == {200}
    assert service.api.get("/health").status == 200


@pytest.mark.parametrize("outage", OUTAGES)
def test_outage(service: Service, outage: str) -> None:
    recorded = service.recorded()
    with OUTAGES[outage](service.redis):
        for _ in range(2):
            assert_runs_are_refused(service)
        assert_other_endpoints_work(service)
        assert service.recorded() == recorded
    assert_recovers_in_time(service)


@pytest.mark.parametrize("outage", OUTAGES)
def test_outage_without_requests(service: Service, outage: str) -> None:
    """The open connections are lost; this fails no run."""
    with OUTAGES[outage](service.redis):
        time.sleep(0.3)
    assert {response.status for response in at_once([service.run] * CLIENTS)} == {200}


def test_order_of_checks(service: Service) -> None:
    """The key is checked before the quota; the agent and the body after it."""
    port, path = service.api.port, f"agents/{service.agent_id}/run"
    with killed(service.redis):
        assert LiveApi(port).post(path, {}).status == 401
        assert LiveApi(port, "no key").post(path, {}).status == 401
        assert is_unavailable(service.api.post("agents/no-id/run", {}))
        assert is_unavailable(service.api.post(path, raw=b"no JSON"))
        assert service.api.get(path).status == 405


def test_restarts_under_load(service: Service) -> None:
    """Each run is either successful and recorded, or refused and not recorded."""
    end = time.monotonic() + 3.0

    def client() -> list[Answer]:
        responses = []
        while time.monotonic() < end:
            responses.append(service.run())
        return responses

    def restarts() -> list[Answer]:
        for _ in range(4):
            time.sleep(0.3)
            service.redis.kill()
            time.sleep(0.1)
            service.redis.start()
        return []

    before = service.recorded()
    # This Redis is not persistent: a restart frees all units, so the quota does not matter.
    responses = [response for batch in at_once([*[client] * 6, restarts]) for response in batch]
    refused = [response for response in responses if response.status == 503]
    assert refused
    assert all(map(is_unavailable, refused))
    successful = [response for response in responses if response.status == 200]
    denied = [response for response in responses if response.status == 429]
    assert len(successful) + len(refused) + len(denied) == len(responses)
    assert service.recorded() == before + len(successful)
