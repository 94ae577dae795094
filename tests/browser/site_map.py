"""All pages of the admin, and rows of every kind for them to show."""

import uuid
from datetime import timedelta
from decimal import Decimal
from typing import Any

from axes.models import AccessAttempt
from django.apps import apps
from django.contrib import admin
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import Group, User
from django.db.models import Model
from django.urls import reverse
from django.utils import timezone

from agents.models import Agent, LanguageModel
from executions.models import Approval, Conversation, Execution, Step
from map_project.tenants.keys import issue_key
from map_project.tenants.models import ApiKey, Tenant
from map_project.webhooks.models import WebhookDelivery
from tests.factories import (
    AgentFactory,
    ApprovalFactory,
    ExecutionFactory,
    TenantFactory,
    ToolFactory,
    WebhookFactory,
)


def long_name() -> str:
    """A name of 100 characters that offers no place to break a line."""
    return f"{uuid.uuid4().hex}{'W' * 68}"


def create_rows(user: User) -> dict[type[Model], Model]:
    """One row of each kind, with names as long as they can be."""
    tenant = TenantFactory.create(name=long_name())
    tool = ToolFactory.create(tenant=tenant, name=long_name(), description="d" * 1000)
    agent = AgentFactory.create(
        tenant=tenant, name=long_name(), role=long_name(), description="d" * 1000, model="gpt-4o"
    )
    agent.tools.add(tool)
    key, _ = issue_key(tenant=tenant, name=long_name(), expires_in=timedelta(days=2))
    model = LanguageModel.objects.create(
        name=long_name(), provider="openai", upstream_name="u" * 200, base_url=f"http://{'b' * 480}"
    )
    for text in ("x" * 300, f'name: "a" → "b"; url: "{"x" * 300}" → "{"y" * 300}"'):
        LogEntry.objects.log_actions(user.pk, [tenant], CHANGE, text, single_object=True)
    attempt = AccessAttempt.objects.create(
        ip_address="192.0.2.7",
        username=long_name(),
        user_agent="a" * 255,
        failures_since_start=3,
        path_info="/admin/login/",
        attempt_time=timezone.now(),
    )
    webhook = WebhookFactory.create(
        tenant=tenant, url=f"https://example.com/{'w' * 1_900}", disabled_reason="r" * 200
    )
    delivery = WebhookDelivery.objects.create(
        tenant=tenant, endpoint=webhook, event_type="execution.incomplete", error="e" * 50
    )
    rows = (
        *(webhook, delivery, create_conversation(agent, model.name)),
        *(tenant, tool, agent, key, model, attempt),
        *((execution := create_executions(agent, model.name)), create_approval(execution)),
        *(user, Group.objects.get(name="operator"), LogEntry.objects.latest("pk")),
    )
    return {type(row): row for row in rows}


def create_executions(agent: Agent, model: str) -> Execution:
    """Runs in every status. Returns a failed one with steps."""
    # Long enough for the widest duration of a run in progress.
    created_at = timezone.now() - timedelta(minutes=12)
    for status in Execution.Status:
        ExecutionFactory.create(agent=agent, status=status, model=model, created_at=created_at)
    execution = ExecutionFactory.create(
        agent=agent, model=model, prompt="p" * 3000, response="", status="failed",
        error_code="E" * 50, request_id="r" * 128, system_prompt="s" * 500, latency_ms=4_200_000,
        input_tokens=123_456_789, output_tokens=987_654_321, cost_usd=Decimal("12345.678901234"),
    )  # fmt: skip
    for position, kind in enumerate(Step.Kind):
        Step.objects.create(
            execution=execution, position=position, kind=kind, name="n" * 200, latency_ms=12,
            input='{"city": "' + "c" * 300 + '"}', output="o" * 300, error="e" * 100,
        )  # fmt: skip
    return execution


def create_approval(execution: Execution) -> Approval:
    """An approval that is pending, of a run that waits."""
    waiting = ExecutionFactory.create(
        agent=Agent.objects.get(pk=execution.agent_id), status="requires_action", response=""
    )
    approval: Approval = ApprovalFactory.create(
        execution=waiting, tool_name=long_name(), arguments='{"city": "' + "c" * 3000 + '"}'
    )
    return approval


def create_conversation(agent: Agent, model: str) -> Conversation:
    """A conversation with runs in every status that they can have, and a tool call."""
    conversation = Conversation.objects.create(
        tenant_id=agent.tenant_id, metadata={"k" * 64: "v" * 512}
    )
    ended = [each for each in Execution.Status if each not in Execution.UNFINISHED]
    for status in (*ended, Execution.Status.RUNNING):
        execution = ExecutionFactory.create(
            agent=agent, model=model, status=status, prompt="p" * 3000, error_code="E" * 50,
            conversation_id=conversation.pk,
        )  # fmt: skip
        Execution.objects.filter(pk=execution.pk).update(
            previous_execution_id=execution.pk, dropped_exchanges=2
        )
    Step.objects.create(
        execution=execution, position=0, kind="tool", name="n" * 200, latency_ms=12,
        input='{"city": "' + "c" * 300 + '"}', output="o" * 300, error="e" * 100,
    )  # fmt: skip
    return conversation


def model_pages(rows: dict[type[Model], Model]) -> dict[str, str]:
    """Every page that Django's admin has for a model, by a readable name."""
    pages: dict[str, str] = {}
    for model in filter(admin.site.is_registered, apps.get_models()):
        name = model._meta.label_lower
        route = f"admin:{name.replace('.', '_')}"
        pages[f"{name} list"] = reverse(f"{route}_changelist")
        pages[f"{name} add"] = reverse(f"{route}_add")
        for page in ("change", "history", "delete"):
            pages[f"{name} {page}"] = reverse(f"{route}_{page}", args=(rows[model].pk,))
    return pages


def own_pages(rows: dict[Any, Any]) -> dict[str, str]:
    """The pages that belong to no model, or that we added to one."""
    tenant, key = rows[Tenant].pk, rows[ApiKey].pk
    return {
        "dashboard": "/admin/?range=1h",
        "dashboard of 30 days": "/admin/?range=30d",
        "failures": "/admin/failures/?period=7d",
        "failures of a tenant": f"/admin/failures/?period=7d&tenant={tenant}",
        "stale keys": reverse("admin:stale_keys"),
        "tool calls": "/admin/tool-calls/?period=24h&sort=p95",
        "queue": "/admin/queue/",
        "usage": "/admin/usage/",
        "usage of a tenant": f"/admin/usage/?tenant={tenant}",
        "issue a key": reverse("admin:issue_key", args=(tenant,)),
        "revoke a key": reverse("admin:revoke_key", args=(key,)),
        "rotate a key": reverse("admin:rotate_key", args=(key,)),
        "password": reverse("admin:password_change"),
        "password of a user": f"/admin/auth/user/{rows[User].pk}/password/",
        "an empty list": "/admin/tenants/tenant/?q=no-such-name",
        "executions of a search": f"/admin/executions/execution/?tenant__id__exact={tenant}&q=p",
        "not found": "/admin/no-such-page/",
    }
