"""Runs on scripted responses in the dialects of model servers."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.urls import reverse
from django.utils.html import escape

from agents.models import LanguageModel
from executions.models import Execution
from map_project.api import secrets
from map_project.tenants.models import Tenant
from tests.api import Api
from tests.factories import AgentFactory, ToolFactory
from tests.providers.dialects import DIALECTS, ROUND_TRIPS, Dialect, refused, reply
from tests.stub_model import StubModel, StubResponse, completion
from tests.tool_server import tool_server
from tests.unit.desk.conftest import signed_in


@pytest.fixture
def stub(model_server: StubModel) -> StubModel:
    return model_server.says(reply())


@pytest.fixture
def model(stub: StubModel) -> Iterator[LanguageModel]:
    row = LanguageModel.objects.create(
        name="dialect", provider="openai", base_url=stub.url, max_retries=0
    )
    yield row
    row.delete()


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
def test_a_response_ends_a_run(
    api: Api, tenant: Tenant, stub: StubModel, model: LanguageModel, dialect: Dialect
) -> None:
    stub.says(dialect.response)
    agent = AgentFactory.create(tenant=tenant, with_tools=1)
    answer = api.run(agent.pk, model=model.name)
    execution = Execution.objects.get(tenant=tenant)
    assert (execution.status, execution.stop_reason) == (dialect.status, dialect.stop_reason)
    stored = api.get(f"history/{execution.pk}").content.decode()
    assert "words of the provider" not in stored + answer.content.decode()
    if dialect.status == "failed":
        assert (answer.status, answer.error_code) == (502, "MODEL_ERROR")
        assert answer.details["execution_id"] == str(execution.pk)
        assert (answer.details["reason"], answer.details["status"]) == (
            dialect.reason,
            dialect.http_status,
        )
        (step,) = json.loads(stored)["steps"]
        assert step["error"] == dialect.reason
        found = json.loads(stored)
        assert found["error_reason"] == dialect.reason
        assert found["provider_error"]["status"] == dialect.http_status
        assert step["output"] in {"", "Half"}
    else:
        assert (answer.status, answer.json["response"]) == (200, dialect.text)
        assert dialect.warning in answer.json.get("warning", "")


def test_the_text_before_a_failure_is_stored(
    api: Api, tenant: Tenant, stub: StubModel, model: LanguageModel
) -> None:
    stub.says(reply("Half", "error"))
    api.run(AgentFactory.create(tenant=tenant).pk, model=model.name)
    assert Execution.objects.get(tenant=tenant).steps.get().output == "Half"


def test_identifiers_of_the_provider_are_reported(
    api: Api, tenant: Tenant, stub: StubModel, model: LanguageModel
) -> None:
    stub.says(
        refused(400, code="invalid_function_parameters", type="x y", param="tools[0].function")
    )
    details = api.run(AgentFactory.create(tenant=tenant).pk, model=model.name).details
    assert details["provider_code"] == "invalid_function_parameters"
    assert details["provider_param"] == "tools[0].function"
    assert "provider_type" not in details
    found = api.get(f"history/{details['execution_id']}").json
    assert (found["error_reason"], found["provider_error"]) == (
        "bad_request",
        {"status": 400, "code": details["provider_code"], "param": details["provider_param"]},
    )


@pytest.mark.parametrize(
    "error",
    [
        {"param": "tools[1].function.parameters", "message": "Invalid schema."},
        {"param": "tools.1.function", "message": "Invalid schema."},
        {"message": "Invalid schema for function 'beta_search': bad type."},
    ],
)
def test_a_refused_tool_is_named(
    api: Api, tenant: Tenant, stub: StubModel, model: LanguageModel, error: dict[str, str]
) -> None:
    agent = AgentFactory.create(tenant=tenant)
    with tool_server() as port:
        http = {"method": "GET", "url": f"http://127.0.0.1:{port}/", "arguments_in": "query"}
        for name in ("alpha", "beta_search", "beta"):
            config = {**http, "headers": {}, "timeout_seconds": 5}
            agent.tools.add(
                ToolFactory.create(tenant=tenant, name=name, kind="http", config=config)
            )

        def refuse(body: dict[str, Any]) -> Any:
            names = [tool["function"]["name"] for tool in body["tools"]]
            sent = {
                name: value.replace("1", str(names.index("beta_search")))
                for name, value in error.items()
            }
            return StubResponse(400, {"error": sent})

        stub.says(refuse)
        details = api.run(agent.pk, model=model.name).details
    assert details["provider_tool"] == "beta_search"
    found = api.get(f"history/{details['execution_id']}").json
    assert found["provider_error"]["tool"] == "beta_search"


CREDENTIAL = "credential/of=the+model"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"error": {"message": f"Wrong key {CREDENTIAL}."}}, "Wrong key [secret]."),
        ({"error": {"message": "Wrong key: sk-abcd****wxyz."}}, "Wrong key: [secret]"),
        ({"error": {"message": "Wrong: Bearer abc.def"}}, "Wrong: Bearer [secret]"),
        ({"error": {"message": "Wrong: bearer abc"}}, "Wrong: bearer [secret]"),
        ({"error": {"message": "Wrong: eyJhbGci.eyJzdWIi.c2ln"}}, "Wrong: [secret]"),
        ({"error": {"message": "Wrong: ghp_0123456789abcdef"}}, "Wrong: [secret]"),
        ({"error": {"message": "Wrong: AKIAIOSFODNN7EXAMPLE"}}, "Wrong: [secret]"),
        ({"error": {"message": "Wrong: my_sk-0123456789"}}, "Wrong: my_[secret]"),
        ({"message": "No such model.", "code": 404}, "No such model."),
        ({"detail": "Not Found"}, "Not Found"),
        ({"error": "model not loaded"}, "model not loaded"),
        (b'[{"error": {"message": "Bad schema."}}]', "Bad schema."),
        (b"<html>Bad Gateway</html>", "<html>Bad Gateway</html>"),
        ({"error": {"message": "x" * 5_000}}, "x" * 1_000),
        ({"error": {"message": "NUL \0."}}, "NUL \ufffd."),
        (b"", ""),
    ],
)
def test_operators_see_the_message_of_the_provider(
    *,
    tenant: Tenant,
    api: Api,
    stub: StubModel,
    model: LanguageModel,
    body: Any,
    message: str,
) -> None:
    model.credential_token = secrets.encrypt(CREDENTIAL)
    model.save()
    stub.says(StubResponse(401, body))
    answer = api.run(AgentFactory.create(tenant=tenant).pk, model=model.name)
    execution = Execution.objects.get(tenant=tenant)
    assert execution.provider_message == message
    page = signed_in("operator").get(
        reverse("admin:executions_execution_change", args=[execution.pk])
    )
    assert escape(message) in page.content.decode()
    assert "auth" in page.content.decode()
    for seen in (answer.content, api.get(f"history/{execution.pk}").content):
        assert not message or message.encode() not in seen


def test_an_unreachable_server_has_a_reason(api: Api, tenant: Tenant, model: LanguageModel) -> None:
    model.base_url = "http://127.0.0.1:1/v1"
    model.save()
    details = api.run(AgentFactory.create(tenant=tenant).pk, model=model.name).details
    assert (details["reason"], details["status"]) == ("unreachable", None)
    execution = Execution.objects.get(tenant=tenant)
    assert (execution.error_reason, execution.provider_error) == ("unreachable", {"status": None})


def test_the_calls_of_a_response_are_on_its_step(
    api: Api, tenant: Tenant, stub: StubModel, model: LanguageModel
) -> None:
    calls = [("weather", '{"city": "Oslo"}'), ("none", "{broken"), ("weather", "")]
    stub.says(completion("", calls=calls), reply())
    agent = AgentFactory.create(tenant=tenant)
    agent.tools.add(ToolFactory.create(tenant=tenant, name="weather"))
    run = api.run(agent.pk, model=model.name).json
    first, *_, last = api.get(f"history/{run['execution_id']}").json["steps"]
    found = [(call["name"], call["arguments"]) for call in first["tool_calls"]]
    assert (found, last["tool_calls"]) == (calls, [])
    sent = stub.requests[1].body["messages"][2]["tool_calls"]
    assert [call["id"] for call in first["tool_calls"]] == [call["id"] for call in sent]


def test_a_failed_call_of_groq_is_tried_again(
    api: Api, tenant: Tenant, stub: StubModel, model: LanguageModel
) -> None:
    model.max_retries = 1
    model.save()
    stub.says(refused(400, code="tool_use_failed"), reply())
    assert api.run(AgentFactory.create(tenant=tenant).pk, model=model.name).status == 200


@pytest.mark.parametrize("name", ROUND_TRIPS)
def test_a_servers_own_fields_are_sent_back(
    api: Api, tenant: Tenant, stub: StubModel, model: LanguageModel, name: str
) -> None:
    response, message_fields, call_fields = ROUND_TRIPS[name]
    stub.says(response, reply())
    agent = AgentFactory.create(tenant=tenant)
    agent.tools.add(ToolFactory.create(tenant=tenant, name="weather"))
    assert api.run(agent.pk, model=model.name).json["response"] == "42"
    _, _, assistant, result = stub.requests[1].body["messages"]
    (call,) = assistant["tool_calls"]
    assert {key: assistant[key] for key in message_fields} == message_fields
    known = {
        "id": call["id"],
        "type": "function",
        "function": {"name": "weather", "arguments": "{}"},
    }
    assert call == known | call_fields
    assert (result["role"], result["tool_call_id"], result["name"]) == (
        "tool",
        call["id"],
        "weather",
    )
    stored = api.get("history").content
    assert b"thought_signature" not in stored
    assert b"hmm" not in stored


def test_schemas_are_completed_for_strict_servers(
    api: Api, tenant: Tenant, stub: StubModel, model: LanguageModel
) -> None:
    with tool_server() as port:
        http = {"method": "POST", "url": f"http://127.0.0.1:{port}/echo"}
        tool = ToolFactory.create(
            tenant=tenant,
            kind="http",
            config={**http, "arguments_in": "body", "headers": {}, "timeout_seconds": 5},
            parameters={
                "$schema": "http://json-schema.org/draft-07/schema#",
                "type": "object",
                "properties": {
                    "list": {"type": "array"},
                    "object": {"type": ["object", "null"]},
                    "data": {"default": {"type": "array"}, "enum": [{"type": "object"}]},
                    "type": {"type": "string"},
                },
                "anyOf": [{"properties": {"list": {"items": {"type": "object"}}}}],
            },
        )
        agent = AgentFactory.create(tenant=tenant)
        agent.tools.add(tool)
        api.run(agent.pk, model=model.name)
    assert stub.requests[0].body["tools"][0]["function"]["parameters"] == {
        "type": "object",
        "properties": {
            "list": {"type": "array", "items": {}},
            "object": {"type": ["object", "null"], "properties": {}},
            "data": {"default": {"type": "array"}, "enum": [{"type": "object"}]},
            "type": {"type": "string"},
        },
        "anyOf": [{"properties": {"list": {"items": {"type": "object", "properties": {}}}}}],
    }


def test_the_name_of_the_token_limit_is_learned(
    api: Api, tenant: Tenant, stub: StubModel, model: LanguageModel
) -> None:
    def strict(body: dict[str, Any]) -> Any:
        if "max_tokens" not in body:
            return reply()
        return refused(400, code="unsupported_parameter", param="max_tokens")

    stub.says(strict)
    agent = AgentFactory.create(tenant=tenant, settings={"max_output_tokens": 7})
    for _ in range(2):
        assert api.run(agent.pk, model=model.name).status == 200
    names = [
        [name for name in request.body if name.startswith("max_")] for request in stub.requests
    ]
    assert names == [["max_tokens"], ["max_completion_tokens"], ["max_completion_tokens"]]


def test_a_response_that_cannot_be_read_is_requested_again(
    api: Api, tenant: Tenant, stub: StubModel, model: LanguageModel
) -> None:
    model.max_retries = 1
    model.save()
    stub.says({"error": {"code": 503, "message": "x"}}, reply())
    assert api.run(AgentFactory.create(tenant=tenant).pk, model=model.name).status == 200
    assert len(stub.requests) == 2


def test_a_credential_in_an_identifier_is_not_shown(
    api: Api, tenant: Tenant, stub: StubModel, model: LanguageModel
) -> None:
    credential = "zz-simple.Credential_42"
    model.credential_token = secrets.encrypt(credential)
    model.save()
    stub.says(refused(401, code=f"prefix.{credential}", param=credential, type="sk-proj-aaaaaaaa"))
    answer = api.run(AgentFactory.create(tenant=tenant).pk, model=model.name)
    found = api.get(f"history/{answer.details['execution_id']}")
    for response in (answer, found):
        assert credential not in response.content.decode()
        assert "sk-proj" not in response.content.decode()
    assert found.json["provider_error"] == {"status": 401}


def test_a_filtered_response_makes_no_calls(
    api: Api, tenant: Tenant, stub: StubModel, model: LanguageModel
) -> None:
    response = completion("Half", calls=[("weather", "{}")], finish_reason="content_filter")
    stub.says(response)
    agent = AgentFactory.create(tenant=tenant)
    agent.tools.add(ToolFactory.create(tenant=tenant, name="weather"))
    run = api.run(agent.pk, model=model.name).json
    assert (run["status"], run["stop_reason"]) == ("incomplete", "content_filter")
    assert len(stub.requests) == 1


def test_a_servers_own_fields_count_in_the_size_of_a_run(
    api: Api, tenant: Tenant, stub: StubModel, model: LanguageModel
) -> None:
    response = completion("", calls=[("none", "{}")] * 3)
    for call in response["choices"][0]["message"]["tool_calls"]:
        call["extra_content"] = "x" * 250_000
    stub.says(response)
    agent = AgentFactory.create(tenant=tenant, max_steps=50)
    run = api.run(agent.pk, model=model.name).json
    assert (run["status"], run["stop_reason"]) == ("incomplete", "max_run_bytes")
    assert len(stub.requests) <= 12


def test_too_large_fields_of_a_server_end_the_run(
    api: Api, tenant: Tenant, stub: StubModel, model: LanguageModel
) -> None:
    response = completion("", calls=[("none", "{}")])
    response["choices"][0]["message"]["reasoning_content"] = "x" * 1_100_000
    stub.says(response)
    details = api.run(AgentFactory.create(tenant=tenant).pk, model=model.name).details
    assert details["reason"] == "bad_answer"
    assert len(stub.requests) == 1
