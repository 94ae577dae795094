"""Deleting old executions: by `prune_history`, and by the retention of a tenant."""

from collections.abc import Callable
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.utils import timezone

from executions.history import blocks, pruning
from executions.history.blocks import index_history
from executions.history.pruning import apply_retention
from executions.models import Approval, EventBatch, Execution, SearchBlock, Step
from map_project.postgresql.queries import AdvisoryLock
from map_project.tenants.models import Tenant
from map_project.usage.models import Usage
from map_project.webhooks.models import WebhookDelivery
from tests.api import Api
from tests.at_once import at_once
from tests.contract.shapes import ids
from tests.factories import (
    AgentFactory,
    ApprovalFactory,
    DeliveryFactory,
    ExecutionFactory,
    WebhookFactory,
)

Create = Callable[..., Execution]


@pytest.fixture
def create(tenant: Tenant) -> Create:
    """Return a function that creates an execution of an age in days."""
    agent = AgentFactory.create(tenant=tenant)

    def create_one(age_days: float, **columns: Any) -> Execution:
        time = timezone.now() - timedelta(days=age_days)
        return ExecutionFactory.create(agent=agent, created_at=time, **columns)

    return create_one


def prune(tenant: Tenant, *options: str) -> str:
    output = StringIO()
    call_command(
        "prune_history", "--tenant", tenant.name, *options, stdout=output, stderr=StringIO()
    )
    return output.getvalue().strip()


def apart(call: Callable[[], object]) -> None:
    """Make a call with another connection."""

    def closing() -> None:
        try:
            call()
        finally:
            connection.close()

    at_once([closing])


def remaining(tenant: Tenant) -> list[Any]:
    return [
        *Execution.objects.filter(tenant=tenant).order_by("created_at").values_list("pk", flat=True)
    ]


def test_old_executions_are_deleted(tenant: Tenant, other_tenant: Tenant, create: Create) -> None:
    """With their steps, approvals, events and deliveries. Those of other tenants stay."""
    old, new = create(91), create(89)
    agent = AgentFactory.create(tenant=other_tenant)
    foreign = ExecutionFactory.create(agent=agent, created_at=old.created_at)
    endpoint = WebhookFactory.create(tenant=tenant)
    for execution in (old, new, foreign):
        Step.objects.create(execution=execution, position=0, kind="model", name="m", latency_ms=1)
        ApprovalFactory.create(execution=execution, status=Approval.Status.APPROVED)
        EventBatch.objects.create(execution=execution, first_number=0, events="{}")
    for execution in (old, new):
        DeliveryFactory.create(
            endpoint=endpoint,
            execution_id=execution.pk,
            status="succeeded",
            created_at=execution.created_at,
        )
    assert prune(tenant, "--older-than", "90d", "--dry-run") == "1 executions would be deleted."
    assert len(remaining(tenant)) == 2
    assert prune(tenant, "--older-than", "90d") == "1 executions deleted."
    assert remaining(tenant) == [new.pk]
    assert remaining(other_tenant) == [foreign.pk]
    for model in (Step, Approval, EventBatch):
        rows = model._default_manager.filter(execution_id__in=[old.pk, new.pk, foreign.pk])
        assert set(rows.values_list("execution_id", flat=True)) == {new.pk, foreign.pk}
    deliveries = WebhookDelivery.objects.filter(endpoint=endpoint)
    assert [*deliveries.values_list("execution_id", flat=True)] == [new.pk]


def test_usage_stays(api: Api, tenant: Tenant, create: Create) -> None:
    for age in (100, 95, 1):
        create(age, input_tokens=7)
    usage = Usage.objects.filter(tenant=tenant)
    assert sum(row.runs for row in usage) == 3
    assert prune(tenant, "--older-than", "2d") == "2 executions deleted."
    assert sum(row.runs for row in usage.all()) == 3
    assert sum(row.input_tokens for row in usage.all()) == 21


def test_runs_that_have_not_ended_stay_with_what_they_continue(
    tenant: Tenant, create: Create
) -> None:
    first, second, branch = create(50), create(49), create(48)
    for execution, previous in ((second, first), (branch, first)):
        Execution.objects.filter(pk=execution.pk).update(previous_execution_id=previous.pk)
    waiting = create(47, status="requires_action", previous_execution_id=second.pk)
    queued = create(46, status="queued")
    expected = [first.pk, second.pk, waiting.pk, queued.pk]
    assert prune(tenant, "--older-than", "10d", "--dry-run") == "1 executions would be deleted."
    assert prune(tenant, "--older-than", "10d") == "1 executions deleted."
    assert remaining(tenant) == expected
    Execution.objects.filter(pk__in=[waiting.pk, queued.pk]).update(status="cancelled")
    assert prune(tenant, "--older-than", "10d") == "4 executions deleted."


def test_what_continues_a_deleted_execution(api: Api, tenant: Tenant) -> None:
    """A conversation starts again; the execution itself does not exist any more."""
    agent = AgentFactory.create(tenant=tenant)
    conversation = api.post("conversations", {}).json["id"]
    body = {"prompt": "First", "model": "gpt-4o", "conversation_id": conversation}
    first = api.post(f"agents/{agent.pk}/run", body).json["execution_id"]
    old = timezone.now() - timedelta(days=5)
    Execution.objects.filter(pk=first).update(created_at=old)
    assert prune(tenant, "--older-than", "3d") == "1 executions deleted."
    body = {"prompt": "Again", "model": "gpt-4o"}
    continued = api.post(f"agents/{agent.pk}/run", {**body, "conversation_id": conversation})
    assert continued.status == 200
    response = api.post(f"agents/{agent.pk}/run", {**body, "previous_execution_id": first})
    assert response.error_code == api.get(f"history/{first}").error_code == "EXECUTION_NOT_FOUND"


def test_the_retention_of_tenants(tenant: Tenant, other_tenant: Tenant, create: Create) -> None:
    old, new = create(31), create(29)
    agent = AgentFactory.create(tenant=other_tenant)
    forever = ExecutionFactory.create(agent=agent, created_at=old.created_at)
    apply_retention()
    assert remaining(tenant) == [old.pk, new.pk]
    Tenant.objects.filter(pk=tenant.pk).update(retention_days=30)
    assert prune(tenant, "--dry-run") == "1 executions would be deleted."
    assert prune(other_tenant) == "0 executions deleted."
    apply_retention()
    assert remaining(tenant) == [new.pk]
    assert remaining(other_tenant) == [forever.pk]


def test_only_one_process_applies_the_retention(tenant: Tenant, create: Create) -> None:
    create(31)
    Tenant.objects.filter(pk=tenant.pk).update(retention_days=30)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [AdvisoryLock.PRUNE_HISTORY.value])
        apart(apply_retention)
    assert len(remaining(tenant)) == 1


def test_many_batches(tenant: Tenant, create: Create, monkeypatch: pytest.MonkeyPatch) -> None:
    """Executions of one time are in several batches, and one that another transaction has locked stays."""
    for name in ("MIN_BATCH", "FIRST_BATCH", "MAX_BATCH"):
        monkeypatch.setattr(pruning, name, 3)
    time = timezone.now() - timedelta(days=9)
    executions = [create(0) for _ in range(10)]
    Execution.objects.filter(tenant=tenant).update(created_at=time)
    with transaction.atomic():
        Execution.objects.select_for_update().get(pk=executions[4].pk)
        apart(lambda: prune(tenant, "--older-than", "2d"))
    assert remaining(tenant) == [executions[4].pk]
    assert prune(tenant, "--older-than", "2d") == "1 executions deleted."


def test_what_remains_is_found_by_the_search(
    api: Api, tenant: Tenant, create: Create, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "ROWS", 2)
    for age in (9, 8):
        create(age, prompt="wanted")
    waiting = create(7, prompt="wanted", status="queued")
    newer = [create(age, prompt="wanted") for age in (6, 2, 1.5, 1.2)]
    index_history()
    assert prune(tenant, "--older-than", "3d") == "3 executions deleted."
    expected = [str(each.pk) for each in (waiting, *newer[1:])][::-1]
    assert ids(api.get("history?q=wanted").json) == expected
    Execution.objects.filter(pk=waiting.pk).update(status="cancelled")
    index_history()
    assert ids(api.get("history?q=wanted").json) == expected
    assert SearchBlock.objects.filter(tenant=tenant, is_stale=False).exists()


@pytest.mark.parametrize("value", ["90", "0d", "-1d", "1.5d", "d", "90D", "36501d", "", "\u0669d"])
def test_an_invalid_age_is_refused(tenant: Tenant, value: str) -> None:
    with pytest.raises(CommandError, match="days"):
        prune(tenant, f"--older-than={value}")


def test_an_unknown_tenant_is_refused() -> None:
    with pytest.raises(CommandError, match="nobody"):
        call_command("prune_history", "--older-than", "90d", "--tenant", "nobody")
