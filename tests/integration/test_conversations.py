"""Runs that continue others: the messages that the model receives, and one run at a time."""

import ipaddress
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
from django.db import connection, connections
from django.test.utils import CaptureQueriesContext

from agents.models import Agent, LanguageModel
from executions.context.building import requested_context, stored_context
from executions.context.exchanges import INTERRUPTED, NOT_CALLED
from executions.conversations.items import ItemList
from executions.errors import ContextTooLong
from executions.jobs.runs import run_queued
from executions.models import Conversation, Execution, Step
from executions.options import NO_OPTIONS, RunOptions
from executions.records import recorded_steps
from executions.responses import output_items
from executions.services import run_agent
from map_project.tenants.authentication import find_caller
from map_project.tenants.models import Tenant
from tests.api import Answer, Api, LiveApi
from tests.at_once import at_once
from tests.conversations import assert_well_formed
from tests.effects_server import EffectsServer, effects_server
from tests.factories import AgentFactory, ExecutionFactory, TenantFactory, ToolFactory
from tests.live import serving
from tests.stub_model import HANG, StubModel, completion, error

LOOPBACK = {"TOOL_ALLOWED_NETWORKS": "127.0.0.0/8"}


@pytest.fixture(autouse=True)
def _loopback_is_allowed(settings: Any) -> None:
    settings.TOOL_ALLOWED_NETWORKS = (ipaddress.ip_network("127.0.0.0/8"),)


@pytest.fixture(scope="module")
def effects() -> Iterator[EffectsServer]:
    with effects_server() as server:
        yield server


@pytest.fixture
def stub(model_server: StubModel) -> Iterator[StubModel]:
    row = LanguageModel.objects.create(
        name="talking", provider="openai", base_url=model_server.url, max_retries=0
    )
    model_server.says(completion("Done."))
    yield model_server
    row.delete()


@pytest.fixture
def tenant() -> Tenant:
    return TenantFactory.create(rate_limit_requests=1_000_000)


@pytest.fixture
def agent(tenant: Tenant, effects: EffectsServer) -> Agent:
    agent = AgentFactory.create(tenant=tenant)
    agent.tools.add(
        ToolFactory.create(tenant=tenant, name="look", kind="http", config=effects.config())
    )
    agent.refresh_from_db()
    return agent


@pytest.fixture
def conversation(api: Api) -> str:
    return str(api.post("conversations", {}).json["id"])


def run(api: Api, agent: Agent, prompt: str = "go", model: str = "talking", **more: Any) -> Answer:
    return api.post(f"agents/{agent.pk}/run", {"prompt": prompt, "model": model, **more})


def sent(stub: StubModel) -> list[tuple[str, str]]:
    """Return the roles and texts of the last request to the model, without the system prompt."""
    messages = stub.requests[-1].body["messages"]
    assert_well_formed(messages)
    return [(message["role"], message["content"]) for message in messages[1:]]


class TestMessages:
    def test_the_model_receives_the_earlier_messages(
        self, api: Api, agent: Agent, stub: StubModel
    ) -> None:
        stub.says(completion("one"), completion("two"), completion("three"))
        last = None
        for prompt in "abc":
            answer = run(api, agent, prompt, previous_execution_id=last)
            last = answer.json["execution_id"]
        assert sent(stub) == [
            ("user", "a"),
            ("assistant", "one"),
            ("user", "b"),
            ("assistant", "two"),
            ("user", "c"),
        ]
        (step,) = api.get(f"history/{last}").json["steps"]
        assert step["input"] == '[{"role":"user","content":"c"}]'

    def test_branches_do_not_see_each_other(self, api: Api, agent: Agent, stub: StubModel) -> None:
        root = run(api, agent, "root").json["execution_id"]
        for prompt in ("left", "right"):
            assert run(api, agent, prompt, previous_execution_id=root).status == 200
            assert sent(stub) == [("user", "root"), ("assistant", "Done."), ("user", prompt)]

    def test_tool_calls_have_their_results_and_unique_ids(
        self, api: Api, agent: Agent, stub: StubModel, conversation: str
    ) -> None:
        calls = completion("", calls=[("look", "{}"), ("look", '{"a": 1}')])
        stub.says(calls, completion("one"), calls, completion("two"), calls, completion("three"))
        for _ in range(3):
            assert run(api, agent, conversation_id=conversation).status == 200
        messages = stub.requests[-1].body["messages"]
        assert_well_formed(messages)
        roles = [message["role"] for message in messages]
        turn = ["user", "assistant", "tool", "tool"]
        assert roles == ["system", *[*turn, "assistant"] * 2, *turn]
        assert {each["content"] for each in messages if each["role"] == "tool"} == {"done"}

    def test_a_failed_run_is_continued(
        self, api: Api, agent: Agent, stub: StubModel, conversation: str
    ) -> None:
        stub.says(error(500), completion("back"))
        failed = run(api, agent, "a", conversation_id=conversation)
        assert failed.error_code == "MODEL_ERROR"
        again = run(api, agent, "b", conversation_id=conversation)
        assert again.json["previous_execution_id"] == failed.details["execution_id"]
        assert sent(stub) == [
            ("user", "a"),
            ("assistant", "[No response: the run failed.]"),
            ("user", "b"),
        ]

    def test_an_incomplete_run_is_continued(
        self, api: Api, tenant: Tenant, agent: Agent, stub: StubModel
    ) -> None:
        Agent.objects.filter(pk=agent.pk).update(max_steps=1)
        stub.says(completion("I look.", calls=[("look", "{}")]), completion("back"))
        first = run(api, agent, "a").json
        assert (first["status"], first["stop_reason"]) == ("incomplete", "max_steps")
        assert run(api, agent, "b", previous_execution_id=first["execution_id"]).status == 200
        (_, look, (role, result), answer, _) = sent(stub)
        assert look == ("assistant", "I look.")
        assert (role, result) == (
            "tool",
            "Not called: the run has reached its maximum number of steps.",
        )
        assert answer == ("assistant", "[No response: the run reached a limit.]")

    def test_a_run_that_is_cancelled_during_a_call_is_continued(
        self, api: Api, agent: Agent, stub: StubModel, effects: EffectsServer, conversation: str
    ) -> None:
        effects.effects.clear()
        effects.delay_seconds = 1
        stub.says(completion("", calls=[("look", "{}"), ("look", "{}")]), completion("back"))
        try:
            with ThreadPoolExecutor(1) as pool:
                running = pool.submit(
                    in_thread, partial(run, api, agent, conversation_id=conversation)
                )
                until(lambda: bool(effects.effects))
                busy = run(api, agent, conversation_id=conversation)
                assert busy.error_code == "CONVERSATION_BUSY"
                execution_id = busy.details["execution_id"]
                assert api.post(f"history/{execution_id}/cancel").json["status"] == "cancelled"
                # At once, although the process of the cancelled run has not noticed.
                assert run(api, agent, "b", conversation_id=conversation).status == 200
                assert running.result().json["status"] == "cancelled"
        finally:
            effects.delay_seconds = 0
        assert [text for role, text in sent(stub) if role == "tool"] == [INTERRUPTED, NOT_CALLED]

    def test_another_agent_may_continue(
        self, api: Api, tenant: Tenant, agent: Agent, stub: StubModel
    ) -> None:
        stub.says(completion("", calls=[("look", "{}")]), completion("one"), completion("two"))
        first = run(api, agent).json["execution_id"]
        other = AgentFactory.create(tenant=tenant)
        assert run(api, other, previous_execution_id=first).status == 200
        assert [role for role, _ in sent(stub)] == [
            "user",
            "assistant",
            "tool",
            "assistant",
            "user",
        ]

    def test_the_oldest_exchanges_are_dropped_as_a_whole(
        self, api: Api, agent: Agent, stub: StubModel, conversation: str
    ) -> None:
        Agent.objects.filter(pk=agent.pk).update(max_context_characters=1_000)
        calls = completion("", calls=[("look", '{"q": "' + "x" * 300 + '"}')])
        stub.says(calls, completion("Done."), completion("Done."))
        assert run(api, agent, "a", conversation_id=conversation).status == 200
        for number in range(1, 5):
            answer = run(api, agent, "b" * 300, conversation_id=conversation).json
            # The first exchange has 314 characters, each other one 305.
            assert answer["dropped_exchanges"] == max(0, number - 3)
            roles = [role for role, _ in sent(stub)]
            assert ("tool" in roles) == (number <= 3)
            kept = number - answer["dropped_exchanges"]
            assert roles.count("user") == kept + 1

    def test_a_background_run_receives_the_same_messages(
        self, api: Api, agent: Agent, stub: StubModel, conversation: str
    ) -> None:
        Agent.objects.filter(pk=agent.pk).update(max_context_characters=1_000)
        calls = completion("", calls=[("look", "{}")])
        stub.says(calls, completion("x" * 300))
        for _ in range(5):
            assert run(api, agent, conversation_id=conversation).status == 200
        # The limit at the time of the request counts.
        queued = run(api, agent, "b", conversation_id=conversation, background=True)
        assert queued.status == 202
        Agent.objects.filter(pk=agent.pk).update(max_context_characters=4_000_000)
        busy = run(api, agent, conversation_id=conversation)
        assert busy.details["execution_id"] == queued.json["execution_id"]
        run_queued(queued.json["execution_id"])
        found = api.get(f"history/{queued.json['execution_id']}").json
        assert (found["status"], found["dropped_exchanges"]) == ("succeeded", 2)
        assert [role for role, _ in sent(stub)] == ["user", "assistant"] * 3 + ["user"]
        assert run(api, agent, conversation_id=conversation).status == 200

    def test_messages_of_the_client_are_continued(
        self, api: Api, agent: Agent, stub: StubModel
    ) -> None:
        first = run_with(api, agent, ("user", "1"), ("assistant", "2"), ("user", "3"))
        assert sent(stub) == [("user", "1"), ("assistant", "2"), ("user", "3\n\ngo")]
        second = run_with(api, agent, ("assistant", "4"), previous=first)
        expected = [
            ("user", "1"),
            ("assistant", "2"),
            ("user", "3\n\ngo"),
            ("assistant", "Done."),
            ("user", "[No prompt.]"),
            ("assistant", "4"),
            ("user", "go"),
        ]
        assert sent(stub) == expected
        assert (first.earlier_exchanges, second.earlier_exchanges) == (2, 4)
        context = stored_context(second)
        assert [(each.role, each.text) for each in context.messages] == expected[:-1]


def run_with(
    api: Api, agent: Agent, *messages: tuple[str, str], previous: Execution | None = None
) -> Execution:
    """Run an agent after earlier messages of the client, as `/v1` does."""
    caller = find_caller(api.key or "")
    assert caller is not None
    run = run_agent(
        caller=caller,
        agent_id=agent.pk,
        prompt="go",
        model="talking",
        request_id="test",
        previous_execution_id=previous.pk if previous else None,
        options=RunOptions(messages=messages),
    )
    return Execution.objects.get(pk=run.id)


def in_thread(call: Any) -> Any:
    try:
        return call()
    finally:
        connections.close_all()


def until(condition: Any, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


class TestBusy:
    def test_of_simultaneous_runs_on_two_servers_one_is_started(
        self, api: Api, agent: Agent, stub: StubModel, conversation: str
    ) -> None:
        stub.says(HANG)
        key = api.key
        with serving(**LOOPBACK) as one, serving(**LOOPBACK) as two:
            apis = [LiveApi(port, key) for port in (one, two) * 8]
            with ThreadPoolExecutor(len(apis)) as pool:
                calls = [
                    pool.submit(run, each, agent, conversation_id=conversation) for each in apis
                ]
                until(lambda: sum(call.done() for call in calls) == len(apis) - 1)
                refused = [call.result() for call in calls if call.done()]
                assert {each.error_code for each in refused} == {"CONVERSATION_BUSY"}
                (execution,) = Execution.objects.filter(conversation_id=conversation)
                assert len(stub.requests) == 1
                assert LiveApi(two, key).post(f"history/{execution.pk}/cancel").status == 200
                (last,) = {*calls} - {call for call in calls if call.result().status == 409}
                assert last.result().json["status"] == "cancelled"
            stub.says(completion("Done."))
            again = run(LiveApi(two, key), agent, conversation_id=conversation)
            assert again.json["previous_execution_id"] == str(execution.pk)

    def test_each_of_many_runs_continues_the_one_before(
        self, live_api: LiveApi, tenant: Tenant, conversation: str
    ) -> None:
        """Runs of the mock are over when they are stored."""
        agent = AgentFactory.create(tenant=tenant)
        call = partial(run, live_api, agent, model="gpt-4o", conversation_id=conversation)
        answers = [answer for _ in range(5) for answer in at_once([call] * 8)]
        assert {answer.status for answer in answers} <= {200, 409}
        stored = [answer.json for answer in answers if answer.status == 200]
        assert len(stored) >= 5
        by_previous = {each["previous_execution_id"]: each["execution_id"] for each in stored}
        assert len(by_previous) == len(stored)
        chain, last = [], by_previous[None]
        while last is not None:
            chain.append(last)
            last = by_previous.get(last)
        assert len(chain) == len(stored)
        found = live_api.get(f"conversations/{conversation}").json
        assert found["latest_execution_id"] == chain[-1]
        assert {each["dropped_exchanges"] for each in stored} == {0}

    def test_a_refused_run_is_not_stored(self, api: Api, agent: Agent, conversation: str) -> None:
        queued = run(api, agent, model="gpt-4o", background=True, conversation_id=conversation)
        body = {"prompt": "b", "model": "gpt-4o", "conversation_id": conversation}
        path, headers = f"agents/{agent.pk}/run", {"Idempotency-Key": "1"}
        assert api.post(path, body, headers=headers).status == 409
        api.post(f"history/{queued.json['execution_id']}/cancel")
        again = api.post(path, body, headers=headers)
        assert (again.status, "idempotent-replayed" in again.headers) == (200, False)
        assert Execution.objects.filter(conversation_id=conversation).count() == 2

    def test_a_deleted_conversation_does_not_end_its_run(
        self, api: Api, agent: Agent, conversation: str
    ) -> None:
        queued = run(api, agent, model="gpt-4o", background=True, conversation_id=conversation)
        assert api.delete(f"conversations/{conversation}").status == 204
        run_queued(queued.json["execution_id"])
        assert api.get(f"history/{queued.json['execution_id']}").json["status"] == "succeeded"


def long_conversation(tenant: Tenant, turns: int) -> Conversation:
    """Store a conversation whose runs have two model steps and a tool step each."""
    conversation = Conversation.objects.create(tenant=tenant)
    agent = AgentFactory.create(tenant=tenant)
    call = {"id": "call_1", "name": "look", "arguments": "{}"}
    last: Any = None
    steps = []
    for number in range(turns):
        last = ExecutionFactory.create(
            agent=agent,
            prompt=f"prompt {number}",
            conversation_id=conversation.pk,
            previous_execution_id=last and last.pk,
            earlier_exchanges=number,
        )
        steps += [
            Step(execution=last, position=0, latency_ms=1, kind="model", tool_calls=[call]),
            Step(
                execution=last, position=1, latency_ms=1, kind="tool", name="look", output="found"
            ),
            Step(execution=last, position=2, latency_ms=1, kind="model", output=f"answer {number}"),
        ]
    Step.objects.bulk_create(steps)
    Conversation.objects.filter(pk=conversation.pk).update(latest_execution_id=last.pk)
    conversation.refresh_from_db()
    return conversation


def context_of(conversation: Conversation, **more: Any) -> Any:
    return requested_context(
        tenant_id=conversation.tenant_id,
        model_name="gpt-4o",
        **{
            "max_characters": 200_000,
            "previous_execution_id": None,
            "conversation_id": conversation.pk,
            "options": NO_OPTIONS,
            **more,
        },
    )


class TestCost:
    @pytest.mark.parametrize("turns", [1, 10, 200])
    def test_the_number_of_queries_does_not_depend_on_the_length(
        self, tenant: Tenant, turns: int
    ) -> None:
        conversation = long_conversation(tenant, turns)
        with CaptureQueriesContext(connection) as queries:
            context = context_of(conversation)
        assert len(queries) == 3
        assert len(context.messages) == 4 * turns
        with CaptureQueriesContext(connection) as queries:
            items = ItemList(conversation)
            page, total = items[0:20], items.count()
        assert len(queries) == 3
        assert (len(page), total) == (min(20, 3 * turns), 3 * turns)

    def test_the_chain_is_read_by_indexes(self, tenant: Tenant) -> None:
        conversation = long_conversation(tenant, 30)
        with CaptureQueriesContext(connection) as queries:
            context_of(conversation)
        with connection.cursor() as cursor:
            cursor.execute("SET enable_seqscan = off")
            try:
                for query in queries:
                    cursor.execute(f"EXPLAIN {query['sql']}")
                    plan = "\n".join(row[0] for row in cursor.fetchall())
                    assert "Seq Scan" not in plan, plan
            finally:
                cursor.execute("RESET enable_seqscan")

    def test_only_what_fits_is_read(self, tenant: Tenant) -> None:
        conversation = long_conversation(tenant, 50)
        context = context_of(conversation, max_characters=200)
        length = len("prompt 10") + len("{}") + len("found") + len("answer 10")
        assert context.dropped_exchanges == 50 - 200 // length
        assert context.messages[0].text == f"prompt {context.dropped_exchanges}"
        with pytest.raises(ContextTooLong):
            context_of(conversation, max_characters=length - 1)
        disabled = RunOptions(truncation="disabled")
        with pytest.raises(ContextTooLong):
            context_of(conversation, max_characters=200, options=disabled)


class TestItems:
    def test_they_are_the_prompts_and_the_output_items(
        self, api: Api, agent: Agent, stub: StubModel, conversation: str
    ) -> None:
        stub.says(
            completion("I look.", calls=[("look", '{"a": 1}'), ("none", "{}")]),
            completion("one"),
            error(500),
            completion("two"),
        )
        for prompt in "abc":
            run(api, agent, prompt, conversation_id=conversation)
        found = api.get(f"conversations/{conversation}/items").json["items"]
        texts = [(each["role"] or each["name"], each["text"] or each["output"]) for each in found]
        unknown = texts[3][1]
        assert texts == [
            ("user", "a"),
            ("assistant", "I look."),
            ("look", "done"),
            ("none", unknown),
            ("assistant", "one"),
            ("user", "b"),
            ("user", "c"),
            ("assistant", "two"),
        ]
        assert "no tool" in unknown
        assert [(each["arguments"], each["error"]) for each in found[2:4]] == [
            ('{"a": 1}', None),
            ("{}", "unknown_tool"),
        ]
        rows = Execution.objects.filter(conversation_id=conversation).order_by("created_at")
        items = ItemList(Conversation.objects.get(pk=conversation))
        assert items.count() == len(found)
        for row in rows:
            outputs = [
                item.output_index
                for item in items[0 : items.count()]
                if item.execution_id == row.pk and item.output_index is not None
            ]
            expected = output_items(row, recorded_steps(row.pk), [])
            assert outputs == [*range(len(expected))]

    def test_a_call_in_progress_has_no_output(
        self, api: Api, agent: Agent, conversation: str
    ) -> None:
        execution = ExecutionFactory.create(
            agent=agent, status="running", conversation_id=conversation
        )
        Step.objects.create(
            execution=execution, position=0, kind="tool", name="look", latency_ms=0, is_running=True
        )
        _, call = api.get(f"conversations/{conversation}/items").json["items"]
        assert (call["name"], call["output"], call["error"]) == ("look", None, None)
        assert api.post(f"history/{execution.pk}/cancel").status == 200
        _, call = api.get(f"conversations/{conversation}/items").json["items"]
        assert (call["output"], call["error"]) == (INTERRUPTED, "cancelled_by_caller")

    def test_messages_of_the_client_are_items(self, agent: Agent, tenant: Tenant) -> None:
        conversation = Conversation.objects.create(tenant=tenant)
        ExecutionFactory.create(
            agent=agent,
            conversation_id=conversation.pk,
            options=RunOptions(messages=(("user", "1"), ("assistant", "2"))).as_json(),
        )
        items = ItemList(conversation)
        assert items.count() == 4
        assert [(each.role, each.position, each.output_index) for each in items[0:9]] == [
            ("user", 0, None),
            ("assistant", 1, None),
            ("user", 2, None),
            ("assistant", 3, 0),
        ]
        assert [each.position for each in items[1:3]] == [1, 2]
