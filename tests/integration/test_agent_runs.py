"""Runs with a remote model (a stub on loopback) and http tools (a server in another process)."""

import ipaddress
import json
import threading
import uuid
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection, connections

from agents import language_models
from agents.models import LanguageModel
from executions import costs
from executions.models import Execution, Step
from map_project.api import secrets
from map_project.tenants.models import Tenant
from tests.api import Answer, Api
from tests.conftest import api_of
from tests.factories import AgentFactory, TenantFactory
from tests.stub_model import HANG, StubModel, completion, error
from tests.tool_server import tool_server

CONTRACT = [
    "execution_id",
    "agent_id",
    "agent_name",
    "model",
    "prompt",
    "response",
    "output",
    "tools_available",
    "executed_at",
    "status",
    "stop_reason",
    "usage",
    "latency_ms",
    "previous_execution_id",
    "conversation_id",
    "dropped_exchanges",
    "request_id",
]


@pytest.fixture(scope="module")
def tool_port() -> Iterator[int]:
    with tool_server() as port:
        yield port


@pytest.fixture(autouse=True)
def _loopback_is_allowed(settings: Any) -> None:
    settings.TOOL_ALLOWED_NETWORKS = (ipaddress.ip_network("127.0.0.0/8"),)


@pytest.fixture
def real(model_server: StubModel) -> Iterator[LanguageModel]:
    """Create the model `real`, which the stub serves."""
    model_server.says(completion("It is sunny."))
    yield LanguageModel.objects.create(
        name="real",
        provider="openai",
        base_url=model_server.url,
        credential_token=secrets.encrypt("sk-of-the-operator"),
        input_price_per_million=Decimal("2.5"),
        output_price_per_million=Decimal(10),
        timeout_seconds=1,
        max_retries=0,
    )
    LanguageModel.objects.filter(name="real").delete()


@pytest.fixture
def stub(model_server: StubModel, real: LanguageModel) -> StubModel:
    return model_server


def tool(api: Api, port: int, name: str = "weather now", **more: Any) -> str:
    """Create an http tool that calls the echo of the tool server, and return its id."""
    body = {
        "name": name,
        "description": "Tells the weather.",
        "kind": "http",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        "http": {
            "method": "GET",
            "url": f"http://127.0.0.1:{port}/echo",
            "headers": {"Authorization": "Bearer {{secret.token}}"},
        },
        "secrets": {"token": "hunter2-of-the-tenant"},
        **more,
    }
    result = api.post("tools", body)
    assert result.status == 201, result.content
    identifier: str = result.json["id"]
    return identifier


def agent(api: Api, *tools: str, **more: Any) -> str:
    body = {"name": "Ada", "role": "analyst", "description": "Looks.", "tool_ids": [*tools], **more}
    result = api.post("agents", body)
    assert result.status == 201, result.content
    identifier: str = result.json["id"]
    return identifier


def stored_run(api: Api, run: Answer) -> Any:
    return api.get(f"history/{run.json['execution_id']}").json


def pool() -> Any:
    """Return the connection pool of this process."""
    database: Any = connection
    return database.pool


def only_execution(tenant: Tenant) -> Execution:
    return Execution.objects.get(tenant=tenant)


class TestRealModel:
    def test_a_response_without_calls(self, api: Api, stub: StubModel) -> None:
        run = api.run(agent(api), model="real", prompt="What is the weather?")
        assert run.status == 200
        assert list(run.json) == [*CONTRACT, "warning"]
        assert (run.json["model"], run.json["response"]) == ("real", "It is sunny.")
        found = stored_run(api, run)
        assert found["status"] == "succeeded"
        assert found["stop_reason"] == "completed"
        assert (found["provider"], found["error_code"]) == ("openai", None)
        assert (found["input_tokens"], found["output_tokens"]) == (12, 3)
        assert Decimal(found["cost_usd"]) == Decimal("0.00006")
        assert found["created_at"] == run.json["executed_at"]
        assert run.json["usage"] == {name: found[name] for name in run.json["usage"]}
        assert list(run.json["usage"]) == ["input_tokens", "output_tokens", "cost_usd"]
        assert run.json["request_id"] == found["request_id"] == run.headers["x-request-id"]
        assert run.json["latency_ms"] == found["latency_ms"]
        (step,) = found["steps"]
        assert list(step) == [
            "kind",
            "name",
            "input",
            "output",
            "tool_calls",
            "input_tokens",
            "output_tokens",
            "latency_ms",
            "error",
            "approval_id",
            "is_running",
        ]
        assert json.loads(step.pop("input")) == [
            {"role": "user", "content": "What is the weather?"}
        ]
        assert step.pop("latency_ms") >= 0
        assert step == {
            "kind": "model",
            "name": "real",
            "output": "It is sunny.",
            "tool_calls": [],
            "input_tokens": 12,
            "output_tokens": 3,
            "error": None,
            "approval_id": None,
            "is_running": False,
        }
        assert stub.requests[0].body["messages"][0] == {
            "role": "system",
            "content": found["system_prompt"],
        }

    def test_a_run_with_tools_has_the_fields_of_the_contract(
        self, api: Api, stub: StubModel, tool_port: int
    ) -> None:
        run = api.run(agent(api, tool(api, tool_port)), model="real")
        assert list(run.json) == CONTRACT

    def test_tools_are_called_and_every_step_is_stored(
        self, api: Api, stub: StubModel, tool_port: int
    ) -> None:
        declared = api.post("tools", {"name": "crystal ball", "description": "Tells all."}).json
        identifier = agent(api, tool(api, tool_port), declared["id"])

        def first(body: dict[str, Any]) -> Any:
            (function,) = [offered["function"] for offered in body["tools"]]
            assert function["description"] == "Tells the weather."
            assert function["parameters"]["properties"] == {"city": {"type": "string"}}
            name = function["name"]
            assert name != "weather now"
            assert name in body["messages"][0]["content"]
            assert "crystal ball: Tells all." in body["messages"][0]["content"]
            return completion(
                "Let me see.",
                calls=[
                    (name, '{"city": "Oslo"}'),
                    (name, '{"city": 7}'),
                    (name, "nonsense"),
                    ("invented", "{}"),
                ],
            )

        stub.says(first, completion("It is sunny in Oslo."))
        run = api.run(identifier, model="real")
        assert (run.status, run.json["response"]) == (200, "It is sunny in Oslo.")
        found = stored_run(api, run)
        assert [step["kind"] for step in found["steps"]] == ["model", *["tool"] * 4, "model"]
        assert [step["name"] for step in found["steps"]] == [
            "real",
            *["weather now"] * 3,
            "invented",
            "real",
        ]
        assert [step["error"] for step in found["steps"]] == [
            None,
            None,
            "bad_arguments",
            "bad_arguments",
            "unknown_tool",
            None,
        ]
        called = json.loads(found["steps"][1]["output"])
        assert called["path"] == "/echo?city=Oslo"
        assert (found["input_tokens"], found["output_tokens"]) == (24, 6)
        # The model received the stored results: one for each call, in order.
        messages = stub.requests[1].body["messages"]
        assert [message["role"] for message in messages] == [
            "system",
            "user",
            "assistant",
            *["tool"] * 4,
        ]
        call_ids = [call["id"] for call in messages[2]["tool_calls"]]
        assert [message["tool_call_id"] for message in messages[3:]] == call_ids
        assert [message["content"] for message in messages[3:]] == [
            step["output"] for step in found["steps"][1:5]
        ]

    def test_no_secret_leaves_the_platform(
        self, api: Api, stub: StubModel, tool_port: int, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The server of the tool returns the request, which contains the secret."""
        identifier = agent(api, tool(api, tool_port, name="weather"))
        stub.says(completion(None, calls=[("weather", '{"city": "Oslo"}')]), completion("Done."))
        run = api.run(identifier, model="real")
        sent = json.dumps([request.body for request in stub.requests])
        texts = [run.content, api.get(f"history/{run.json['execution_id']}").content, sent.encode()]
        texts.append(api.get("history").content)
        texts.append(str(list(Step.objects.values())).encode() + caplog.text.encode())
        for text in texts:
            assert b"hunter2" not in text
            assert b"sk-of-the-operator" not in text
            assert stub.url.encode() not in text

    def test_the_upstream_name_and_the_settings_are_sent(
        self, api: Api, stub: StubModel, real: LanguageModel
    ) -> None:
        real.upstream_name, real.max_output_tokens = "llama", 500
        real.save()
        identifier = agent(api, settings={"temperature": 0.5, "max_output_tokens": 900})
        assert api.run(identifier, model="real").status == 200
        body = stub.requests[0].body
        assert (body["model"], body["temperature"], body["max_tokens"]) == ("llama", 0.5, 500)

    def test_unknown_values_are_null(self, api: Api, stub: StubModel, real: LanguageModel) -> None:
        real.output_price_per_million = None
        real.save()
        found = stored_run(api, api.run(agent(api), model="real"))
        assert (found["input_tokens"], found["cost_usd"]) == (12, None)
        stub.says({**completion(), "usage": None})
        found = stored_run(api, api.run(agent(api, name="Bo"), model="real"))
        assert (found["input_tokens"], found["output_tokens"], found["cost_usd"]) == (None,) * 3

    def test_text_that_the_database_rejects_is_replaced(self, api: Api, stub: StubModel) -> None:
        stub.says(
            completion("a\0b\ud800", calls=[("no\0", '{"\0": "\ud800"}')]), completion("\0end")
        )
        run = api.run(agent(api), model="real")
        assert (run.status, run.json["response"]) == (200, "\ufffdend")
        assert stored_run(api, run)["response"] == "\ufffdend"


class TestLimits:
    def test_max_steps_ends_a_run(self, api: Api, stub: StubModel, tool_port: int) -> None:
        stub.says(completion("Again.", calls=[("weather", "{}")]))
        identifier = agent(api, tool(api, tool_port, name="weather"), max_steps=3)
        run = api.run(identifier, model="real")
        assert run.status == 200
        assert list(run.json) == [*CONTRACT, "warning"]
        assert (run.json["status"], run.json["stop_reason"]) == ("incomplete", "max_steps")
        assert run.json["response"] == "Again."
        assert len(stub.requests) == 3
        found = stored_run(api, run)
        assert found["status"] == "incomplete"
        assert [step["error"] for step in found["steps"]] == [None] * 5 + ["not_called"]

    def test_max_tool_calls_ends_a_run(self, api: Api, stub: StubModel, tool_port: int) -> None:
        stub.says(completion("Again.", calls=[("weather", "{}"), ("unknown", "{}")]))
        identifier = agent(api, tool(api, tool_port, name="weather"), max_tool_calls=3)
        run = api.run(identifier, model="real")
        assert run.status == 200
        assert (run.json["status"], run.json["stop_reason"]) == ("incomplete", "max_tool_calls")
        assert len(stub.requests) == 2
        found = stored_run(api, run)
        assert [step["kind"] for step in found["steps"]] == [
            "model",
            "tool",
            "tool",
            "model",
            "tool",
        ]

    def test_the_calls_of_one_response_are_limited_as_well(
        self, api: Api, stub: StubModel, tool_port: int
    ) -> None:
        stub.says(completion("", calls=[("weather", "{}")] * 500))
        identifier = agent(api, tool(api, tool_port, name="weather"))
        run = api.run(identifier, model="real")
        assert (run.json["status"], run.json["stop_reason"]) == ("incomplete", "max_tool_calls")
        assert len(stored_run(api, run)["steps"]) == 100
        assert api.get(f"history/{run.json['execution_id']}/steps").json["total"] == 101

    def test_a_large_response_is_cut(self, api: Api, stub: StubModel) -> None:
        stub.says(completion("é" * 3_000_000))
        run = api.run(agent(api), model="real")
        assert run.status == 200
        assert (run.json["status"], run.json["stop_reason"]) == ("incomplete", "max_response_bytes")
        assert run.json["response"] == "é" * (512 * 1024)
        assert stored_run(api, run)["response"] == run.json["response"]

    def test_the_calls_of_a_large_response_are_cut(
        self, api: Api, stub: StubModel, tool_port: int
    ) -> None:
        calls = [("x" * 300_000, "{}"), ("weather", json.dumps("y" * 700_000)), ("z" * 400_000, "")]
        stub.says(completion("", calls=calls))
        run = api.run(agent(api, tool(api, tool_port, name="weather")), model="real")
        assert (run.json["status"], run.json["stop_reason"]) == ("incomplete", "max_response_bytes")
        (step,) = stored_run(api, run)["steps"]
        assert [len(call["name"]) for call in step["tool_calls"]] == [300_000, 7]

    @pytest.mark.parametrize("where", ["arguments", "results", "names"])
    def test_the_size_of_all_texts_ends_a_run(
        self, api: Api, stub: StubModel, tool_port: int, settings: Any, where: str
    ) -> None:
        settings.MAX_RUN_BYTES = 200_000
        http = {"method": "POST", "url": f"http://127.0.0.1:{tool_port}/echo"}
        identifier = agent(api, tool(api, tool_port, name="echo", http=http, secrets={}))
        count, length = (1, 300_000) if where == "arguments" else (8, 20_000)
        arguments = json.dumps({"q": "x" * length if where != "names" else ""})
        name = "echo" if where != "names" else "x" * 20_000
        stub.says(completion("", calls=[(name, arguments)] * count))
        run = api.run(identifier, model="real")
        assert run.status == 200
        assert (run.json["status"], run.json["stop_reason"]) == ("incomplete", "max_run_bytes")
        steps = stored_run(api, run)["steps"]
        size = sum(len(step["input"]) + len(step["output"]) for step in steps)
        assert size < 200_000 + 70_000

    def test_the_time_limit_ends_a_run(
        self, api: Api, stub: StubModel, tool_port: int, settings: Any
    ) -> None:
        settings.RUN_TIMEOUT_SECONDS = 1
        http = {"method": "GET", "url": f"http://127.0.0.1:{tool_port}/slow?seconds=5"}
        identifier = agent(api, tool(api, tool_port, name="slow", http=http, secrets={}))
        stub.says(completion("Wait.", calls=[("slow", "{}"), ("slow", "{}")]))
        run = api.run(identifier, model="real")
        assert run.status == 200
        assert (run.json["status"], run.json["stop_reason"]) == ("incomplete", "run_timeout")
        found = stored_run(api, run)
        assert [step["error"] for step in found["steps"]] == [None, "timeout", "not_called"]
        assert found["latency_ms"] < 3000

    @pytest.mark.parametrize(
        ("reason", "stop_reason"),
        [("length", "max_output_tokens"), ("content_filter", "content_filter")],
    )
    def test_an_incomplete_response(
        self, api: Api, stub: StubModel, reason: str, stop_reason: str
    ) -> None:
        stub.says(completion("It is", finish_reason=reason))
        run = api.run(agent(api), model="real")
        assert (run.json["status"], run.json["stop_reason"]) == ("incomplete", stop_reason)
        assert run.json["response"] == "It is"


class TestFailures:
    def test_a_failure_of_the_provider_is_502_and_stored(
        self, api: Api, stub: StubModel, tenant: Tenant, caplog: pytest.LogCaptureFixture
    ) -> None:
        stub.says(error(429, "words of the provider", Retry_After="7"))
        run = api.run(agent(api), model="real")
        assert (run.status, run.error_code) == (502, "MODEL_ERROR")
        assert run.json["message"] == "The model provider returned an error (HTTP 429)."
        execution = only_execution(tenant)
        assert run.details == {
            "execution_id": str(execution.pk),
            "provider": "openai",
            "status": 429,
            "retryable": True,
            "reason": "rate_limited",
            "provider_type": "x",
        }
        assert run.headers["x-ratelimit-remaining"] == "99"
        found = api.get(f"history/{execution.pk}").json
        assert (found["status"], found["error_code"]) == ("failed", "MODEL_ERROR")
        assert (found["stop_reason"], found["response"]) == ("model_error", "")
        assert (found["input_tokens"], found["cost_usd"]) == (None, None)
        assert [step["error"] for step in found["steps"]] == ["rate_limited"]
        for text in (run.content.decode(), json.dumps(found), caplog.text):
            assert "words of" not in text
            assert stub.url not in text

    def test_a_model_that_hangs_is_504_and_stored(
        self, api: Api, stub: StubModel, tenant: Tenant
    ) -> None:
        stub.says(HANG)
        run = api.run(agent(api), model="real")
        assert (run.status, run.error_code) == (504, "MODEL_TIMEOUT")
        execution = only_execution(tenant)
        assert run.details == {
            "execution_id": str(execution.pk),
            "provider": "openai",
            "status": None,
            "retryable": True,
            "reason": "model_timeout",
        }
        assert (execution.status, execution.error_code) == ("failed", "MODEL_TIMEOUT")
        assert execution.stop_reason == "model_timeout"

    def test_the_costs_before_a_failure_are_stored(
        self, api: Api, stub: StubModel, tenant: Tenant
    ) -> None:
        stub.says(completion(None, calls=[("invented", "{}")]), error(500))
        assert api.run(agent(api), model="real").status == 502
        execution = only_execution(tenant)
        assert (execution.input_tokens, execution.output_tokens) == (12, 3)
        assert execution.cost_usd == Decimal("0.00006")

    def test_an_internal_error_leaves_no_run_running(
        self, api: Api, stub: StubModel, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(*_: Any) -> None:
            raise RuntimeError

        monkeypatch.setattr("executions.loop.Loop.run", broken)
        assert api.run(agent(api), model="real").status == 500
        execution = only_execution(tenant)
        assert (execution.status, execution.error_code) == ("failed", "INTERNAL_ERROR")

    def test_a_provider_that_is_not_installed(
        self, api: Api, settings: Any, tenant: Tenant
    ) -> None:
        settings.MODEL_PROVIDERS = {**settings.MODEL_PROVIDERS, "x": "executions.nowhere.Nobody"}
        LanguageModel.objects.create(name="missing", provider="x")
        try:
            run = api.run(agent(api), model="missing")
        finally:
            LanguageModel.objects.filter(name="missing").delete()
        assert (run.status, run.error_code) == (502, "MODEL_ERROR")
        assert run.details["execution_id"]
        assert run.details["reason"] == "not_available"
        assert (run.details["provider"], run.details["retryable"]) == ("x", False)
        assert only_execution(tenant).status == "failed"


class TestRecord:
    def test_a_run_holds_no_connection_while_it_waits_for_the_model(
        self, api: Api, stub: StubModel, tenant: Tenant
    ) -> None:
        observed: list[Any] = []

        run_connection = connections["default"]

        def inspect(_: dict[str, Any]) -> Any:
            # In the stub's thread. The thread of the run waits, without a connection.
            try:
                observed.append(run_connection.connection)
                observed.append(Execution.objects.filter(tenant=tenant).values().get())
                observed.append(api.get("history").json["items"][0])
            finally:
                connection.close()
            return completion("Done.")

        stub.says(inspect)
        run = api.run(agent(api), model="real")
        held, row, item = observed
        assert held is None
        assert (row["status"], row["response"], row["stop_reason"]) == ("running", "", "")
        assert row["finish_by"] > row["created_at"]
        assert item["status"] == "running"
        assert item["created_at"] == run.json["executed_at"]
        assert stored_run(api, run)["status"] == "succeeded"

    def test_steps_are_stored_as_they_happen(
        self, api: Api, stub: StubModel, tenant: Tenant
    ) -> None:
        counts: list[int] = []

        def count_steps(_: dict[str, Any]) -> Any:
            counts.append(Step.objects.filter(execution__tenant=tenant).count())
            connection.close()
            return completion("Done." if len(counts) == 3 else None, calls=by_turn[len(counts)])

        calls = [("invented", "{}")]
        by_turn: list[Any] = [None, calls, calls, None]
        stub.says(count_steps)
        assert api.run(agent(api), model="real").status == 200
        assert counts == [0, 2, 4]

    def test_a_run_uses_the_current_agent(self, api: Api, stub: StubModel) -> None:
        identifier = agent(api)
        api.run(identifier, model="real")
        api.patch(f"agents/{identifier}", {"name": "Eve"})
        stub.requests.clear()
        run = api.run(identifier, model="real")
        assert run.json["agent_name"] == "Eve"
        assert len(stub.requests) == 1
        assert stored_run(api, run)["system_prompt"].startswith("You are Eve")

    def test_a_run_that_was_marked_as_lost_is_504(
        self, api: Api, stub: StubModel, tenant: Tenant
    ) -> None:
        def mark_as_lost(_: dict[str, Any]) -> Any:
            Execution.objects.filter(tenant=tenant).update(status="failed", error_code="LOST")
            connection.close()
            return completion()

        stub.says(mark_as_lost)
        assert api.run(agent(api), model="real").status == 504
        assert only_execution(tenant).error_code == "LOST"


class TestMock:
    def test_it_makes_the_calls_of_the_prompt_in_order_and_quotes_the_results(
        self, api: Api, tool_port: int
    ) -> None:
        http = {"method": "GET", "url": f"http://127.0.0.1:{tool_port}/empty"}
        one = tool(api, tool_port)
        two = tool(api, tool_port, name="weather", http=http, secrets={})
        prompt = (
            'Please look.\n@weather now {"city": "Oslo"}\n  @weather {}  \n@unknown {}\n'
            '@weather {broken\n@weather now {"city": "Rome"}\nThanks.'
        )
        run = api.run(agent(api, one, two), prompt=prompt)
        assert list(run.json) == CONTRACT
        found = stored_run(api, run)
        assert [(step["kind"], step["name"]) for step in found["steps"]] == [
            ("model", "gpt-4o"),
            ("tool", "weather now"),
            ("tool", "weather"),
            ("tool", "weather now"),
            ("model", "gpt-4o"),
        ]
        assert found["status"] == "succeeded"
        response = run.json["response"]
        assert response.startswith("[Mock Response] Agent Ada (analyst), with the tools weather")
        assert response.index("city=Oslo") < response.index("city=Rome")
        assert response.endswith("]")
        assert "hunter2" not in json.dumps(found)
        assert (found["provider"], found["input_tokens"], found["cost_usd"]) == ("mock", None, None)

    @pytest.mark.parametrize(
        "prompt",
        [
            "Hello @weather {}",
            "@weather",
            "@weather []",
            "@weather {broken",
            "@weatherx {}",
            "weather {}",
        ],
    )
    def test_other_prompts_make_no_calls(self, api: Api, tool_port: int, prompt: str) -> None:
        run = api.run(agent(api, tool(api, tool_port, name="weather")), prompt=prompt)
        found = stored_run(api, run)
        assert found["steps"] == []
        assert f'was asked on gpt-4o: "{prompt}" [digest ' in run.json["response"]

    def test_a_declared_tool_is_not_called(self, api: Api) -> None:
        declared = api.post("tools", {"name": "weather", "description": "x"}).json
        run = api.run(agent(api, declared["id"]), prompt="@weather {}")
        assert stored_run(api, run)["steps"] == []

    def test_one_step_is_not_enough_for_a_call(self, api: Api, tool_port: int) -> None:
        identifier = agent(api, tool(api, tool_port, name="weather"), max_steps=1)
        run = api.run(identifier, prompt="@weather {}")
        assert (run.json["status"], run.json["stop_reason"]) == ("incomplete", "max_steps")


class TestAgentModel:
    def test_a_run_may_omit_the_model_if_the_agent_has_one(self, api: Api) -> None:
        identifier = agent(api, model="gpt-4")
        assert api.get(f"agents/{identifier}").json["model"] == "gpt-4"
        run = api.post(f"agents/{identifier}/run", {"prompt": "p"})
        assert (run.status, run.json["model"]) == (200, "gpt-4")
        named = api.post(f"agents/{identifier}/run", {"prompt": "p", "model": "gpt-4o"})
        assert named.json["model"] == "gpt-4o"

    def test_a_run_must_name_the_model_if_the_agent_has_none(self, api: Api) -> None:
        identifier = agent(api)
        run = api.post(f"agents/{identifier}/run", {"prompt": "p"})
        assert run.status == 400
        assert list(run.fields) == ["model"]
        api.patch(f"agents/{identifier}", {"model": "gpt-4"})
        assert api.post(f"agents/{identifier}/run", {"prompt": "p"}).status == 200
        api.patch(f"agents/{identifier}", {"model": None})
        assert api.post(f"agents/{identifier}/run", {"prompt": "p"}).status == 400

    def test_null_is_not_a_model(self, api: Api) -> None:
        run = api.post(f"agents/{agent(api)}/run", {"prompt": "p", "model": None})
        assert list(run.fields) == ["model"]

    def test_a_deleted_default_model_is_invalid(self, api: Api, real: LanguageModel) -> None:
        identifier = agent(api, model="real")
        real.delete()
        language_models.forget()
        run = api.post(f"agents/{identifier}/run", {"prompt": "p"})
        assert (run.status, run.error_code) == (400, "INVALID_MODEL")
        assert run.details["provided_model"] == "real"

    def test_an_agent_can_only_have_a_model_that_its_tenant_may_use(self) -> None:
        api = api_of(TenantFactory.create(allowed_models=["gpt-4"]))
        body = {"name": "a", "role": "r", "description": "d"}
        rejected = api.post("agents", {**body, "model": "gpt-4o"})
        assert (rejected.status, rejected.error_code) == (400, "INVALID_MODEL")
        assert rejected.details == {"provided_model": "gpt-4o", "allowed_models": ["gpt-4"]}
        created = api.post("agents", {**body, "model": "gpt-4"})
        assert created.status == 201
        patched = api.patch(f"agents/{created.json['id']}", {"model": "gpt-4o"})
        assert patched.error_code == "INVALID_MODEL"

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("max_steps", 0),
            ("max_steps", 51),
            ("max_steps", "8"),
            ("max_steps", 8.0),
            ("max_steps", True),
            ("max_steps", None),
            ("max_tool_calls", 0),
            ("max_tool_calls", 1001),
            ("max_tool_calls", "8"),
            ("max_context_characters", 999),
            ("max_context_characters", 4_000_001),
            ("max_context_characters", "1000"),
            ("model", 7),
            ("settings", None),
            ("settings", []),
            ("settings", {"top_p": 1}),
            ("settings", {"temperature": "1"}),
            ("settings", {"temperature": True}),
            ("settings", {"temperature": 2.1}),
            ("settings", {"temperature": -0.1}),
            ("settings", {"max_output_tokens": 0}),
            ("settings", {"max_output_tokens": 1.5}),
            ("settings", {"max_output_tokens": None}),
        ],
    )
    def test_an_invalid_field_is_reported(self, api: Api, field: str, value: Any) -> None:
        body = {"name": "a", "role": "r", "description": "d", field: value}
        assert list(api.post("agents", body).fields) == [field]

    def test_omitted_fields_are_unchanged(self, api: Api) -> None:
        given = {
            "model": "gpt-4",
            "max_steps": 3,
            "max_tool_calls": 5,
            "settings": {"temperature": 1},
        }
        identifier = agent(api, **given)
        body = {"name": "new", "role": "r", "description": "d"}
        for method in ("PUT", "PATCH"):
            found = api.call(method, f"agents/{identifier}", body).json
            assert {name: found[name] for name in given} == given
        assert api.get("agents").json["items"] == [found]
        cleared = api.patch(f"agents/{identifier}", {"settings": {}}).json
        assert cleared["settings"] == {}


class TestTenants:
    def test_another_tenant_cannot_access_a_run(
        self, api: Api, other_api: Api, stub: StubModel, tool_port: int
    ) -> None:
        identifier = agent(api, tool(api, tool_port, name="weather"))
        stub.says(
            completion(None, calls=[("weather", '{"city": "Geheim"}')]), completion("Geheim.")
        )
        run = api.run(identifier, model="real", prompt="Geheim?")
        foreign = other_api.get(f"history/{run.json['execution_id']}")
        assert (foreign.status, foreign.error_code) == (403, "TENANT_ISOLATION_VIOLATION")
        assert b"Geheim" not in foreign.content
        assert other_api.get("history").json["items"] == []
        assert other_api.run(identifier, model="real").status == 403
        steps = [row.pk for row in Step.objects.filter(execution=run.json["execution_id"])]
        assert len(steps) == 3

    def test_tools_of_two_tenants_with_the_same_name_are_separate(
        self, api: Api, other_api: Api, stub: StubModel, tool_port: int
    ) -> None:
        own = agent(api, tool(api, tool_port, name="weather"))
        other = agent(
            other_api,
            tool(other_api, tool_port, name="weather", secrets={"token": "token-of-the-other"}),
        )
        for caller, identifier in ((api, own), (other_api, other)):
            stub.says(completion(None, calls=[("weather", "{}")]), completion("Done."))
            run = caller.run(identifier, model="real")
            steps = stored_run(caller, run)["steps"]
            assert json.loads(steps[1]["output"])["path"] == "/echo"

    def test_the_allow_list_applies_to_real_models(self, stub: StubModel) -> None:
        tenant = TenantFactory.create(allowed_models=["gpt-4o"])
        api = api_of(tenant)
        run = api.run(AgentFactory.create(tenant=tenant).pk, model="real")
        assert run.error_code == "INVALID_MODEL"
        assert stub.requests == []


def test_costs_are_exact() -> None:
    model = language_models.KnownModel(
        "m",
        "openai",
        input_price_per_million=Decimal("0.15"),
        output_price_per_million=Decimal("0.6"),
    )
    assert costs.cost_usd(model, 1, 1) == Decimal("0.00000075")
    assert costs.cost_usd(model, 0, 0) == 0
    assert costs.cost_usd(model, None, 1) is None
    assert costs.cost_usd(language_models.KnownModel("m", "openai"), 1, 1) is None


def test_many_simultaneous_runs_need_few_connections(
    api: Api, stub: StubModel, tenant: Tenant
) -> None:
    """More threads wait for the model at the same time than the pool has connections."""
    connection.ensure_connection()
    connection.close()
    runs = pool().max_size * 2
    barrier = threading.Barrier(runs)

    def wait(_: dict[str, Any]) -> Any:
        barrier.wait(30)
        return completion()

    stub.says(wait)
    LanguageModel.objects.filter(name="real").update(timeout_seconds=30)
    language_models.forget()
    identifier = agent(api)
    results: list[Answer] = []

    def run_once() -> None:
        try:
            results.append(api.run(identifier, model="real"))
        finally:
            connection.close()

    threads = [threading.Thread(target=run_once) for _ in range(runs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [result.status for result in results] == [200] * runs
    executions = Execution.objects.filter(tenant=tenant)
    assert {execution.status for execution in executions} == {"succeeded"}
    assert len({uuid.UUID(result.json["execution_id"]) for result in results}) == runs
