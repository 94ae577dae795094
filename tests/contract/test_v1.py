"""`/v1`: models, responses and chat completions, without streams."""

import json
import uuid
from typing import Any

import pytest

from executions.models import Execution
from map_project.tenants.models import Tenant
from tests.api import Answer, Api
from tests.conftest import api_of
from tests.factories import AgentFactory, TenantFactory

PATHS = [
    ("POST", "/v1/responses"),
    ("POST", "/v1/chat/completions"),
]


@pytest.fixture
def model(tenant: Tenant) -> str:
    """The name of an agent with a default model."""
    return AgentFactory.create(tenant=tenant, model="gpt-4o", with_tools=1).name


def error_of(answer: Answer) -> dict[str, Any]:
    """Check the form of an error and return it."""
    assert answer.headers["content-type"] == "application/json"
    assert [*answer.json] == ["error"]
    error: dict[str, Any] = answer.json["error"]
    assert [*error] == ["message", "type", "param", "code"]
    assert error["message"]
    return error


def code_of(answer: Answer) -> tuple[int, str, str]:
    error = error_of(answer)
    return answer.status, error["type"], error["code"]


def respond(api: Api, model: str, value: Any = "Hello", **body: Any) -> Answer:
    return api.post("/v1/responses", {"model": model, "input": value, **body})


def chat(api: Api, model: str, messages: Any = None, **body: Any) -> Answer:
    messages = messages or [{"role": "user", "content": "Hello"}]
    return api.post("/v1/chat/completions", {"model": model, "messages": messages, **body})


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def execution_of(answer: Answer) -> Execution:
    assert answer.status == 200, answer.content
    prefix, _, identifier = answer.json["id"].partition(
        "_" if "resp_" in answer.json["id"] else "-"
    )
    assert prefix in {"resp", "chatcmpl"}
    return Execution.objects.get(pk=identifier)


class TestModels:
    def test_they_are_the_agents_with_a_default_model(
        self, tenant: Tenant, api: Api, model: str
    ) -> None:
        AgentFactory.create(tenant=tenant)
        second = AgentFactory.create(tenant=tenant, model="gpt-4", name="a/b c%?")
        found = api.get("/v1/models").json
        assert found["object"] == "list"
        assert [each["id"] for each in found["data"]] == [model, second.name]
        assert {each["owned_by"] for each in found["data"]} == {tenant.name}
        for path in ("a%2Fb%20c%25%3F", "a/b%20c%25%3F", f"agent:{second.pk}"):
            assert api.get(f"/v1/models/{path}").json == found["data"][1]

    def test_unknown_ones(self, tenant: Tenant, api: Api, unknown_id: str) -> None:
        without = AgentFactory.create(tenant=tenant)
        foreign = AgentFactory.create(model="gpt-4o")
        names = ("gpt-4o", foreign.name, without.name, f"agent:{unknown_id}", "agent:x", "a%00")
        for name in names:
            answer = api.get(f"/v1/models/{name}")
            assert code_of(answer) == (404, "not_found", "model_not_found")
        answer = api.get(f"/v1/models/agent:{foreign.pk}")
        assert code_of(answer) == (403, "permission_error", "tenant_isolation_violation")


class TestResponses:
    def test_a_text(self, api: Api, model: str) -> None:
        answer = respond(api, model, metadata={"ticket": "4711"}, temperature=0.5)
        execution = execution_of(answer)
        response = answer.json
        assert (response["status"], response["model"]) == ("completed", model)
        assert (response["metadata"], response["temperature"]) == ({"ticket": "4711"}, 0.5)
        (message,) = response["output"]
        assert message["content"][0]["text"] == execution.response
        assert execution.prompt == "Hello"
        assert api.get(f"history/{execution.pk}").json["response"] == execution.response
        assert answer.headers["x-ratelimit-limit"] == "100"

    def test_it_is_read_again(self, api: Api, model: str) -> None:
        response = respond(api, model).json
        assert api.get(f"/v1/responses/{response['id']}").json == response
        assert api.get(f"/v1/responses/{response['id']}?include=x&stream=false").json == response
        assert api.post(f"/v1/responses/{response['id']}/cancel").json == response

    def test_the_agent_by_its_id(self, api: Api, tenant: Tenant) -> None:
        agent = AgentFactory.create(tenant=tenant, model="gpt-4")
        answer = respond(api, f"agent:{agent.pk}")
        assert execution_of(answer).agent_id == agent.pk
        assert answer.json["model"] == f"agent:{agent.pk}"

    def test_messages(self, api: Api, model: str) -> None:
        items = [
            {"role": "developer", "content": "Be brief."},
            user(
                [{"type": "input_text", "text": "My name"}, {"type": "input_text", "text": "is A."}]
            ),
            {"type": "reasoning", "id": "rs_1", "summary": []},
            {"type": "mcp_call", "id": "mcp_1"},
            {
                "type": "message",
                "role": "assistant",
                "content": [{"type": "output_text", "text": "Hello A.", "annotations": []}],
            },
            {"role": "system", "content": "In English."},
            user("What is my name?"),
        ]
        answer = respond(api, model, items, instructions="Answer.")
        execution = execution_of(answer)
        assert execution.prompt == "What is my name?"
        assert execution.system_prompt.endswith("\n\nAnswer.\n\nBe brief.\n\nIn English.")
        assert answer.json["instructions"] == "Answer.\n\nBe brief.\n\nIn English."
        found = api.get(f"/v1/responses/{answer.json['id']}/input_items?order=asc").json
        texts = [(item["role"], item["content"][0]["text"]) for item in found["data"]]
        assert texts == [
            ("user", "My name\nis A."),
            ("assistant", "Hello A."),
            ("user", "What is my name?"),
        ]

    def test_pages_of_input_items(self, api: Api, model: str) -> None:
        items = [user(str(number)) for number in range(5)]
        path = f"/v1/responses/{respond(api, model, items).json['id']}/input_items"
        seen: list[str] = []
        after = ""
        while True:
            found = api.get(f"{path}?limit=2{after}").json
            seen += [item["content"][0]["text"] for item in found["data"]]
            assert found["last_id"] == found["data"][-1]["id"]
            if not found["has_more"]:
                break
            after = f"&after={found['last_id']}"
        assert seen == ["4", "3", "2", "1", "0"]
        for query, param in (("limit=0", "limit"), ("limit=x", "limit"), ("after=x", "after")):
            assert error_of(api.get(f"{path}?{query}"))["param"] == param
        assert error_of(api.get(f"{path}?order=up"))["param"] == "order"

    def test_in_the_background(self, api: Api, model: str) -> None:
        answer = respond(api, model, background=True)
        assert (answer.status, answer.json["status"]) == (200, "queued")
        assert answer.headers["openai-poll-after-ms"] == "1000"
        path = f"/v1/responses/{answer.json['id']}"
        assert api.get(path).headers["openai-poll-after-ms"] == "1000"
        cancelled = api.post(f"{path}/cancel").json
        assert (cancelled["status"], cancelled["background"]) == ("cancelled", True)
        assert "openai-poll-after-ms" not in api.get(path).headers

    def test_a_deleted_one_remains_in_the_history(self, api: Api, model: str) -> None:
        answer = respond(api, model)
        path = f"/v1/responses/{answer.json['id']}"
        deleted = {"id": answer.json["id"], "object": "response", "deleted": True}
        assert api.delete(path).json == deleted
        for found in (
            api.get(path),
            api.get(f"{path}?stream=true"),
            api.delete(path),
            api.post(f"{path}/cancel"),
            api.get(f"{path}/input_items"),
        ):
            assert code_of(found) == (404, "not_found", "response_not_found")
        assert api.get(f"history/{execution_of(answer).pk}").status == 200

    def test_malformed_ids(self, api: Api, model: str) -> None:
        hexadecimal = respond(api, model).json["id"].removeprefix("resp_")
        for name in (hexadecimal, f"resp_{hexadecimal}0", "resp_x", f"chatcmpl-{hexadecimal}"):
            answer = api.get(f"/v1/responses/{name}")
            assert code_of(answer) == (404, "not_found", "response_not_found")

    @pytest.mark.parametrize(
        ("body", "param"),
        [
            ({"tools": [{"type": "function", "name": "f"}]}, "tools"),
            ({"tool_choice": "required"}, "tool_choice"),
            ({"top_p": 0.5}, "top_p"),
            ({"top_logprobs": 3}, "top_logprobs"),
            ({"include": ["message.output_text.logprobs"]}, "include"),
            ({"prompt": {"id": "pmpt_1"}}, "prompt"),
            (
                {"input": [{"type": "function_call_output", "call_id": "c", "output": "x"}]},
                "input[0]",
            ),
            ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0].type"),
            (
                {"input": [user([{"type": "input_image", "image_url": "https://x"}])]},
                "input[0].content[0]",
            ),
            (
                {"input": [user([{"type": "input_file", "file_id": "f"}])]},
                "input[0].content[0]",
            ),
        ],
    )
    def test_what_is_not_supported_is_refused(
        self, api: Api, model: str, body: dict[str, Any], param: str
    ) -> None:
        answer = api.post("/v1/responses", {"model": model, "input": "Hello", **body})
        assert code_of(answer) == (400, "invalid_request", "unsupported_parameter")
        assert error_of(answer)["param"] == param

    @pytest.mark.parametrize(
        ("body", "param"),
        [
            ({"input": ""}, "input"),
            ({"input": []}, "input"),
            ({"input": 1}, "input"),
            ({"input": ["x"]}, "input[0]"),
            ({"input": [{"role": "user"}]}, "input[0].content"),
            ({"input": [{"role": "boss", "content": "x"}]}, "input[0].role"),
            ({"input": [{"type": 1}]}, "input[0].type"),
            ({"input": [user([{"type": "input_text"}])]}, "input[0].content[0].text"),
            ({"input": [user(["x"])]}, "input[0].content[0]"),
            ({"input": [user("x"), {"role": "assistant", "content": "y"}]}, "input"),
            ({"input": [user("a\0b")]}, "input[0].content"),
            ({"model": ""}, "model"),
            ({"model": None}, "model"),
            ({"stream": "yes"}, "stream"),
            ({"background": 1}, "background"),
            ({"temperature": 3}, "temperature"),
            ({"temperature": "1"}, "temperature"),
            ({"max_output_tokens": 0}, "max_output_tokens"),
            ({"metadata": {"a": 1}}, "metadata"),
            ({"truncation": "middle"}, "truncation"),
        ],
    )
    def test_errors_name_the_field(
        self, api: Api, model: str, body: dict[str, Any], param: str
    ) -> None:
        answer = api.post("/v1/responses", {"model": model, "input": "Hello", **body})
        assert code_of(answer) == (400, "invalid_request", "validation_error")
        assert error_of(answer)["param"] == param


class TestPreviousResponses:
    def test_its_messages_precede_the_input(self, api: Api, model: str) -> None:
        first = respond(api, model, "My name is A.").json
        items = [user("I am 30."), {"role": "assistant", "content": "Noted."}, user("Who am I?")]
        second = respond(api, model, items, previous_response_id=first["id"])
        assert second.json["previous_response_id"] == first["id"]
        execution = execution_of(second)
        assert execution.earlier_exchanges == 2
        assert f"resp_{execution.previous_execution_id.hex}" == first["id"]  # type: ignore[union-attr]
        branch = respond(api, model, "And I?", previous_response_id=first["id"])
        assert execution_of(branch).earlier_exchanges == 1

    def test_errors(self, api: Api, other_api: Api, other_tenant: Tenant, model: str) -> None:
        response = respond(api, model).json["id"]
        queued = respond(api, model, background=True).json["id"]
        api.delete(f"/v1/responses/{response}")
        foreign_model = AgentFactory.create(tenant=other_tenant, model="gpt-4o").name
        foreign = respond(other_api, foreign_model).json["id"]
        for previous, expected in (
            (response, (404, "not_found", "response_not_found")),
            (f"resp_{0:032x}", (404, "not_found", "response_not_found")),
            (queued, (400, "invalid_request", "previous_execution_not_finished")),
            (foreign, (404, "not_found", "response_not_found")),
            (response.replace("_", "-"), (400, "invalid_request", "validation_error")),
            (1, (400, "invalid_request", "validation_error")),
        ):
            assert code_of(respond(api, model, previous_response_id=previous)) == expected
        answer = respond(api, model, previous_response_id=queued, conversation="conv_" + "0" * 32)
        assert error_of(answer)["param"] == "conversation"


class TestConversations:
    def test_it_is_one_of_both_doors(self, api: Api) -> None:
        created = api.post("/v1/conversations", {"metadata": {"a": "b"}, "items": []}).json
        assert (created["object"], created["metadata"]) == ("conversation", {"a": "b"})
        path = f"/v1/conversations/{created['id']}"
        assert api.get(path).json == created
        pk = uuid.UUID(created["id"].removeprefix("conv_"))
        assert api.get(f"conversations/{pk}").json["metadata"] == {"a": "b"}
        deleted = {"id": created["id"], "object": "conversation.deleted", "deleted": True}
        assert api.delete(path).json == deleted
        for found in (api.get(path), api.delete(path), api.get(f"{path}/items")):
            assert code_of(found) == (404, "not_found", "conversation_not_found")
        assert code_of(api.get("/v1/conversations/x"))[0] == 404

    def test_responses_continue_it(self, api: Api, model: str) -> None:
        conversation = api.post("/v1/conversations", {}).json["id"]
        responses = [
            respond(api, model, f"Hello {number}", conversation=value).json
            for number, value in enumerate((conversation, {"id": conversation}, conversation))
        ]
        assert [each["conversation"] for each in responses] == [{"id": conversation}] * 3
        assert [each["previous_response_id"] for each in responses] == [None] * 3
        path = f"/v1/conversations/{conversation}/items"
        items = api.get(f"{path}?order=asc").json["data"]
        outputs = [each["output"][0] for each in responses]
        assert items[1::2] == outputs
        assert [item["content"][0]["text"] for item in items[::2]] == [
            "Hello 0",
            "Hello 1",
            "Hello 2",
        ]
        inputs = api.get(f"/v1/responses/{responses[1]['id']}/input_items").json["data"]
        assert inputs == [items[2]]

    @pytest.mark.parametrize("order", ["asc", "desc"])
    def test_pages_of_items(self, api: Api, model: str, order: str) -> None:
        conversation = api.post("/v1/conversations", {}).json["id"]
        for number in range(3):
            earlier = [user("a"), {"role": "assistant", "content": "b"}]
            respond(api, model, [*earlier, user(str(number))], conversation=conversation)
        path = f"/v1/conversations/{conversation}/items?order={order}"
        whole = api.get(path).json
        assert (len(whole["data"]), whole["has_more"]) == (12, False)
        for limit in (1, 5):
            seen: list[Any] = []
            after = ""
            while True:
                found = api.get(f"{path}&limit={limit}{after}").json
                seen += found["data"]
                if not found["has_more"]:
                    break
                after = f"&after={found['last_id']}"
            assert seen == whole["data"]
        for after in ("x", whole["last_id"] + "0", f"msg_{'0' * 32}000"):
            assert error_of(api.get(f"{path}&after={after}"))["param"] == "after"

    def test_it_has_one_run_at_a_time(self, api: Api, model: str) -> None:
        conversation = api.post("/v1/conversations", {}).json["id"]
        queued = respond(api, model, conversation=conversation, background=True).json
        busy = respond(api, model, conversation=conversation)
        assert code_of(busy) == (409, "invalid_request", "conversation_busy")
        assert busy.headers["retry-after"] == "1"
        api.post(f"/v1/responses/{queued['id']}/cancel")
        assert respond(api, model, conversation=conversation).status == 200

    def test_errors(self, api: Api, other_api: Api, model: str) -> None:
        foreign = other_api.post("/v1/conversations", {}).json["id"]
        for value, expected in (
            (foreign, (404, "not_found", "conversation_not_found")),
            (f"conv_{0:032x}", (404, "not_found", "conversation_not_found")),
            ("conv_1", (400, "invalid_request", "validation_error")),
            ({"id": 1}, (400, "invalid_request", "validation_error")),
        ):
            assert code_of(respond(api, model, conversation=value)) == expected
        seeded = api.post("/v1/conversations", {"items": [user("x")]})
        assert code_of(seeded) == (400, "invalid_request", "unsupported_parameter")
        wrong = api.post("/v1/conversations", {"metadata": 1})
        assert error_of(wrong)["param"] == "metadata"


class TestChatCompletions:
    def test_a_completion(self, api: Api, model: str) -> None:
        answer = chat(api, model, max_tokens=100, n=1, user="u-1", seed=7, stream=None)
        execution = execution_of(answer)
        completion = answer.json
        assert (completion["object"], completion["model"]) == ("chat.completion", model)
        (choice,) = completion["choices"]
        assert choice["message"]["content"] == execution.response
        assert choice["finish_reason"] == "stop"
        assert completion["usage"]["total_tokens"] == 0
        assert "tool_calls" not in choice["message"]

    def test_messages(self, api: Api, model: str) -> None:
        messages = [
            {"role": "system", "content": "Be brief."},
            user("What is the weather?"),
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {
                        "id": "call_1",
                        "type": "function",
                        "function": {"name": "weather", "arguments": "{}"},
                    }
                ],
            },
            {"role": "tool", "tool_call_id": "call_1", "content": "Sunny."},
            {"role": "assistant", "content": "It is sunny."},
            user([{"type": "text", "text": "And tomorrow?"}]),
        ]
        execution = execution_of(chat(api, model, messages))
        assert execution.prompt == "And tomorrow?"
        assert execution.system_prompt.endswith("\n\nBe brief.")
        assert (execution.options or {})["messages"] == [
            ["user", "What is the weather?"],
            ["assistant", "Called the tool weather with {}"],
            ["assistant", "Result of a tool: Sunny."],
            ["assistant", "It is sunny."],
        ]

    @pytest.mark.parametrize(
        ("body", "param"),
        [
            ({"n": 2}, "n"),
            ({"tools": [{"type": "function"}]}, "tools"),
            ({"functions": [{"name": "f"}]}, "functions"),
            ({"logprobs": True}, "logprobs"),
            ({"stop": ["x"]}, "stop"),
            ({"modalities": ["text", "audio"]}, "modalities"),
            (
                {"messages": [user([{"type": "image_url", "image_url": {"url": "x"}}])]},
                "messages[0].content[0]",
            ),
        ],
    )
    def test_what_is_not_supported_is_refused(
        self, api: Api, model: str, body: dict[str, Any], param: str
    ) -> None:
        answer = chat(api, model, **body)
        assert code_of(answer) == (400, "invalid_request", "unsupported_parameter")
        assert error_of(answer)["param"] == param

    @pytest.mark.parametrize(
        ("messages", "param"),
        [
            ([{"role": "system", "content": "x"}], "messages"),
            ([user("x"), {"role": "tool", "content": "y", "tool_call_id": "1"}], "messages"),
            ([{"role": "user", "content": None}], "messages[0].content"),
            ([user("   ")], "messages[0]"),
            ([{"role": "assistant", "tool_calls": [1]}, user("x")], "messages[0].tool_calls[0]"),
        ],
    )
    def test_errors_name_the_message(self, api: Api, model: str, messages: Any, param: str) -> None:
        answer = chat(api, model, messages)
        assert code_of(answer) == (400, "invalid_request", "validation_error")
        assert error_of(answer)["param"] == param


SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city", "days"],
    "additionalProperties": False,
}


class TestStructuredOutput:
    def test_of_a_response(self, api: Api, model: str) -> None:
        form = {"type": "json_schema", "name": "trip", "schema": SCHEMA, "strict": True}
        response = respond(api, model, text={"format": form, "verbosity": "low"}).json
        assert response["text"]["format"] == {**form, "description": None}
        value = json.loads(response["output"][-1]["content"][0]["text"])
        assert value == {"city": "", "days": 0}

    def test_of_a_chat_completion(self, api: Api, model: str) -> None:
        form = {"type": "json_schema", "json_schema": {"name": "trip", "schema": SCHEMA}}
        answer = chat(api, model, response_format=form)
        assert json.loads(answer.json["choices"][0]["message"]["content"]) == {
            "city": "",
            "days": 0,
        }
        assert execution_of(answer).output == {"city": "", "days": 0}

    def test_any_object(self, api: Api, model: str) -> None:
        answer = respond(api, model, text={"format": {"type": "json_object"}})
        assert execution_of(answer).output == {}
        answer = chat(api, model, response_format={"type": "json_object"})
        assert execution_of(answer).output == {}

    def test_that_of_the_agent(self, api: Api, tenant: Tenant) -> None:
        agent = AgentFactory.create(tenant=tenant, model="gpt-4o", output_schema=SCHEMA)
        for form in (None, {}, {"format": {"type": "text"}}):
            answer = respond(api, agent.name, text=form)
            assert execution_of(answer).output == {"city": "", "days": 0}
            assert answer.json["text"]["format"]["name"] == "output"

    @pytest.mark.parametrize(
        ("form", "param"),
        [
            ({"type": "json_schema", "name": "x", "schema": {"type": "array"}}, ".schema"),
            ({"type": "json_schema", "name": "x", "schema": {"type": "objekt"}}, ".schema"),
            ({"type": "json_schema", "name": "x"}, ".schema"),
            ({"type": "json_schema", "name": "x y", "schema": SCHEMA}, ".name"),
            ({"type": "json_schema", "schema": SCHEMA}, ".name"),
            ("json", ""),
            ({"type": "grammar"}, ".type"),
        ],
    )
    def test_errors(self, api: Api, model: str, form: Any, param: str) -> None:
        answer = respond(api, model, text={"format": form})
        assert (answer.status, error_of(answer)["param"]) == (400, f"text.format{param}")
        nested = param in {".schema", ".name"}
        if nested:
            form = {"type": "json_schema", "json_schema": form}
        answer = chat(api, model, response_format=form)
        expected = f"response_format{'.json_schema' * nested}{param}"
        assert (answer.status, error_of(answer)["param"]) == (400, expected)


@pytest.mark.parametrize(("method", "path"), PATHS)
class TestBoth:
    def body(self, model: str, prompt: str = "Hello") -> dict[str, Any]:
        return {"model": model, "input": prompt, "messages": [user(prompt)]}

    def test_the_agent(
        self, tenant: Tenant, api: Api, unknown_id: str, method: str, path: str
    ) -> None:
        without = AgentFactory.create(tenant=tenant)
        foreign = AgentFactory.create(model="gpt-4o")
        unavailable = AgentFactory.create(tenant=tenant, model="gpt-9")
        for name, expected in (
            ("gpt-4o", (404, "not_found", "model_not_found")),
            (foreign.name, (404, "not_found", "model_not_found")),
            (f"agent:{unknown_id}", (404, "not_found", "model_not_found")),
            (without.name, (400, "invalid_request", "model_not_found")),
            (unavailable.name, (400, "invalid_request", "invalid_model")),
            (f"agent:{foreign.pk}", (403, "permission_error", "tenant_isolation_violation")),
        ):
            assert code_of(api.call(method, path, self.body(name))) == expected
        assert not Execution.objects.filter(tenant=tenant).exists()

    def test_bodies_that_are_not_valid(self, api: Api, model: str, method: str, path: str) -> None:
        for raw, code in (
            (b"", "malformed_json"),
            (b"{", "malformed_json"),
            (b"[]", "validation_error"),
            (b"x" * (1024**2 + 1), "request_too_large"),
        ):
            answer = api.call(method, path, raw=raw)
            status = 413 if code == "request_too_large" else 400
            assert code_of(answer) == (status, "invalid_request", code)
        answer = api.call(method, path, raw=b"x", headers={"Content-Type": "text/plain"})
        assert code_of(answer) == (415, "invalid_request", "unsupported_media_type")
        long = self.body(model, "x" * 10_001)
        assert code_of(api.call(method, path, long)) == (400, "invalid_request", "prompt_too_long")

    def test_the_quota(self, method: str, path: str) -> None:
        tenant = TenantFactory.create(rate_limit_requests=2)
        api = api_of(tenant)
        model = AgentFactory.create(tenant=tenant, model="gpt-4o").name
        assert api.call(method, path, self.body(model)).headers["x-ratelimit-remaining"] == "1"
        assert api.call(method, path, self.body("none")).headers["x-ratelimit-remaining"] == "0"
        denied = api.call(method, path, self.body(model))
        assert code_of(denied) == (429, "too_many_requests", "rate_limit_exceeded")
        assert int(denied.headers["retry-after"]) > 0
        assert denied.headers["ratelimit-policy"] == '"default";q=2;w=60'

    def test_idempotency(
        self, tenant: Tenant, api: Api, model: str, method: str, path: str
    ) -> None:
        headers = {"Idempotency-Key": "k"}
        first = api.call(method, path, self.body(model), headers=headers)
        again = api.call(method, path, self.body(model), headers=headers)
        assert (again.status, again.json) == (200, first.json)
        assert again.headers["idempotent-replayed"] == "true"
        other = api.call(method, path, self.body(model, "Other"), headers=headers)
        assert code_of(other) == (422, "invalid_request", "idempotency_key_reused")
        assert Execution.objects.filter(tenant=tenant).count() == 1

    def test_without_a_key(self, model: str, method: str, path: str) -> None:
        for key, code in ((None, "missing_api_key"), ("wrong", "invalid_api_key")):
            answer = Api(key).call(method, path, self.body(model))
            assert code_of(answer) == (401, "authentication_error", code)
            assert "Bearer" in answer.headers["www-authenticate"]


def test_a_repeated_background_response_is_its_present_state(api: Api, model: str) -> None:
    headers = {"Idempotency-Key": "k"}
    body = {"model": model, "input": "Hello", "background": True}
    first = api.post("/v1/responses", body, headers=headers).json
    api.post(f"/v1/responses/{first['id']}/cancel")
    again = api.post("/v1/responses", body, headers=headers)
    assert (again.json["id"], again.json["status"]) == (first["id"], "cancelled")
    assert again.headers["idempotent-replayed"] == "true"


def test_errors_outside_the_views(api: Api) -> None:
    for method, path, expected in (
        ("GET", "/v1", (404, "not_found", "not_found")),
        ("GET", "/v1/", (404, "not_found", "not_found")),
        ("GET", "/v1/models/", (404, "not_found", "not_found")),
        ("POST", "/v1/embeddings", (404, "not_found", "not_found")),
        ("GET", "/v1/chat/completions", (405, "invalid_request", "method_not_allowed")),
        ("PUT", "/v1/responses", (405, "invalid_request", "method_not_allowed")),
        ("DELETE", "/v1/models", (405, "invalid_request", "method_not_allowed")),
        ("GET", "/v1/models?limit=%ff", (400, "invalid_request", "bad_request")),
    ):
        assert code_of(api.call(method, path)) == expected
    host = api.get("/v1/models", headers={"Host": "evil.example"})
    assert code_of(host) == (400, "invalid_request", "bad_request")
    assert "/v1/models?" in error_of(api.get("/v1/models/"))["message"]


def test_a_path_without_v1_is_suggested(api: Api) -> None:
    answer = api.post("/chat/completions", {})
    assert (answer.status, answer.error_code) == (404, "NOT_FOUND")
    assert answer.json["message"].endswith("Did you mean /v1/chat/completions?")


def test_unknown_fields_and_parameters_are_ignored(api: Api, model: str) -> None:
    assert respond(api, model, unknown=1, store=False, reasoning={"effort": "low"}).status == 200
    assert api.get("/v1/models?limit=1&x=y").status == 200
