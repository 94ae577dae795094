"""The list of conversations, and the page of one."""

import re
import uuid
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from agents.models import Agent
from executions.models import Conversation, Step
from map_project.tenants.models import Tenant
from tests.factories import AgentFactory, ExecutionFactory

LIST = "/admin/executions/conversation/"


@pytest.fixture
def agent(tenant: Tenant) -> Agent:
    return AgentFactory.create(tenant=tenant)


@pytest.fixture
def conversation(tenant: Tenant) -> Conversation:
    return Conversation.objects.create(tenant=tenant, metadata={"ticket": "<4711>"})


def page(client: Client, conversation: Conversation, query: str = "") -> str:
    response = client.get(f"{LIST}{conversation.pk}/change/{query}")
    assert response.status_code == 200
    return response.content.decode()


def listed(client: Client, tenant: Tenant, **more: Any) -> Any:
    response = client.get(LIST, {"tenant__id__exact": str(tenant.pk), **more})
    assert response.status_code == 200
    return response


def test_the_list_has_the_tenant_the_metadata_and_the_number_of_runs(
    auditor: Client, tenant: Tenant, agent: Agent, conversation: Conversation
) -> None:
    ExecutionFactory.create_batch(3, agent=agent, conversation_id=conversation.pk)
    text = listed(auditor, tenant).content.decode()
    assert "ticket: &lt;4711&gt;" in text
    (runs,) = re.findall(r'<td[^>]*class="field-runs[^>]*>\s*(\d+)\s*</td>', text)
    assert runs == "3"
    assert str(conversation.pk) in text
    assert tenant.name in text


def test_the_list_is_paginated_newest_first(auditor: Client, tenant: Tenant) -> None:
    rows = [Conversation.objects.create(tenant=tenant) for _ in range(51)]
    first = listed(auditor, tenant)
    found = first.context["cl"].result_list
    assert [row.pk for row in found] == [row.pk for row in reversed(rows[1:])]
    older = auditor.get(LIST + first.context["cl"].older_url)
    assert [row.pk for row in older.context["cl"].result_list] == [rows[0].pk]


@pytest.mark.parametrize("count", [1, 10])
def test_the_page_shows_the_exchanges(
    auditor: Client, agent: Agent, conversation: Conversation, count: int
) -> None:
    for number in range(count):
        execution = ExecutionFactory.create(
            agent=agent, prompt=f"<prompt {number}>", conversation_id=conversation.pk
        )
        Step.objects.bulk_create(
            [
                Step(execution=execution, position=0, latency_ms=1, kind="tool", name="look",
                     input='{"a": 1}', output=f"result {number}"),
                Step(execution=execution, position=1, latency_ms=1, kind="model",
                     output=f"answer {number}"),
            ]
        )  # fmt: skip
    with CaptureQueriesContext(connection) as queries:
        text = page(auditor, conversation)
    for number in range(count):
        for shown in (f"&lt;prompt {number}&gt;", f"result {number}", f"answer {number}"):
            assert text.count(shown) == 1
    assert text.index("prompt 0") < text.index("result 0") < text.index("answer 0")
    assert f"/admin/executions/execution/{execution.pk}/change/" in text
    assert "&lt;4711&gt;" in text
    # Of these, 4 are for the user and the conversation.
    assert len(queries) < 13


def test_many_runs_have_pages(auditor: Client, agent: Agent, conversation: Conversation) -> None:
    for number in range(21):
        ExecutionFactory.create(
            agent=agent, prompt=f"prompt-{number}-", conversation_id=conversation.pk
        )
    first, second = page(auditor, conversation), page(auditor, conversation, "?page=2")
    assert "prompt-19-" in first
    assert "prompt-20-" not in first
    assert "prompt-20-" in second
    assert "prompt-0-" not in second


def test_a_conversation_without_runs(auditor: Client, conversation: Conversation) -> None:
    assert "This conversation has no runs." in page(auditor, conversation)


def test_a_missing_one_leads_to_the_dashboard(auditor: Client) -> None:
    for pk in (uuid.uuid4(), "x"):
        assert auditor.get(f"{LIST}{pk}/change/").status_code == 302


def test_an_execution_has_a_link_to_its_conversation(
    auditor: Client, agent: Agent, conversation: Conversation
) -> None:
    execution = ExecutionFactory.create(
        agent=agent, conversation_id=conversation.pk, previous_execution_id=uuid.uuid4()
    )
    url, link = f"/admin/executions/execution/{execution.pk}/change/", f"{LIST}{conversation.pk}/"
    text = auditor.get(url).content.decode()
    assert link in text
    assert str(execution.previous_execution_id) in text
    conversation.delete()
    assert link not in auditor.get(url).content.decode()


def test_it_is_found_by_its_id(auditor: Client, conversation: Conversation) -> None:
    found = auditor.get("/admin/search/", {"s": str(conversation.pk)})
    assert f"{LIST}{conversation.pk}/change/" in found.content.decode()
