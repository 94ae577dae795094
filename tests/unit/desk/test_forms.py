"""Forms of the admin: tools and agents within one tenant, tenants, language models."""

import json
import re
import uuid
from html import unescape
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from agents.models import Agent, LanguageModel
from map_project.api.secrets import decrypt
from map_project.tenants.models import Tenant
from tests.factories import AgentFactory, TenantFactory, ToolFactory, saved_tool
from tools.models import Tool

LIMITS = {"max_steps": "8", "max_tool_calls": "100", "max_context_characters": "200000"}


def change(client: Client, row: Agent | Tool, **sent: Any) -> Any:
    kind = row._meta.label_lower.replace(".", "_")
    form: dict[str, Any] = {"name": row.name, "description": row.description}
    if isinstance(row, Tool):
        form |= {
            "parameters": json.dumps(row.parameters),
            "approval": row.approval,
            "approval_timeout_seconds": row.approval_timeout_seconds,
        }
    else:
        form |= {
            "role": row.role,
            **LIMITS,
            "selected_tools": [str(tool.pk) for tool in row.tools.all()],
        }
    return client.post(reverse(f"admin:{kind}_change", args=[row.pk]), {**form, **sent})


@pytest.fixture(params=["tool", "agent"])
def row(request: pytest.FixtureRequest, tenant: Tenant) -> Agent | Tool:
    factory: Any = ToolFactory if request.param == "tool" else AgentFactory
    created: Agent | Tool = factory.create(tenant=tenant)
    created.refresh_from_db()
    return created


def test_only_a_change_sets_updated_at(operator: Client, row: Agent | Tool) -> None:
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


def test_an_agent_can_only_have_tools_of_its_tenant(
    operator: Client, tenant: Tenant, other_tenant: Tenant
) -> None:
    agent = AgentFactory.create(tenant=tenant, with_tools=1)
    own, foreign = ToolFactory.create(tenant=tenant), ToolFactory.create(tenant=other_tenant)
    before = agent.version
    response = change(operator, agent, selected_tools=[str(own.pk), str(foreign.pk)])
    assert b"not one of the available choices" in response.content
    assert foreign not in agent.tools.all()
    assert change(operator, agent, selected_tools=[str(own.pk)]).status_code == 302
    assert list(agent.tools.all()) == [own]
    agent.refresh_from_db()
    assert agent.version != before


def test_creating_an_agent_redirects_to_its_page(operator: Client, tenant: Tenant) -> None:
    name = str(uuid.uuid4())
    sent = {"tenant": str(tenant.pk), "name": name, "role": "r", "description": "d"}
    sent |= LIMITS | {"_save": "1"}
    response = operator.post(reverse("admin:agents_agent_add"), sent)
    agent = Agent.objects.get(tenant=tenant, name=name)
    assert response["location"] == reverse("admin:agents_agent_change", args=[agent.pk])


def test_the_tool_choices_are_those_of_the_tenant(
    operator: Client, tenant: Tenant, other_tenant: Tenant
) -> None:
    own = ToolFactory.create(tenant=tenant)
    ToolFactory.create(tenant=other_tenant)
    parameters = {
        "app_label": "agents",
        "model_name": "agent",
        "field_name": "tools",
        "tenant": str(tenant.pk),
    }
    choices = operator.get("/admin/autocomplete/", parameters).json()["results"]
    assert [choice["id"] for choice in choices] == [str(own.pk)]


def test_an_agent_has_at_most_128_tools(operator: Client, tenant: Tenant) -> None:
    agent = AgentFactory.create(tenant=tenant)
    tools = [str(tool.pk) for tool in ToolFactory.create_batch(129, tenant=tenant)]
    page = change(operator, agent, selected_tools=tools)
    assert (page.status_code, agent.tools.count()) == (200, 0)
    assert "Select at most 128 tools." in page.content.decode()
    assert change(operator, agent, selected_tools=tools[:128]).status_code == 302
    assert agent.tools.count() == 128


def test_a_tool_in_use_cannot_be_deleted(operator: Client, tenant: Tenant) -> None:
    tool = AgentFactory.create(tenant=tenant, with_tools=1).tools.get()
    path = reverse("admin:tools_tool_delete", args=[tool.pk])
    assert operator.post(path, {"post": "yes"}).status_code == 200
    assert Tool.objects.filter(pk=tool.pk).exists()


def test_the_run_settings_of_an_agent_are_shown_and_changed(
    operator: Client, auditor: Client, tenant: Tenant
) -> None:
    agent = AgentFactory.create(tenant=tenant, settings={"temperature": 0.5}, with_tools=1)
    sent = {"model": "gpt-4", "max_steps": "3", "temperature": "0.5", "max_output_tokens": "400"}
    assert change(operator, agent, **sent).status_code == 302
    agent.refresh_from_db()
    assert (agent.model, agent.max_steps) == ("gpt-4", 3)
    assert agent.settings == {"temperature": 0.5, "max_output_tokens": 400}
    assert agent.tools.count() == 1
    path = reverse("admin:agents_agent_change", args=[agent.pk])
    for client in (operator, auditor):
        content = unescape(client.get(path).content.decode())
        assert all(re.search(rf"\b{value}\b", content) for value in ("gpt-4", "0.5", "400"))
    # An empty field removes the setting.
    assert change(operator, agent, max_steps="3", max_output_tokens="0400").status_code == 302
    agent.refresh_from_db()
    assert (agent.model, agent.settings) == (None, {"max_output_tokens": 400})


def test_a_new_agent_may_have_settings(operator: Client, tenant: Tenant) -> None:
    name = str(uuid.uuid4())
    sent = {"tenant": str(tenant.pk), "name": name, "role": "r", "description": "d"}
    sent |= LIMITS | {"model": "gpt-4o", "temperature": "0"}
    assert operator.post(reverse("admin:agents_agent_add"), sent).status_code == 302
    agent = Agent.objects.get(tenant=tenant, name=name)
    assert (agent.model, agent.settings) == ("gpt-4o", {"temperature": 0})


@pytest.mark.parametrize(
    ("field", "invalid"),
    [
        ("temperature", "2.1"),
        ("temperature", "-1"),
        ("temperature", "nan"),
        ("temperature", "warm"),
        ("max_output_tokens", "0"),
        ("max_output_tokens", "1000001"),
        ("max_output_tokens", "1.5"),
        ("max_steps", "0"),
        ("max_steps", "51"),
        ("model", "gpt-9"),
        ("model", "gpt-4o"),
    ],
)
def test_an_agent_that_the_api_rejects_is_rejected(
    operator: Client, field: str, invalid: str
) -> None:
    tenant = TenantFactory.create(allowed_models=["gpt-4"])
    agent = AgentFactory.create(tenant=tenant, model="gpt-4", settings={"temperature": 1})
    before = Agent.objects.filter(pk=agent.pk).values().get()
    response = change(operator, agent, **{"model": "gpt-4", "temperature": "1", field: invalid})
    assert response.status_code == 200
    assert [*response.context["adminform"].form.errors] == [field]
    assert Agent.objects.filter(pk=agent.pk).values().get() == before


def test_an_agent_whose_model_is_removed_can_be_changed(operator: Client, tenant: Tenant) -> None:
    agent = AgentFactory.create(tenant=tenant, model="no longer there")
    sent = {"model": agent.model, "description": "Another."}
    assert change(operator, agent, **sent).status_code == 302
    agent.refresh_from_db()
    assert (agent.model, agent.description) == ("no longer there", "Another.")


SCHEMA = {
    "type": "object",
    "properties": {"zulu": {"type": "string"}, "alpha": {"type": "integer"}},
    "required": ["zulu"],
}


@pytest.fixture
def http_tool(tenant: Tenant) -> Tool:
    """An HTTP tool with a secret."""
    return saved_tool(
        tenant_id=tenant.pk,
        name=str(uuid.uuid4()),
        description="d",
        kind="http",
        parameters=SCHEMA,
        http={
            "method": "GET",
            "url": "https://api.example.com/{zulu}",
            "headers": {"Authorization": "Bearer {{secret.token}}"},
        },
        secrets={"token": "the-value-of-a-secret"},
    )


def test_the_configuration_of_a_tool_is_shown_without_secrets(
    operator: Client, auditor: Client, http_tool: Tool
) -> None:
    path = reverse("admin:tools_tool_change", args=[http_tool.pk])
    for client in (operator, auditor):
        content = unescape(client.get(path).content.decode())
        assert '"zulu": {\n      "type": "string"' in content
        assert '"url": "https://api.example.com/{zulu}"' in content
        assert "Bearer {{secret.token}}" in content
        assert "the-value-of-a-secret" not in content
        assert http_tool.secrets_token not in content


def test_the_server_and_the_state_of_an_mcp_tool_are_shown(
    operator: Client, auditor: Client, tenant: Tenant
) -> None:
    tool = saved_tool(
        tenant_id=tenant.pk,
        name="search",
        description="d",
        kind="mcp",
        mcp={"url": "https://mcp.example.com/mcp", "tool": "find"},
        state="changed",
    )
    for client in (operator, auditor):
        content = unescape(
            client.get(reverse("admin:tools_tool_change", args=[tool.pk])).content.decode()
        )
        assert '"url": "https://mcp.example.com/mcp"' in content
        assert '"tool": "find"' in content
        assert "Changed" in content
        page = client.get(reverse("admin:tools_tool_changelist"), {"state__exact": "changed"})
        assert "search" in page.content.decode()


def test_the_order_of_a_tools_parameters_is_kept(operator: Client, http_tool: Tool) -> None:
    reordered = {**SCHEMA, "properties": dict(reversed(SCHEMA["properties"].items()))}  # type: ignore[attr-defined]
    assert change(operator, http_tool, parameters=json.dumps(reordered)).status_code == 302
    before, token = http_tool.updated_at, http_tool.secrets_token
    http_tool.refresh_from_db()
    assert json.dumps(http_tool.parameters) == json.dumps(reordered)
    assert http_tool.updated_at > before
    assert (http_tool.secrets_token, http_tool.http["timeout_seconds"]) == (token, 10)  # type: ignore[index]


@pytest.mark.parametrize(
    ("invalid", "word"),
    [
        ("", "JSON"),
        ("{", "JSON"),
        ('{"type": "object", "maximum": NaN}', "JSON"),
        ("[]", "object"),
        ("{}", "object"),
        ('{"type": "object", "properties": {"zulu": {"type": "word"}}}', "word"),
        ('{"type": "object", "properties": {"zulu": {"$ref": "http://a.test/"}}}', "$ref"),
        ('{"type": "object", "properties": {}}', "zulu"),
    ],
)
def test_a_tool_that_the_api_rejects_is_rejected(
    operator: Client, http_tool: Tool, invalid: str, word: str
) -> None:
    before = Tool.objects.filter(pk=http_tool.pk).values().get()
    response = change(operator, http_tool, parameters=invalid)
    assert response.status_code == 200
    assert word in str(response.context["adminform"].form.errors)
    assert Tool.objects.filter(pk=http_tool.pk).values().get() == before


def test_the_configuration_of_a_tool_cannot_be_changed(operator: Client, http_tool: Tool) -> None:
    before = Tool.objects.filter(pk=http_tool.pk).values().get()
    other = {"method": "GET", "url": "https://elsewhere.example/"}
    sent = {"config": json.dumps(other), "http": json.dumps(other), "kind": "declared"}
    assert change(operator, http_tool, **sent).status_code == 302
    assert Tool.objects.filter(pk=http_tool.pk).values().get() == before


def test_a_quota_out_of_range_is_rejected(operator: Client, tenant: Tenant) -> None:
    path = reverse("admin:tenants_tenant_change", args=[tenant.pk])
    sent = {"name": tenant.name, "is_active": "on", "rate_limit_requests": "0"}
    assert operator.post(path, sent).status_code == 200
    assert operator.post(path, {**sent, "rate_limit_requests": "7"}).status_code == 302
    tenant.refresh_from_db()
    assert tenant.rate_limit_requests == 7


@pytest.mark.parametrize(
    ("invalid", "word"),
    [
        (["gpt-4", "gpt-9"], "gpt-9"),
        (["\0"], "not one of the available choices"),
        ('["gpt-4"]', "not one of the available choices"),
        (["", "gpt-4"], "not both"),
    ],
)
def test_invalid_allowed_models_are_rejected(
    operator: Client, tenant: Tenant, invalid: Any, word: str
) -> None:
    path = reverse("admin:tenants_tenant_change", args=[tenant.pk])
    sent = {"name": tenant.name, "is_active": "on"}
    response = operator.post(path, {**sent, "allowed_models": invalid})
    assert response.status_code == 200
    assert word in str(response.context["adminform"].form.errors["allowed_models"])


@pytest.mark.parametrize(
    ("kept", "selected", "allowed"),
    [
        (None, ["gpt-4", "gpt-4o"], ["gpt-4", "gpt-4o"]),
        (["gpt-4"], [], None),
        (["gone"], ["gone", "gpt-4"], ["gone", "gpt-4"]),
        (["gone"], ["gpt-4"], ["gpt-4"]),
        ([], [""], []),
        (None, [""], []),
        ([], ["gpt-4"], ["gpt-4"]),
    ],
)
def test_allowed_models_are_a_selection(
    operator: Client, tenant: Tenant, kept: Any, selected: list[str], allowed: Any
) -> None:
    Tenant.objects.filter(pk=tenant.pk).update(allowed_models=kept)
    path = reverse("admin:tenants_tenant_change", args=[tenant.pk])
    form = operator.get(path).context["adminform"].form
    shown = form["allowed_models"].value()
    assert sorted(shown) == sorted([""] if kept == [] else kept or [])
    assert {"gpt-4", "claude-3-opus", *shown} <= {
        value for value, _ in form.fields["allowed_models"].choices
    }
    assert "<textarea" not in str(form["allowed_models"])
    sent = {"name": tenant.name, "is_active": "on", "allowed_models": selected}
    assert operator.post(path, sent).status_code == 302
    tenant.refresh_from_db()
    assert tenant.allowed_models == allowed


def test_the_deletion_of_a_model_names_its_agents(operator: Client, tenant: Tenant) -> None:
    name = f"m{uuid.uuid4().hex}"
    model = LanguageModel.objects.create(name=name, provider="mock")
    AgentFactory.create(tenant=tenant, model="gpt-4")
    path = reverse("admin:agents_languagemodel_delete", args=[model.pk])
    assert "default model of" not in operator.get(path).content.decode()
    for number in range(22):
        AgentFactory.create(tenant=tenant, name=f"Agent {number:02}", model=name)
    listing = reverse("admin:agents_languagemodel_changelist")
    action = {"action": "delete_selected", "_selected_action": [str(model.pk)]}
    for page in (operator.get(path), operator.post(listing, action)):
        text = page.content.decode()
        assert f"{name} is the default model of 22 agents: Agent 00 ({tenant})" in text
        assert "Agent 19" in text
        assert "Agent 20" not in text
        assert "and 2 more" in text
    assert operator.post(path, {"post": "yes"}).status_code == 302
    assert not LanguageModel.objects.filter(pk=model.pk).exists()


@pytest.mark.parametrize(
    ("provider", "token", "shown"),
    [("mock", "", "not needed"), ("openai", "", "no"), ("openai", "x", "yes")],
)
def test_whether_a_credential_is_set(
    operator: Client, provider: str, token: str, shown: str
) -> None:
    name = f"m{uuid.uuid4().hex}"
    model = LanguageModel.objects.create(
        name=name, provider=provider, credential_token=token, base_url="http://a"
    )
    page = operator.get(reverse("admin:agents_languagemodel_changelist"), {"q": name})
    cell = re.search(r"field-has_credential.*?</td>", page.content.decode(), re.DOTALL)
    assert cell
    assert re.search(rf">\s*{shown}\s*<", cell[0])
    model.delete()


@pytest.mark.parametrize("invalid", ["ключ", "a\nb", "a\x7fb", "x" * 4_097])
def test_a_credential_that_is_invalid_in_a_header_is_rejected(
    operator: Client, invalid: str
) -> None:
    sent = {"name": str(uuid.uuid4()), "provider": "mock", "timeout_seconds": "60"}
    sent |= {"max_retries": "2", "credential": invalid}
    response = operator.post(reverse("admin:agents_languagemodel_add"), sent)
    assert [*response.context["adminform"].form.errors] == ["credential"]
    assert invalid not in response.content.decode()


@pytest.mark.parametrize(
    ("url", "valid"),
    [
        ("http://ollama:11434/v1", True),
        ("http://my_vllm/v1", True),
        ("https://api.example.com/v1", True),
        ("http://[::1]:8080/v1", True),
        ("http://127.0.0.1:99999/v1", False),
        ("http://127.0.0.1:0/v1", False),
        ("http://127.0.0.1:x/v1", False),
        ("http://[::1/v1", False),
        ("http:///v1", False),
        ("http://a b/v1", False),
        ("http://a\tb/v1", False),
        ("ftp://a.test/v1", False),
        ("ollama:11434", False),
    ],
)
def test_the_base_url_of_a_model(operator: Client, url: str, valid: bool) -> None:
    sent = {"name": str(uuid.uuid4()), "provider": "mock", "timeout_seconds": "60"}
    sent |= {"max_retries": "2", "base_url": url}
    response = operator.post(reverse("admin:agents_languagemodel_add"), sent)
    assert (response.status_code == 302) is valid
    if not valid:
        assert [*response.context["adminform"].form.errors] == ["base_url"]
    LanguageModel.objects.filter(name=sent["name"]).delete()


def test_the_credential_of_a_model_is_never_shown(operator: Client, auditor: Client) -> None:
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
    operator.post(path, {**sent, "remove_credential": "on"})
    model.refresh_from_db()
    assert model.credential_token == ""
    model.delete()


OUTPUT = {"type": "object", "properties": {"zulu": {}, "alpha": {"type": "string"}}}


def test_the_output_schema_of_an_agent(operator: Client, auditor: Client, tenant: Tenant) -> None:
    agent = AgentFactory.create(tenant=tenant)
    path = reverse("admin:agents_agent_change", args=[agent.pk])
    assert change(operator, agent, output_schema=json.dumps(OUTPUT)).status_code == 302
    agent.refresh_from_db()
    assert json.dumps(agent.output_schema) == json.dumps(OUTPUT)
    changed_at = agent.updated_at
    shown = operator.get(path).context["adminform"].form["output_schema"].value()
    for client in (operator, auditor):
        assert "alpha" in client.get(path).content.decode()
    # Nothing has changed.
    assert change(operator, agent, output_schema=shown).status_code == 302
    agent.refresh_from_db()
    assert agent.updated_at == changed_at
    assert change(operator, agent, output_schema=" ").status_code == 302
    agent.refresh_from_db()
    assert agent.output_schema is None
    assert agent.updated_at > changed_at


def test_an_agent_is_created_with_an_output_schema(operator: Client, tenant: Tenant) -> None:
    path = reverse("admin:agents_agent_add")
    form = {"tenant": tenant.pk, "name": "a", "role": "r", "description": "d", **LIMITS}
    assert operator.post(path, {**form, "output_schema": json.dumps(OUTPUT)}).status_code == 302
    assert Agent.objects.get(tenant=tenant).output_schema == OUTPUT


@pytest.mark.parametrize(
    ("invalid", "word"), [("{", "JSON"), ("[]", "object"), ("{}", "object"), ("null", "null")]
)
def test_an_invalid_output_schema_is_rejected(
    operator: Client, tenant: Tenant, invalid: str, word: str
) -> None:
    agent = AgentFactory.create(tenant=tenant, output_schema=OUTPUT)
    response = change(operator, agent, output_schema=invalid)
    assert response.status_code == 200
    assert word in str(response.context["adminform"].form.errors["output_schema"])
    agent.refresh_from_db()
    assert agent.output_schema == OUTPUT
