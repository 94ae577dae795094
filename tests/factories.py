"""Factories of rows. A child takes the tenant of its parent, so tests cannot mix tenants by mistake."""

import uuid
from datetime import timedelta
from typing import Any

import factory
from django.utils import timezone
from factory.django import DjangoModelFactory

from agents.models import Agent, AgentTool
from executions.models import Approval, Execution
from map_project.api import secrets
from map_project.tenants.models import Tenant
from map_project.webhooks.models import WebhookDelivery, WebhookEndpoint
from tools.models import Tool
from tools.services import create_tool


class TenantFactory(DjangoModelFactory[Tenant]):
    class Meta:
        model = Tenant

    name = factory.Faker("uuid4")


class ToolFactory(DjangoModelFactory[Tool]):
    class Meta:
        model = Tool

    tenant = factory.SubFactory(TenantFactory)
    name = factory.Sequence(lambda n: f"tool {n:06}")
    description = "Does something useful."


class AgentFactory(DjangoModelFactory[Agent]):
    class Meta:
        model = Agent
        skip_postgeneration_save = True

    tenant = factory.SubFactory(TenantFactory)
    name = factory.Sequence(lambda n: f"agent {n:06}")
    role = "analyst"
    description = "Looks into things."

    @factory.post_generation
    def with_tools(self: Agent, create: bool, count: int | None, **kwargs: Any) -> None:
        """Create tools of the agent's tenant: `AgentFactory(with_tools=3)`."""
        for tool in ToolFactory.create_batch(count or 0, tenant=self.tenant):
            AgentTool.objects.create(agent=self, tool=tool)


class ExecutionFactory(DjangoModelFactory[Execution]):
    class Meta:
        model = Execution

    agent = factory.SubFactory(AgentFactory)
    tenant = factory.SelfAttribute("agent.tenant")
    agent_id = factory.SelfAttribute("agent.pk")
    agent_name = factory.SelfAttribute("agent.name")
    prompt = "What is new?"
    model = "gpt-4o"
    response = "[Mock Response] Nothing."
    status = Execution.Status.SUCCEEDED
    latency_ms = 1
    request_id = "factory"

    @classmethod
    def _create(cls, model_class: type[Execution], *args: Any, **kwargs: Any) -> Execution:
        kwargs.pop("agent")
        execution: Execution = super()._create(model_class, *args, **kwargs)
        return execution


class ApprovalFactory(DjangoModelFactory[Approval]):
    class Meta:
        model = Approval

    execution = factory.SubFactory(ExecutionFactory)
    tenant = factory.SelfAttribute("execution.tenant")
    position = 1
    attempt = 1
    tool_id = factory.LazyFunction(uuid.uuid4)
    tool_name = "delete_customer"
    arguments = '{"customer": 4711}'
    arguments_sha256 = "0" * 64
    expires_at = factory.LazyFunction(lambda: timezone.now() + timedelta(hours=1))


class WebhookFactory(DjangoModelFactory[WebhookEndpoint]):
    class Meta:
        model = WebhookEndpoint

    tenant = factory.SubFactory(TenantFactory)
    url = "https://example.com/hook"
    event_types = ("*",)
    secret_token = factory.LazyFunction(lambda: secrets.encrypt("whsec_" + "c2VjcmV0" * 4))


class DeliveryFactory(DjangoModelFactory[WebhookDelivery]):
    class Meta:
        model = WebhookDelivery

    endpoint = factory.SubFactory(WebhookFactory)
    tenant = factory.SelfAttribute("endpoint.tenant")
    event_type = "execution.failed"


def saved_tool(**fields: Any) -> Tool:
    """Return a tool created as the API creates it, with its secrets."""
    return create_tool(**fields)
