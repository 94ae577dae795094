"""Tools and agents at the desk: within one tenant, as the API would write them."""

import uuid
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from agents.models import Agent, LanguageModel
from map_project.api.secrets import decrypt
from map_project.tenants.models import Tenant
from tests.factories import AgentFactory, ToolFactory
from tools.models import Tool


def change(client: Client, row: Agent | Tool, **sent: Any) -> Any:
    kind = row._meta.label_lower.replace(".", "_")
    form: dict[str, Any] = {"name": row.name, "description": row.description}
    if isinstance(row, Agent):
        form |= {
            "role": row.role,
            "max_steps": "8",
            "uses": [str(tool.pk) for tool in row.tools.all()],
        }
    return client.post(reverse(f"admin:{kind}_change", args=[row.pk]), {**form, **sent})


@pytest.fixture(params=["tool", "agent"])
def row(request: pytest.FixtureRequest, tenant: Tenant) -> Agent | Tool:
    factory: Any = ToolFactory if request.param == "tool" else AgentFactory
    made: Agent | Tool = factory.create(tenant=tenant)
    made.refresh_from_db()
    return made


def test_a_change_bumps_updated_at_and_no_change_does_not(
    operator: Client, row: Agent | Tool
) -> None:
    before = row.updated_at
    assert change(operator, row).status_code == 302
    row.refresh_from_db()
    assert row.updated_at == before
    assert change(operator, row, description="Another.").status_code == 302
    row.refresh_from_db()
    assert row.updated_at > before
    assert row.description == "Another."


def test_a_name_that_is_taken_is_told(operator: Client, row: Agent | Tool, tenant: Tenant) -> None:
    type(row).objects.create(tenant=tenant, name="taken", description="x")
    assert b"already exists" in change(operator, row, name="taken").content
    assert type(row).objects.filter(tenant=tenant, name="taken").count() == 1


def test_texts_are_kept_byte_for_byte(operator: Client, row: Agent | Tool) -> None:
    text = "  two\nlines  "
    type(row).objects.filter(pk=row.pk).update(description=text)
    change(operator, row, name="renamed", description=text.replace("\n", "\r\n"))
    row.refresh_from_db()
    assert (row.name, row.description) == ("renamed", text)
    assert change(operator, row, description=" \r\n ").status_code == 200


def test_an_agent_gets_the_tools_of_its_own_tenant_alone(
    operator: Client, tenant: Tenant, other_tenant: Tenant
) -> None:
    agent = AgentFactory.create(tenant=tenant, with_tools=1)
    own, foreign = ToolFactory.create(tenant=tenant), ToolFactory.create(tenant=other_tenant)
    before = agent.version
    answer = change(operator, agent, uses=[str(own.pk), str(foreign.pk)])
    assert b"not one of the available choices" in answer.content
    assert foreign not in agent.tools.all()
    assert change(operator, agent, uses=[str(own.pk)]).status_code == 302
    assert list(agent.tools.all()) == [own]
    agent.refresh_from_db()
    assert agent.version != before


def test_an_agent_is_made_and_then_given_tools(operator: Client, tenant: Tenant) -> None:
    name = str(uuid.uuid4())
    sent = {"tenant": str(tenant.pk), "name": name, "role": "r", "description": "d"}
    sent |= {"max_steps": "8", "_save": "1"}
    answer = operator.post(reverse("admin:agents_agent_add"), sent)
    agent = Agent.objects.get(tenant=tenant, name=name)
    assert answer["location"] == reverse("admin:agents_agent_change", args=[agent.pk])


def test_the_choices_of_a_form_are_one_tenants(
    operator: Client, tenant: Tenant, other_tenant: Tenant
) -> None:
    own = ToolFactory.create(tenant=tenant)
    ToolFactory.create(tenant=other_tenant)
    asked = {
        "app_label": "agents",
        "model_name": "agent",
        "field_name": "tools",
        "tenant": str(tenant.pk),
    }
    found = operator.get("/admin/autocomplete/", asked).json()["results"]
    assert [choice["id"] for choice in found] == [str(own.pk)]


def test_a_tool_in_use_is_not_deleted(operator: Client, tenant: Tenant) -> None:
    tool = AgentFactory.create(tenant=tenant, with_tools=1).tools.get()
    path = reverse("admin:tools_tool_delete", args=[tool.pk])
    assert operator.post(path, {"post": "yes"}).status_code == 200
    assert Tool.objects.filter(pk=tool.pk).exists()


def test_a_quota_out_of_range_is_told(operator: Client, tenant: Tenant) -> None:
    path = reverse("admin:tenants_tenant_change", args=[tenant.pk])
    sent = {"name": tenant.name, "is_active": "on", "rate_limit_requests": "0"}
    assert operator.post(path, sent).status_code == 200
    assert operator.post(path, {**sent, "rate_limit_requests": "7"}).status_code == 302
    tenant.refresh_from_db()
    assert tenant.rate_limit_requests == 7


def test_a_models_credential_is_written_and_never_read(operator: Client, auditor: Client) -> None:
    name, credential = str(uuid.uuid4()), "sk-the-credential-of-a-model"
    sent = {"name": name, "provider": "mock", "timeout_seconds": "60", "max_retries": "2"}
    operator.post(reverse("admin:agents_languagemodel_add"), {**sent, "credential": credential})
    model = LanguageModel.objects.get(name=name)
    assert decrypt(model.credential_token) == credential
    path = reverse("admin:agents_languagemodel_change", args=[model.pk])
    for client in (operator, auditor):
        content = client.get(path).content.decode()
        assert credential not in content
        assert model.credential_token not in content
    token = model.credential_token
    operator.post(path, {**sent, "max_retries": "1"})
    model.refresh_from_db()
    assert (model.credential_token, model.max_retries) == (token, 1)
    operator.post(path, {**sent, "forget_credential": "on"})
    model.refresh_from_db()
    assert model.credential_token == ""
    model.delete()
