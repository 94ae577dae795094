"""Structured output, with the mock and with a remote model (a stub on loopback)."""

import ipaddress
import json
from collections.abc import Iterator
from typing import Any

import pytest

from agents.models import LanguageModel
from executions.jobs.runs import run_queued
from map_project.tenants.models import Tenant
from map_project.webhooks.models import WebhookDelivery
from tests.api import Answer, Api
from tests.effects_server import EffectsServer, effects_server
from tests.factories import WebhookFactory, saved_tool
from tests.stub_model import StubModel, completion, error

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string", "minLength": 1}, "days": {"type": "integer"}},
    "required": ["city", "days"],
    "additionalProperties": False,
}
VALID = {"city": "Oslo", "days": 3}
MISSING = '"days" is a required property.'


@pytest.fixture
def stub(model_server: StubModel) -> Iterator[StubModel]:
    """The server of the model `real`."""
    row = LanguageModel.objects.create(
        name="real",
        provider="openai",
        base_url=model_server.url,
        max_retries=0,
        timeout_seconds=1,
        input_price_per_million=1,
        output_price_per_million=1,
    )
    model_server.requests.clear()
    yield model_server
    row.delete()


@pytest.fixture
def effects(settings: Any) -> Iterator[EffectsServer]:
    settings.TOOL_ALLOWED_NETWORKS = (ipaddress.ip_network("127.0.0.0/8"),)
    with effects_server() as server:
        yield server


@pytest.fixture
def agent_id(api: Api) -> str:
    body = {"name": "Ada", "role": "analyst", "description": "Looks.", "output_schema": SCHEMA}
    identifier: str = api.post("agents", body).json["id"]
    return identifier


@pytest.fixture
def agent_with_tool(api: Api, tenant: Tenant, agent_id: str, effects: EffectsServer) -> str:
    """The agent, with the tool `act`."""
    tool = saved_tool(
        tenant_id=tenant.pk,
        name="act",
        description="d",
        kind="http",
        http=effects.config(),
        parameters={"type": "object"},
    )
    assert api.patch(f"agents/{agent_id}", {"tool_ids": [str(tool.pk)]}).status == 200
    return agent_id


def run(api: Api, agent_id: str, model: str = "real", **more: Any) -> Answer:
    return api.post(f"agents/{agent_id}/run", {"prompt": "Plan it.", "model": model, **more})


def says(value: Any, **more: Any) -> dict[str, Any]:
    return completion(value if isinstance(value, str) else json.dumps(value), **more)


def stored(api: Api, answer: Answer) -> Any:
    found = answer.details if answer.status >= 400 else answer.json
    return api.get(f"history/{found['execution_id']}").json


def messages_of(stub: StubModel, number: int) -> list[tuple[str, str]]:
    found = stub.requests[number].body["messages"]
    return [(message["role"], message["content"]) for message in found]


@pytest.mark.parametrize("text", [json.dumps(VALID), f"```json\n{json.dumps(VALID)}\n```"])
def test_a_valid_response_is_the_output(
    api: Api, stub: StubModel, agent_id: str, text: str
) -> None:
    stub.says(says(text))
    answer = run(api, agent_id)
    assert (answer.status, answer.json["status"]) == (200, "succeeded")
    assert (answer.json["output"], answer.json["response"]) == (VALID, text)
    found = stored(api, answer)
    assert (found["output"], found["response"], found["stop_reason"]) == (VALID, text, "completed")
    assert found["output_schema"] == SCHEMA
    assert len(stub.requests) == len(found["steps"]) == 1


def test_the_order_of_the_response_is_kept(api: Api, stub: StubModel, agent_id: str) -> None:
    stub.says(says('{"days": 3, "city": "Oslo"}'))
    answer = run(api, agent_id)
    for output in (answer.json["output"], stored(api, answer)["output"]):
        assert json.dumps(output) == '{"days": 3, "city": "Oslo"}'


def test_an_invalid_response_is_requested_again(
    api: Api, stub: StubModel, agent_with_tool: str
) -> None:
    stub.says(says({"city": "Oslo"}), says(VALID))
    answer = run(api, agent_with_tool)
    assert (answer.status, answer.json["output"]) == (200, VALID)
    assert answer.json["response"] == json.dumps(VALID)
    # The tokens of both calls.
    assert answer.json["usage"] == {
        "input_tokens": 24,
        "output_tokens": 6,
        "cost_usd": "0.00003",
    }
    first, second = messages_of(stub, 0), messages_of(stub, 1)
    assert second[: len(first)] == first
    (role, text), (repair_role, repair) = second[len(first) :]
    assert (role, text, repair_role) == ("assistant", '{"city": "Oslo"}', "user")
    assert f"- {MISSING}\n" in repair
    assert json.dumps(SCHEMA, separators=(",", ":")) in repair
    # Without tools.
    assert stub.requests[0].body["tools"]
    assert "tools" not in stub.requests[1].body
    steps = stored(api, answer)["steps"]
    assert [step["output"] for step in steps] == ['{"city": "Oslo"}', json.dumps(VALID)]
    assert json.loads(steps[1]["input"]) == [{"role": "user", "content": repair}]


def test_two_invalid_responses_are_a_failure(
    api: Api, tenant: Tenant, stub: StubModel, agent_id: str
) -> None:
    WebhookFactory.create(tenant=tenant)
    stub.says(says("Three days."), says({"city": "Oslo"}), says(VALID))
    answer = run(api, agent_id)
    found = stored(api, answer)
    assert (answer.status, answer.error_code) == (502, "OUTPUT_INVALID")
    assert answer.details == {"execution_id": found["id"], "errors": [MISSING]}
    assert [found[name] for name in ("status", "stop_reason", "error_code")] == [
        "failed",
        "output_invalid",
        "OUTPUT_INVALID",
    ]
    assert (found["output"], found["response"]) == (None, '{"city": "Oslo"}')
    assert found["output_errors"] == [MISSING]
    assert (found["input_tokens"], found["error_reason"], found["provider_error"]) == (
        24,
        None,
        None,
    )
    assert len(stub.requests) == 2
    delivery = WebhookDelivery.objects.get(execution_id=found["id"])
    assert delivery.event_type == "execution.failed"


def test_the_repair_does_not_count_as_a_step(api: Api, stub: StubModel, agent_id: str) -> None:
    api.patch(f"agents/{agent_id}", {"max_steps": 1})
    stub.says(says("no"), says(VALID))
    assert run(api, agent_id).json["output"] == VALID


def test_the_output_after_tool_calls(
    api: Api, stub: StubModel, agent_with_tool: str, effects: EffectsServer
) -> None:
    # A text beside tool calls is no output.
    stub.says(says("Let me see.", calls=[("act", "{}")]), says({"city": ""}), says(VALID))
    answer = run(api, agent_with_tool)
    assert answer.json["output"] == VALID
    assert len(effects.effects) == 1
    assert [step["kind"] for step in stored(api, answer)["steps"]] == [
        "model",
        "tool",
        "model",
        "model",
    ]
    assert [role for role, _ in messages_of(stub, 2)[-4:]] == [
        "assistant",
        "tool",
        "assistant",
        "user",
    ]


@pytest.mark.parametrize("text", ["", json.dumps(VALID)])
def test_tool_calls_of_the_repair_are_not_made(
    api: Api, stub: StubModel, agent_with_tool: str, effects: EffectsServer, text: str
) -> None:
    stub.says(says("no"), says(text, calls=[("act", "{}")]))
    answer = run(api, agent_with_tool)
    assert len(stub.requests) == 2
    assert not effects.effects
    steps = stored(api, answer)["steps"]
    assert [(step["kind"], step["tool_calls"]) for step in steps] == [("model", [])] * 2
    if text:
        assert answer.json["output"] == VALID
    else:
        assert answer.error_code == "OUTPUT_INVALID"
        assert answer.details["errors"] == ["The response has no text."]


@pytest.mark.parametrize(
    ("finish_reason", "stop_reason"),
    [("length", "max_output_tokens"), ("content_filter", "content_filter")],
)
@pytest.mark.parametrize("is_first", [True, False])
def test_a_response_that_was_cut_is_not_validated(
    *,
    api: Api,
    stub: StubModel,
    agent_id: str,
    finish_reason: str,
    stop_reason: str,
    is_first: bool,
) -> None:
    cut = says(VALID, finish_reason=finish_reason)
    stub.says(*([cut] if is_first else [says("no"), cut]))
    answer = run(api, agent_id)
    assert (answer.status, answer.json["status"]) == (200, "incomplete")
    assert (answer.json["stop_reason"], answer.json["output"]) == (stop_reason, None)
    assert len(stub.requests) == (1 if is_first else 2)
    assert stored(api, answer)["output"] is None


def test_the_model_fails_in_the_repair(api: Api, stub: StubModel, agent_id: str) -> None:
    stub.says(says("no"), error(500))
    answer = run(api, agent_id)
    assert (answer.status, answer.error_code) == (502, "MODEL_ERROR")
    found = stored(api, answer)
    assert (found["stop_reason"], found["output"], found["response"]) == ("model_error", None, "no")


def test_a_long_response_is_refused(api: Api, stub: StubModel, agent_id: str) -> None:
    long = {"city": "x" * 300_000, "days": 1}
    stub.says(says(long), says(VALID))
    assert run(api, agent_id).json["output"] == VALID
    assert "too long: 300," in messages_of(stub, 1)[-1][1]


def test_the_mock_responds_with_a_minimal_value(api: Api, agent_id: str) -> None:
    answer = run(api, agent_id, "gpt-4o")
    assert answer.json["output"] == {"city": "x", "days": 0}
    assert json.loads(answer.json["response"]) == {"city": "x", "days": 0}
    assert stored(api, answer)["output"] == {"city": "x", "days": 0}
    again = run(api, agent_id, "gpt-4o")
    assert again.json["response"] == answer.json["response"]
    # The schema of the run.
    other = {"type": "object", "properties": {"a": {"const": [1]}}, "required": ["a"]}
    assert run(api, agent_id, "gpt-4o", output_schema=other).json["output"] == {"a": [1]}
    # The mock cannot make a text for a pattern.
    other = {"type": "object", "properties": {"a": {"pattern": "^b+$"}}, "required": ["a"]}
    assert run(api, agent_id, "gpt-4o", output_schema=other).error_code == "OUTPUT_INVALID"


def test_the_mock_calls_tools_before_its_output(
    api: Api, agent_with_tool: str, effects: EffectsServer
) -> None:
    answer = run(api, agent_with_tool, "gpt-4o", prompt='Go\n@act {"a": 1}')
    assert answer.json["output"] == {"city": "x", "days": 0}
    assert len(effects.effects) == 1


@pytest.mark.parametrize("responses", [[VALID], ["no", VALID], ["no", "no"]])
def test_a_background_run(api: Api, stub: StubModel, agent_id: str, responses: list[Any]) -> None:
    stub.says(*map(says, responses))
    answer = run(api, agent_id, background=True)
    assert answer.status == 202
    # The schema is that of the request.
    api.patch(f"agents/{agent_id}", {"output_schema": None})
    run_queued(answer.json["execution_id"])
    found = stored(api, answer)
    is_valid = responses[-1] == VALID
    assert found["status"] == ("succeeded" if is_valid else "failed")
    assert found["error_code"] == (None if is_valid else "OUTPUT_INVALID")
    assert found["output"] == (VALID if is_valid else None)
    assert bool(found["output_errors"]) != is_valid


def test_a_repeated_request_has_the_same_response(api: Api, stub: StubModel, agent_id: str) -> None:
    headers = {"Idempotency-Key": "k"}
    path, body = f"agents/{agent_id}/run", {"prompt": "Plan it.", "model": "real"}
    for responses in ([VALID], ["no", "no"]):
        stub.says(*map(says, responses))
        headers["Idempotency-Key"] += "k"
        first, second = (api.post(path, body, headers=headers) for _ in range(2))
        assert (first.status, first.json) == (second.status, second.json)
        assert len(stub.requests) == len(responses)


def test_the_output_belongs_to_its_tenant(
    api: Api, other_api: Api, stub: StubModel, agent_id: str
) -> None:
    stub.says(says(VALID))
    execution_id = run(api, agent_id).json["execution_id"]
    for path in (f"history/{execution_id}", f"history/{execution_id}/events", f"agents/{agent_id}"):
        refused = other_api.get(path)
        assert (refused.status, refused.error_code) == (403, "TENANT_ISOLATION_VIOLATION")
        assert b"Oslo" not in refused.content
    body = {"prompt": "p", "model": "gpt-4o", "output_schema": SCHEMA}
    assert other_api.post(f"agents/{agent_id}/run", body).status == 403


def test_a_schema_that_changed_holds_for_the_next_run(api: Api, agent_id: str) -> None:
    assert run(api, agent_id, "gpt-4o").json["output"] == {"city": "x", "days": 0}
    api.patch(f"agents/{agent_id}", {"output_schema": {"type": "object"}})
    assert run(api, agent_id, "gpt-4o").json["output"] == {}
    api.patch(f"agents/{agent_id}", {"output_schema": None})
    answer = run(api, agent_id, "gpt-4o").json
    assert answer["output"] is None
    assert answer["response"].startswith("[Mock Response]")


def test_a_run_that_continues_has_the_output_but_not_the_repair(
    api: Api, stub: StubModel, agent_id: str
) -> None:
    stub.says(says("no"), says(VALID))
    first = run(api, agent_id).json["execution_id"]
    assert run(api, agent_id, previous_execution_id=first).json["output"] == VALID
    assert messages_of(stub, 2)[1:] == [
        ("user", "Plan it."),
        ("assistant", json.dumps(VALID)),
        ("user", "Plan it."),
    ]
