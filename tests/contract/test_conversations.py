"""`/api/v1/conversations`, and the fields of runs that continue others."""

import uuid
from typing import Any

import pytest

from agents.models import Agent
from executions.models import Conversation, Execution
from map_project.tenants.models import Tenant
from tests.api import Answer, Api
from tests.contract.shapes import is_time
from tests.factories import AgentFactory, ExecutionFactory

FIELDS = ["id", "metadata", "latest_execution_id", "created_at"]
ITEM_FIELDS = [
    *("execution_id", "position", "type", "role", "text", "name", "arguments", "output", "error"),
    *("is_truncated", "created_at"),
]


@pytest.fixture
def agent(tenant: Tenant) -> Agent:
    return AgentFactory.create(tenant=tenant)


@pytest.fixture
def conversation(api: Api) -> str:
    return str(api.post("conversations", {}).json["id"])


def run(api: Api, agent: Agent, prompt: str = "What is new?", **more: Any) -> Answer:
    body = {"prompt": prompt, "model": "gpt-4o", **more}
    return api.post(f"agents/{agent.pk}/run", body)


class TestResource:
    def test_it_is_created_with_metadata(self, api: Api) -> None:
        created = api.post("conversations", {"metadata": {"ticket": "4711"}})
        assert created.status == 201
        assert list(created.json) == FIELDS
        assert created.json["metadata"] == {"ticket": "4711"}
        assert created.json["latest_execution_id"] is None
        assert is_time(created.json["created_at"])
        assert api.get(f"conversations/{created.json['id']}").json == created.json

    @pytest.mark.parametrize("body", [{}, {"metadata": None}])
    def test_metadata_is_optional(self, api: Api, body: dict[str, Any]) -> None:
        created = api.post("conversations", body)
        assert (created.status, created.json["metadata"]) == (201, None)

    def test_metadata_is_checked(self, api: Api) -> None:
        assert set(api.post("conversations", {"metadata": {"a": 1}}).fields) == {"metadata"}

    @pytest.mark.parametrize("name", ["items", "id", "latest_execution_id", "title"])
    def test_other_fields_are_refused(self, api: Api, name: str) -> None:
        assert set(api.post("conversations", {name: None}).fields) == {name}

    def test_the_list_is_ordered_by_age(self, api: Api) -> None:
        created = [api.post("conversations", {}).json for _ in range(3)]
        page = api.get("conversations?limit=2").json
        assert (page["items"], page["total"], page["has_more"]) == (created[:2], 3, True)

    def test_a_deleted_one_leaves_its_executions(
        self, api: Api, agent: Agent, conversation: str
    ) -> None:
        execution_id = run(api, agent, conversation_id=conversation).json["execution_id"]
        assert api.delete(f"conversations/{conversation}").status == 204
        assert api.get(f"conversations/{conversation}").error_code == "CONVERSATION_NOT_FOUND"
        assert api.delete(f"conversations/{conversation}").status == 404
        assert api.get(f"history/{execution_id}").json["conversation_id"] == conversation
        refused = run(api, agent, conversation_id=conversation)
        assert (refused.status, refused.error_code) == (404, "CONVERSATION_NOT_FOUND")

    @pytest.mark.parametrize("method", ["PUT", "PATCH"])
    def test_it_does_not_change(self, api: Api, conversation: str, method: str) -> None:
        assert api.call(method, f"conversations/{conversation}", {}).status == 405


class TestItems:
    def test_messages_are_listed_oldest_first(
        self, api: Api, agent: Agent, conversation: str
    ) -> None:
        runs = [run(api, agent, text, conversation_id=conversation).json for text in "abc"]
        found = api.get(f"conversations/{conversation}/items").json
        assert found["total"] == 6
        assert all(list(item) == ITEM_FIELDS for item in found["items"])
        assert [(item["role"], item["text"]) for item in found["items"]] == [
            pair
            for each in runs
            for pair in (("user", each["prompt"]), ("assistant", each["response"]))
        ]
        assert [(item["execution_id"], item["position"]) for item in found["items"]] == [
            (each["execution_id"], position) for each in runs for position in (0, 1)
        ]
        assert {item["type"] for item in found["items"]} == {"message"}

    @pytest.mark.parametrize("limit", [1, 2, 3, 4, 100])
    def test_pages_join_to_the_whole(
        self, api: Api, agent: Agent, conversation: str, limit: int
    ) -> None:
        for text in "abcd":
            assert run(api, agent, text, conversation_id=conversation).status == 200
        whole = api.get(f"conversations/{conversation}/items?limit=100").json["items"]
        joined, offset, has_more = [], 0, True
        while has_more:
            url = f"conversations/{conversation}/items?limit={limit}&offset={offset}"
            page = api.get(url).json
            assert page["total"] == 8
            joined += page["items"]
            offset, has_more = offset + limit, page["has_more"]
        assert joined == whole
        assert api.get(f"conversations/{conversation}/items?offset=9").json["items"] == []

    def test_long_texts_are_truncated(self, api: Api, agent: Agent, conversation: str) -> None:
        ExecutionFactory.create(
            agent=agent, conversation_id=conversation, prompt="p" * 20_000, response="r" * 16_384
        )
        prompt, response = api.get(f"conversations/{conversation}/items").json["items"]
        assert (prompt["text"], prompt["is_truncated"]) == ("p" * 16_384, True)
        assert (response["text"], response["is_truncated"]) == ("r" * 16_384, False)

    def test_a_new_one_has_none(self, api: Api, conversation: str) -> None:
        found = api.get(f"conversations/{conversation}/items").json
        assert (found["items"], found["total"]) == ([], 0)


class TestRun:
    def test_a_run_continues_an_execution(self, api: Api, agent: Agent) -> None:
        first = run(api, agent).json
        assert (first["previous_execution_id"], first["conversation_id"]) == (None, None)
        second = run(api, agent, previous_execution_id=first["execution_id"]).json
        assert second["previous_execution_id"] == first["execution_id"]
        assert second["conversation_id"] is None
        assert second["dropped_exchanges"] == 0
        found = api.get(f"history/{second['execution_id']}").json
        names = ("previous_execution_id", "conversation_id", "dropped_exchanges")
        assert {name: found[name] for name in names} == {name: second[name] for name in names}

    def test_a_run_continues_a_conversation(
        self, api: Api, agent: Agent, conversation: str
    ) -> None:
        first = run(api, agent, conversation_id=conversation).json
        assert (first["previous_execution_id"], first["conversation_id"]) == (None, conversation)
        second = run(api, agent, conversation_id=conversation).json
        assert second["previous_execution_id"] == first["execution_id"]
        found = api.get(f"conversations/{conversation}").json
        assert found["latest_execution_id"] == second["execution_id"]

    def test_only_one_of_them_is_continued(self, api: Api, agent: Agent, conversation: str) -> None:
        execution_id = run(api, agent).json["execution_id"]
        both = run(api, agent, previous_execution_id=execution_id, conversation_id=conversation)
        assert both.fields == {"conversation_id": ["Excludes previous_execution_id."]}
        one = run(api, agent, previous_execution_id=execution_id, conversation_id=None)
        assert one.status == 200

    @pytest.mark.parametrize("name", ["previous_execution_id", "conversation_id"])
    @pytest.mark.parametrize("value", ["", "x", 1, True, [], "0197a3c277aa7f3bb6a051c3a9d1e004"])
    def test_ids_are_uuids(self, api: Api, agent: Agent, name: str, value: Any) -> None:
        assert run(api, agent, **{name: value}).fields == {name: ["Expected a UUID."]}

    @pytest.mark.parametrize(
        ("name", "hint"),
        [
            ("previous_response_id", "Did you mean previous_execution_id?"),
            ("thread_id", "Did you mean conversation_id?"),
        ],
    )
    def test_names_of_other_apis_have_a_hint(
        self, api: Api, agent: Agent, name: str, hint: str
    ) -> None:
        assert run(api, agent, **{name: "x"}).fields == {name: [f"Unknown field. {hint}"]}

    def test_unknown_ids_do_not_exist(self, api: Api, agent: Agent, unknown_id: str) -> None:
        for name, code in [
            ("previous_execution_id", "EXECUTION_NOT_FOUND"),
            ("conversation_id", "CONVERSATION_NOT_FOUND"),
        ]:
            refused = run(api, agent, **{name: unknown_id})
            assert (refused.status, refused.error_code) == (404, code)
            key = name.removeprefix("previous_")
            assert refused.details == {key: unknown_id}

    def test_ids_of_another_tenant_do_not_exist(
        self, api: Api, agent: Agent, other_api: Api, other_tenant: Tenant
    ) -> None:
        other = AgentFactory.create(tenant=other_tenant)
        foreign = {
            "previous_execution_id": run(other_api, other).json["execution_id"],
            "conversation_id": other_api.post("conversations", {}).json["id"],
        }
        for name, pk in foreign.items():
            refused = run(api, agent, **{name: pk})
            assert refused.status == 404
            unknown = run(api, agent, **{name: str(uuid.uuid4())})
            assert (refused.error_code, refused.json["message"]) == (
                unknown.error_code,
                unknown.json["message"],
            )
        assert not Execution.objects.filter(agent_id=agent.pk).exists()

    @pytest.mark.parametrize("status", ["queued", "running"])
    def test_a_previous_execution_must_have_ended(
        self, api: Api, agent: Agent, status: str
    ) -> None:
        previous = ExecutionFactory.create(agent=agent, status=status)
        refused = run(api, agent, previous_execution_id=str(previous.pk))
        assert (refused.status, refused.error_code) == (400, "PREVIOUS_EXECUTION_NOT_FINISHED")
        assert refused.details == {"execution_id": str(previous.pk), "status": status}

    @pytest.mark.parametrize("status", ["succeeded", "incomplete", "failed", "cancelled"])
    def test_any_ended_execution_can_be_continued_several_times(
        self, api: Api, agent: Agent, status: str
    ) -> None:
        previous = ExecutionFactory.create(agent=agent, status=status)
        for _ in range(2):
            assert run(api, agent, previous_execution_id=str(previous.pk)).status == 200

    @pytest.mark.parametrize("status", ["queued", "running"])
    def test_a_conversation_has_one_run_at_a_time(
        self, api: Api, agent: Agent, conversation: str, status: str
    ) -> None:
        execution = ExecutionFactory.create(
            agent=agent, status=status, conversation_id=conversation
        )
        Conversation.objects.filter(pk=conversation).update(latest_execution_id=execution.pk)
        refused = run(api, agent, conversation_id=conversation)
        assert (refused.status, refused.error_code) == (409, "CONVERSATION_BUSY")
        assert refused.headers["retry-after"] == "1"
        assert refused.details == {
            "conversation_id": conversation,
            "execution_id": str(execution.pk),
        }
        assert api.post(f"history/{execution.pk}/cancel").status == 200
        assert run(api, agent, conversation_id=conversation).status == 200

    def test_errors_of_the_body_come_first(self, api: Api, agent: Agent, unknown_id: str) -> None:
        more = {"conversation_id": unknown_id}
        assert run(api, agent, "x" * 10_001, **more).error_code == "PROMPT_TOO_LONG"
        assert run(api, agent, model="none", **more).error_code == "INVALID_MODEL"

    def test_the_oldest_exchanges_are_dropped(self, api: Api, tenant: Tenant) -> None:
        agent = AgentFactory.create(tenant=tenant, max_context_characters=1_000)
        last, dropped = None, []
        for _ in range(4):
            answer = run(api, agent, "x" * 200, previous_execution_id=last).json
            last = answer["execution_id"]
            dropped.append(answer["dropped_exchanges"])
        length = len(answer["prompt"]) + len(answer["response"])
        fitting = 1_000 // length
        assert dropped == [max(0, number - fitting) for number in range(4)]
        assert dropped[-1] > 0

    def test_an_exchange_that_is_too_long_alone_is_an_error(self, api: Api, tenant: Tenant) -> None:
        agent = AgentFactory.create(tenant=tenant, max_context_characters=1_000)
        previous = ExecutionFactory.create(agent=agent, prompt="p" * 500, response="r" * 501)
        refused = run(api, agent, previous_execution_id=str(previous.pk))
        assert (refused.status, refused.error_code) == (400, "CONTEXT_TOO_LONG")
        assert refused.details == {"provided_length": 1_001, "max_length": 1_000}
        assert api.patch(f"agents/{agent.pk}", {"max_context_characters": 1_001}).status == 200
        assert run(api, agent, previous_execution_id=str(previous.pk)).status == 200
