"""A live server with a worker, and an agent with two tools."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from agents.models import Agent, AgentTool
from map_project.tenants.models import Tenant
from tests.api import LiveApi
from tests.conftest import api_of
from tests.effects_server import EffectsServer, effects_server
from tests.factories import AgentFactory, TenantFactory, saved_tool
from tests.live import serving, working

NETWORK = {"TOOL_ALLOWED_NETWORKS": "127.0.0.0/8"}
# The mock calls both tools.
TWO_TOOLS = 'Go\n@first {"a": 1}\n@second {"b": 2}'


@dataclass(frozen=True)
class Door:
    """What a client has to know: the URL, a key, and an agent with a default model and two tools."""

    port: int
    key: str
    agent: Agent
    tenant: Tenant

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def model(self) -> str:
        return self.agent.name

    @property
    def api(self) -> LiveApi:
        return LiveApi(self.port, self.key)


@pytest.fixture(scope="package")
def effects() -> Iterator[EffectsServer]:
    with effects_server() as server:
        yield server


@pytest.fixture(scope="package")
def port() -> Iterator[int]:
    with serving(**NETWORK) as port, working(**NETWORK):
        yield port


@pytest.fixture
def door(port: int, effects: EffectsServer) -> Door:
    tenant = TenantFactory.create(rate_limit_requests=10_000)
    agent = AgentFactory.create(tenant=tenant, model="gpt-4o")
    for name in ("first", "second"):
        tool = saved_tool(
            tenant_id=tenant.pk,
            name=name,
            description="d",
            kind="http",
            http=effects.config(),
            parameters={"type": "object"},
        )
        AgentTool.objects.create(agent=agent, tool=tool)
    key = api_of(tenant).key
    assert key is not None
    return Door(port, key, agent, tenant)
