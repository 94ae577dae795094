"""The page "Queue": the runs that have not ended, and their cancellation by operators."""

import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.utils import timezone

from agents.models import Agent
from executions.models import Approval, Execution
from map_project.tenants.models import Tenant
from tests.factories import AgentFactory, ApprovalFactory, ExecutionFactory

PATH = "/admin/queue/"
CANCEL = "/admin/queue/cancel/"


@pytest.fixture
def agent(tenant: Tenant) -> Iterator[Agent]:
    yield AgentFactory.create(tenant=tenant)
    # Other tests read the queue of all tenants.
    Execution.objects.filter(tenant=tenant, status__in=Execution.UNFINISHED).delete()


def unfinished(agent: Agent, status: str, **fields: Any) -> Execution:
    run: Execution = ExecutionFactory.create(agent=agent, status=status, **fields)
    return run


def sections(client: Client, tenant: Tenant) -> dict[str, Any]:
    response = client.get(PATH, {"tenant": str(tenant.pk)})
    assert response.status_code == 200
    return {section.status: section for section in response.context["sections"]}


def shown(client: Client, tenant: Tenant) -> dict[str, list[uuid.UUID]]:
    return {
        status: [row["run"].pk for row in section.rows]
        for status, section in sections(client, tenant).items()
    }


def status_of(run: Execution) -> tuple[str, str]:
    run.refresh_from_db()
    return run.status, run.stop_reason


def test_runs_that_have_not_ended_are_shown_the_oldest_first(
    auditor: Client, tenant: Tenant, agent: Agent
) -> None:
    now = timezone.now()
    young, old = (
        unfinished(agent, "queued", created_at=now - timedelta(minutes=minutes))
        for minutes in (1, 90)
    )
    running, waiting = unfinished(agent, "running"), unfinished(agent, "requires_action")
    approval = ApprovalFactory.create(execution=waiting, tool_name="delete_customer")
    for status in ("succeeded", "incomplete", "failed", "cancelled"):
        unfinished(agent, status)
    other = unfinished(AgentFactory.create(), "queued")
    assert shown(auditor, tenant) == {
        "running": [running.pk],
        "queued": [old.pk, young.pk],
        "requires_action": [waiting.pk],
    }
    found = sections(auditor, tenant)
    assert (found["queued"].number, found["queued"].oldest) == (2, "1 h 30 min")
    assert found["queued"].rows[0]["age"] == "1 h 30 min"
    assert found["requires_action"].rows[0]["approvals"] == [approval]
    assert found["requires_action"].number == 1
    other.delete()


def test_the_process_of_a_run_is_shown(auditor: Client, tenant: Tenant, agent: Agent) -> None:
    now = timezone.now()
    held, lost = (
        unfinished(
            agent, "running", lease_owner=f"host:1:{seconds}", attempt=3,
            lease_expires_at=now + timedelta(seconds=seconds),
        )
        for seconds in (60, -60)
    )  # fmt: skip
    unfinished(agent, "queued", awaits_slot=True)
    found = sections(auditor, tenant)
    states = {
        row["run"].pk: (row["worker"], row["has_lost_lease"]) for row in found["running"].rows
    }
    assert states == {held.pk: ("host:1:60", False), lost.pk: ("host:1:-60", True)}
    assert found["queued"].rows[0]["worker"] == "waits for a free slot or the budget of the tenant"
    page = auditor.get(PATH, {"tenant": str(tenant.pk)}).content.decode()
    assert page.count("lease expired") == 1


def test_a_long_queue_is_cut(auditor: Client, tenant: Tenant, agent: Agent) -> None:
    Execution.objects.bulk_create(
        Execution(
            tenant=tenant, agent_id=agent.pk, agent_name="a", prompt="p", model="m", latency_ms=0,
            status="queued",
        )
        for _ in range(105)
    )  # fmt: skip
    section = sections(auditor, tenant)["queued"]
    assert (section.number, len(section.rows)) == (105, 100)
    assert (
        "The 100 oldest of 105 runs"
        in auditor.get(PATH, {"tenant": str(tenant.pk)}).content.decode()
    )


@pytest.mark.parametrize("status", ["queued", "running", "requires_action"])
def test_an_operator_cancels_a_run_after_a_confirmation(
    operator: Client, agent: Agent, status: str
) -> None:
    run, other = unfinished(agent, status), unfinished(agent, status)
    page = operator.post(CANCEL, {"run": str(run.pk), "selected": str(other.pk)})
    assert page.status_code == 200
    assert [row["run"].pk for row in page.context["runs"]] == [run.pk]
    assert status_of(run)[0] == status
    done = operator.post(CANCEL, {"selected": str(run.pk), "confirmed": "yes"})
    assert (done.status_code, done.headers["Location"]) == (302, PATH)
    assert status_of(run) == ("cancelled", "cancelled_by_operator")
    assert status_of(other)[0] == status
    entry = LogEntry.objects.get(object_id=str(run.pk))
    assert entry.change_message == f"status: {status} → cancelled"
    assert str(entry.user_id) == operator.session["_auth_user_id"]


def test_an_operator_cancels_selected_runs(operator: Client, tenant: Tenant, agent: Agent) -> None:
    runs = [unfinished(agent, "queued"), unfinished(agent, "running")]
    ended = unfinished(agent, "succeeded")
    waiting = unfinished(agent, "requires_action")
    approval = ApprovalFactory.create(execution=waiting)
    runs.append(waiting)
    path = f"{CANCEL}?tenant={tenant.pk}"
    ids = [str(run.pk) for run in (*runs, ended)]
    page = operator.post(path, {"selected": ids})
    assert len(page.context["runs"]) == 3
    done = operator.post(path, {"selected": ids, "confirmed": "yes"}, follow=True)
    assert "Cancelled 3 runs." in done.content.decode()
    assert done.redirect_chain == [(f"{PATH}?tenant={tenant.pk}", 302)]
    assert {status_of(run)[0] for run in runs} == {"cancelled"}
    assert status_of(ended)[0] == "succeeded"
    approval.refresh_from_db()
    assert approval.status == Approval.Status.EXPIRED
    assert shown(operator, tenant) == {"running": [], "queued": [], "requires_action": []}
    again = operator.post(path, {"selected": ids, "confirmed": "yes"}, follow=True)
    assert "all have ended" in again.content.decode()
    entries = LogEntry.objects.filter(object_id__in=ids)
    assert entries.count() == 3


def test_a_run_that_is_locked_is_reported(operator: Client, agent: Agent) -> None:
    free, locked = unfinished(agent, "queued"), unfinished(agent, "queued")
    other = connection.copy()
    try:
        other.set_autocommit(False)
        with other.cursor() as cursor:
            cursor.execute(
                "SELECT 1 FROM executions_execution WHERE id = %s FOR UPDATE", [locked.pk]
            )
        sent = {"selected": [str(locked.pk), str(free.pk)], "confirmed": "yes"}
        page = operator.post(CANCEL, sent, follow=True).content.decode()
    finally:
        other.rollback()
        other.close()
    assert "Cancelled 1 run." in page
    assert "1 could not be cancelled" in page
    assert (status_of(locked)[0], status_of(free)[0]) == ("queued", "cancelled")
    assert not LogEntry.objects.filter(object_id=str(locked.pk)).exists()


def test_an_auditor_cannot_cancel(auditor: Client, tenant: Tenant, agent: Agent) -> None:
    run = unfinished(agent, "queued")
    response = auditor.post(CANCEL, {"selected": str(run.pk), "confirmed": "yes"})
    assert response.status_code == 403
    assert status_of(run)[0] == "queued"
    page = auditor.get(PATH, {"tenant": str(tenant.pk)}).content.decode()
    assert str(run.pk) in page
    assert 'type="checkbox"' not in page
    assert 'name="run"' not in page


def test_invalid_requests(operator: Client, agent: Agent) -> None:
    run = unfinished(agent, "queued")
    assert operator.get(CANCEL).status_code == 405
    assert operator.post(CANCEL, {"selected": ["x", str(run.pk)]}).status_code == 400
    many = [str(uuid.uuid4()) for _ in range(301)]
    assert operator.post(CANCEL, {"selected": many}).status_code == 400
    assert operator.post(CANCEL).status_code == 302
    assert operator.get(PATH, {"tenant": "x"}).status_code == 400
    assert status_of(run)[0] == "queued"


def test_the_page_needs_the_permission_to_view_executions(auditor: Client) -> None:
    assert f'href="{PATH}"' in auditor.get("/admin/").content.decode()
    client = Client()
    client.force_login(User.objects.create_user("no-queue", is_staff=True))
    assert client.get(PATH).status_code == 403
    assert client.post(CANCEL).status_code == 403
