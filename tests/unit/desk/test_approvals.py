"""Approvals in the admin: what waits, and decisions of operators."""

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.utils import timezone

from executions.models import Approval, Execution
from map_project.tenants.models import Tenant
from tests.factories import AgentFactory, ApprovalFactory, ExecutionFactory, ToolFactory
from tests.integration.test_isolation import UNREACHABLE

SCHEMA = '{"type": "object", "properties": {}}'
LIST = "/admin/executions/approval/"


@pytest.fixture
def approval(tenant: Tenant) -> Approval:
    execution = ExecutionFactory.create(
        agent=AgentFactory.create(tenant=tenant),
        status="requires_action",
        stop_reason="",
        response="",
    )
    found: Approval = ApprovalFactory.create(execution=execution)
    return found


def page(client: Client, approval: Approval) -> str:
    response = client.get(f"{LIST}{approval.pk}/change/")
    assert response.status_code == 200
    return response.content.decode()


def decide(client: Client, approval: Approval, decision: str, reason: str = "") -> str:
    """Send the form, and return the page that follows."""
    body = {"decision": decision, "reason": reason}
    response = client.post(f"{LIST}{approval.pk}/decide/", body, follow=True)
    assert response.status_code == 200
    approval.refresh_from_db()
    return response.content.decode()


def test_the_list_shows_what_waits(operator: Client, tenant: Tenant, approval: Approval) -> None:
    ApprovalFactory.create(
        execution=approval.execution, position=2, tool_name="look", status="approved"
    )
    query = f"?tenant__id__exact={tenant.pk}"
    listed = operator.get(f"{LIST}{query}").content.decode()
    assert "delete_customer" in listed
    assert "look" not in listed
    assert "look" in operator.get(f"{LIST}{query}&status=any").content.decode()
    assert "delete_customer" not in operator.get(f"{LIST}{query}&status=declined").content.decode()


@pytest.mark.parametrize(("decision", "status"), [("approve", "approved"), ("decline", "declined")])
def test_an_operator_decides(
    operator: Client, approval: Approval, decision: str, status: str
) -> None:
    assert "&quot;customer&quot;: 4711" in page(operator, approval)
    text = decide(operator, approval, decision, " It is right. ")
    assert f"The call was {status}." in text
    assert ">Approve</button>" not in text
    assert (approval.status, approval.reason) == (status, "It is right.")
    assert approval.decided_by == "operator"
    assert Execution.objects.get(pk=approval.execution_id).status == "queued"
    entry = LogEntry.objects.get(object_id=str(approval.pk))
    assert entry.change_message == (f'status: "pending" → "{status}"; reason: "" → "It is right."')
    again = decide(operator, approval, "decline" if decision == "approve" else "approve")
    assert f"The call was {status} before." in again
    assert LogEntry.objects.filter(object_id=str(approval.pk)).count() == 1


def test_an_auditor_cannot_decide(auditor: Client, approval: Approval) -> None:
    assert ">Approve</button>" not in page(auditor, approval)
    url = f"{LIST}{approval.pk}/decide/"
    assert auditor.post(url, {"decision": "approve"}).status_code == 403
    approval.refresh_from_db()
    assert approval.status == "pending"


def test_a_decision_needs_a_post(operator: Client, approval: Approval) -> None:
    assert operator.get(f"{LIST}{approval.pk}/decide/").status_code == 403


@pytest.mark.parametrize(("decision", "reason"), [("", ""), ("maybe", ""), ("decline", "x" * 1001)])
def test_an_invalid_form_decides_nothing(
    operator: Client, approval: Approval, decision: str, reason: str
) -> None:
    assert "Choose Approve or Decline." in decide(operator, approval, decision, reason)
    assert approval.status == "pending"


def test_an_expired_approval_is_reported(operator: Client, approval: Approval) -> None:
    Approval.objects.filter(pk=approval.pk).update(expires_at=timezone.now())
    assert "has expired" in decide(operator, approval, "approve")
    assert approval.status == "expired"


def test_the_page_of_an_execution_shows_what_it_waits_for(
    operator: Client, approval: Approval
) -> None:
    url = f"/admin/executions/execution/{approval.execution_id}/change/"
    text = operator.get(url).content.decode()
    assert "The run waits for approvals." in text
    assert f'href="{LIST}{approval.pk}/change/"' in text
    # The stream of a run that waits ends at once, and its end reloads the page.
    assert "data-events" not in text
    assert ">Cancel run</button>" in text
    decide(operator, approval, "approve")
    assert f"{LIST}{approval.pk}/change/" not in operator.get(url).content.decode()


def test_an_unknown_approval_leads_to_the_dashboard(operator: Client, unknown_id: str) -> None:
    response = operator.get(f"{LIST}{unknown_id}/change/", follow=True)
    assert "This approval does not exist." in response.content.decode()
    assert operator.post(f"{LIST}{unknown_id}/decide/").status_code == 404


def test_an_operator_requires_approval_of_a_tool(operator: Client, tenant: Tenant) -> None:
    tool = ToolFactory.create(tenant=tenant, kind="http", config=UNREACHABLE)
    url = f"/admin/tools/tool/{tool.pk}/change/"
    body = {"name": tool.name, "description": "d", "parameters": SCHEMA, "approval": "always"}
    refused = operator.post(url, {**body, "approval_timeout_seconds": "59"})
    assert "greater than or equal to 60" in refused.content.decode()
    assert operator.post(url, {**body, "approval_timeout_seconds": "90"}).status_code == 302
    tool.refresh_from_db()
    assert (tool.approval, tool.approval_timeout_seconds) == ("always", 90)
    declared = ToolFactory.create(tenant=tenant)
    text = operator.get(f"/admin/tools/tool/{declared.pk}/change/").content.decode()
    assert 'name="approval"' not in text
