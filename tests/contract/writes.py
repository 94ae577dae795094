"""The operations with a body, for tests of rules that apply to all bodies."""

from dataclasses import dataclass, field
from typing import Any

from agents.models import Agent
from executions.models import Execution
from map_project.tenants.models import Tenant
from map_project.tenants.scopes import SCOPES
from tests.api import Answer
from tests.conftest import api_of
from tests.factories import AgentFactory, TenantFactory, ToolFactory
from tools.models import Tool

TOOL = {"name": "web", "description": "Searches the web."}
AGENT = {"name": "Ada", "role": "analyst", "description": "Looks into things."}
RUN = {"prompt": "What is new?", "model": "gpt-4o"}


@dataclass(frozen=True)
class Write:
    """An operation. `route` may contain `{tool}` and `{agent}`. `body` is valid."""

    method: str
    route: str
    body: dict[str, Any] = field(hash=False)

    def __str__(self) -> str:
        return f"{self.method} {self.route}"

    @property
    def text_fields(self) -> list[str]:
        return [name for name, value in self.body.items() if isinstance(value, str)]


WRITES = [
    Write("POST", "tools", TOOL),
    Write("PUT", "tools/{tool}", TOOL),
    Write("PATCH", "tools/{tool}", TOOL),
    Write("POST", "agents", {**AGENT, "tool_ids": []}),
    Write("PUT", "agents/{agent}", {**AGENT, "tool_ids": []}),
    Write("PATCH", "agents/{agent}", {**AGENT, "tool_ids": []}),
    Write("POST", "agents/{agent}/run", RUN),
]
TEXTS = [(write, name) for write in WRITES for name in write.text_fields]


class Rows:
    """A tenant with a large quota, and its tool and agent."""

    def __init__(self) -> None:
        self.tenant: Tenant = TenantFactory.create(rate_limit_requests=1_000_000)
        self.api = api_of(self.tenant, SCOPES)
        self.tool: Tool = ToolFactory.create(tenant=self.tenant)
        self.agent: Agent = AgentFactory.create(tenant=self.tenant)

    def send(
        self, write: Write, body: Any = None, *, route: str | None = None, **kwargs: Any
    ) -> Answer:
        """Send a request of the operation. `route` replaces its route."""
        route = (route or write.route).format(tool=self.tool.pk, agent=self.agent.pk)
        return self.api.call(write.method, route, body, **kwargs)

    def snapshot(self) -> Any:
        """Return all rows of the tenant, to check that nothing was stored."""
        return [
            list(model.objects.filter(tenant=self.tenant).order_by("pk").values_list())
            for model in (Tool, Agent, Execution)
        ]
