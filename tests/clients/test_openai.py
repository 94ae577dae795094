"""OpenAI's SDK for Python, with its defaults except for the URL and the key."""

import asyncio
import threading
import time
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types.responses import ResponseTextDeltaEvent
from pydantic import BaseModel

from agents.models import LanguageModel
from executions.models import Execution
from map_project.tenants.models import Tenant
from tests.api import LiveApi
from tests.clients.conftest import TWO_TOOLS, Door
from tests.effects_server import EffectsServer
from tests.factories import AgentFactory
from tests.live import serving
from tests.stub_model import StubModel, completion, error


class Trip(BaseModel):
    """A structured output."""

    city: str
    days: int


@pytest.fixture
def client(door: Door) -> OpenAI:
    return OpenAI(base_url=door.url, api_key=door.key)


def response_text(door: Door) -> str:
    latest = Execution.objects.filter(tenant=door.tenant).latest("created_at")
    return latest.response


class TestResponses:
    def test_a_response(self, door: Door, client: OpenAI) -> None:
        response = client.responses.create(
            model=door.model, input="Hello", instructions="Be brief.", metadata={"ticket": "4711"}
        )
        assert response.status == "completed"
        assert response.output_text == response_text(door)
        assert (response.instructions, response.metadata) == ("Be brief.", {"ticket": "4711"})
        assert response._request_id
        assert client.responses.retrieve(response.id) == response
        (item,) = client.responses.input_items.list(response.id)
        assert item.to_dict()["content"] == [{"type": "input_text", "text": "Hello"}]
        client.responses.delete(response.id)
        with pytest.raises(openai.NotFoundError):
            client.responses.retrieve(response.id)

    def test_tool_calls(self, door: Door, client: OpenAI) -> None:
        response = client.responses.create(model=door.model, input=TWO_TOOLS)
        first, second, message = response.output
        assert first.type == second.type == "mcp_call"
        assert (first.name, first.server_label, first.output) == ("first", "map", "done")
        assert message.type == "message"
        again = client.responses.create(
            model=door.model,
            input=[
                {"role": "user", "content": "Hello"},
                *[item.to_dict() for item in response.output],  # type: ignore[list-item]
                {"role": "user", "content": "Go on"},
            ],
        )
        assert again.status == "completed"

    def test_a_stream(self, door: Door, client: OpenAI) -> None:
        stream = client.responses.create(model=door.model, input=TWO_TOOLS, stream=True)
        events = [*stream]
        text = "".join(each.delta for each in events if isinstance(each, ResponseTextDeltaEvent))
        assert text == response_text(door)
        assert events[-1].type == "response.completed"
        assert events[-1].response.output_text == text
        with client.responses.stream(model=door.model, input="Hello") as helper:
            helper.until_done()
            assert helper.get_final_response().output_text == response_text(door)

    def test_in_the_background(self, door: Door, client: OpenAI) -> None:
        response = client.responses.create(model=door.model, input=TWO_TOOLS, background=True)
        assert response.status == "queued"
        deadline = time.monotonic() + 30
        while response.status in {"queued", "in_progress"} and time.monotonic() < deadline:
            time.sleep(0.1)
            response = client.responses.retrieve(response.id)
        assert response.status == "completed"

    def test_a_stream_is_resumed(self, door: Door, client: OpenAI) -> None:
        events: list[Any] = []
        stream = client.responses.create(
            model=door.model, input=TWO_TOOLS, stream=True, background=True
        )
        for event in stream:
            events.append(event)
            if len(events) == 5:
                stream.close()
                break
        rest = client.responses.retrieve(
            events[0].response.id, stream=True, starting_after=events[-1].sequence_number
        )
        events += [*rest]
        assert [event.sequence_number for event in events] == [*range(len(events))]
        assert events[-1].type == "response.completed"

    def test_it_is_cancelled(self, door: Door, client: OpenAI, effects: EffectsServer) -> None:
        effects.delay_seconds = 2.0
        try:
            response = client.responses.create(model=door.model, input=TWO_TOOLS, background=True)
            cancelled = client.responses.cancel(response.id)
        finally:
            effects.delay_seconds = 0.0
        assert cancelled.status == "cancelled"
        assert client.responses.cancel(response.id).status == "cancelled"

    def test_structured_output(self, door: Door, client: OpenAI) -> None:
        response = client.responses.parse(model=door.model, input="Oslo", text_format=Trip)
        assert response.output_parsed == Trip(city="", days=0)

    def test_a_chain_and_a_conversation(self, door: Door, client: OpenAI) -> None:
        first = client.responses.create(model=door.model, input="My name is A.")
        second = client.responses.create(
            model=door.model, input="Who am I?", previous_response_id=first.id
        )
        assert second.previous_response_id == first.id
        conversation = client.conversations.create(metadata={"a": "b"})
        for text in ("One", "Two"):
            client.responses.create(model=door.model, input=text, conversation=conversation.id)
        items = [*client.conversations.items.list(conversation.id, limit=1, order="asc")]
        assert [item.type for item in items] == ["message"] * 4
        assert client.conversations.retrieve(conversation.id) == conversation
        assert client.conversations.delete(conversation.id).deleted


class TestChatCompletions:
    def test_a_completion(self, door: Door, client: OpenAI) -> None:
        found = client.chat.completions.create(
            model=door.model,
            messages=[
                {"role": "developer", "content": "Be brief."},
                {"role": "user", "content": TWO_TOOLS},
            ],
        )
        (choice,) = found.choices
        assert choice.message.content == response_text(door)
        assert (choice.finish_reason, choice.message.tool_calls) == ("stop", None)

    def test_a_stream(self, door: Door, client: OpenAI) -> None:
        stream = client.chat.completions.create(
            model=door.model,
            messages=[{"role": "user", "content": "Hello"}],
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks = [*stream]
        assert len({(each.id, each.model, each.created, each.object) for each in chunks}) == 1
        *parts, last = chunks
        assert last.choices == []
        assert last.usage is not None
        assert {each.usage for each in parts} == {None}
        assert parts[0].choices[0].delta.role == "assistant"
        assert [each.choices[0].finish_reason for each in parts[-2:]] == [None, "stop"]
        text = "".join(each.choices[0].delta.content or "" for each in parts)
        assert text == response_text(door)

    def test_a_stream_without_usage(self, door: Door, client: OpenAI) -> None:
        stream = client.chat.completions.create(
            model=door.model, messages=[{"role": "user", "content": TWO_TOOLS}], stream=True
        )
        chunks = [*stream]
        assert all(each.choices and each.usage is None for each in chunks)
        assert not any(each.choices[0].delta.tool_calls for each in chunks)

    def test_structured_output(self, door: Door, client: OpenAI) -> None:
        found = client.chat.completions.parse(
            model=door.model,
            messages=[{"role": "user", "content": "Oslo"}],
            response_format=Trip,
        )
        assert found.choices[0].message.parsed == Trip(city="", days=0)
        with client.chat.completions.stream(
            model=door.model,
            messages=[{"role": "user", "content": "Oslo"}],
            response_format=Trip,
        ) as stream:
            message = stream.get_final_completion().choices[0].message
        assert message.parsed == Trip(city="", days=0)


def test_models(door: Door, client: OpenAI) -> None:
    (model,) = client.models.list()
    assert (model.id, model.owned_by) == (door.model, door.tenant.name)
    assert client.models.retrieve(f"agent:{door.agent.pk}") == model


def test_the_asynchronous_client(door: Door) -> None:
    async def use() -> tuple[Any, ...]:
        async with AsyncOpenAI(base_url=door.url, api_key=door.key) as client:
            responses = await asyncio.gather(
                *(client.responses.create(model=door.model, input=str(n)) for n in range(8))
            )
            stream = await client.responses.create(model=door.model, input="Hello", stream=True)
            events = [event async for event in stream]
            chat = await client.chat.completions.create(
                model=door.model, messages=[{"role": "user", "content": "Hello"}], stream=True
            )
            chunks = [chunk async for chunk in chat]
            return responses, events, chunks

    responses, events, chunks = asyncio.run(use())
    assert {response.status for response in responses} == {"completed"}
    assert events[-1].type == "response.completed"
    assert chunks[-1].choices[0].finish_reason == "stop"


class TestErrors:
    def test_their_classes(self, door: Door, client: OpenAI) -> None:
        hello: Any = {"model": door.model, "input": "Hello"}
        wrong_key = OpenAI(base_url=door.url, api_key="wrong")
        with pytest.raises(openai.AuthenticationError) as caught:
            wrong_key.responses.create(**hello)
        assert caught.value.code == "invalid_api_key"
        with pytest.raises(openai.NotFoundError) as missing:
            client.responses.create(model="gpt-4o", input="Hello")
        assert (missing.value.code, missing.value.param) == ("model_not_found", "model")
        with pytest.raises(openai.BadRequestError) as refused:
            client.responses.create(**hello, tools=[{"type": "web_search"}])
        assert (refused.value.code, refused.value.param) == ("unsupported_parameter", "tools")
        assert "run on the server" in refused.value.message

    def test_the_quota(self, door: Door) -> None:
        Tenant.objects.filter(pk=door.tenant.pk).update(rate_limit_requests=1)
        time.sleep(1)  # the key is cached for less
        client = OpenAI(base_url=door.url, api_key=door.key, max_retries=0)
        client.responses.create(model=door.model, input="Hello")
        with pytest.raises(openai.RateLimitError) as caught:
            client.responses.create(model=door.model, input="Hello")
        assert caught.value.code == "rate_limit_exceeded"
        assert caught.value.response.headers["Retry-After"]

    def test_without_redis(self, door: Door) -> None:
        with serving(REDIS_URL="redis://127.0.0.1:1/0", WEB_CONCURRENCY="1") as port:
            for path in ("/v1/responses", "/v1/chat/completions"):
                answer = LiveApi(port, door.key).post(path, {"model": door.model})
                error = answer.json["error"]
                assert (answer.status, error["type"]) == (503, "server_error")
                assert error["code"] == "service_unavailable"
                assert answer.headers["retry-after"] == "1"
                # Nothing has run, so clients may repeat the request.
                assert "x-should-retry" not in answer.headers

    def test_a_failed_run_is_not_repeated(self, door: Door, model_server: StubModel) -> None:
        model_server.says(error(400, "no"))
        row = LanguageModel.objects.create(
            name=f"failing {door.tenant.pk}", provider="openai", base_url=model_server.url
        )
        time.sleep(1)  # the models are cached for less
        agent = AgentFactory.create(tenant=door.tenant, model=row.name)
        client = OpenAI(base_url=door.url, api_key=door.key)
        with pytest.raises(openai.InternalServerError) as caught:
            client.responses.create(model=agent.name, input="Hello")
        assert (caught.value.status_code, caught.value.code) == (502, "model_error")
        assert Execution.objects.filter(tenant=door.tenant).count() == 1
        events = [*client.responses.create(model=agent.name, input="Hello", stream=True)]
        assert [event.type for event in events[-2:]] == ["error", "response.failed"]
        with pytest.raises(openai.APIError) as broken:
            [
                *client.chat.completions.create(
                    model=agent.name, messages=[{"role": "user", "content": "Hi"}], stream=True
                )
            ]
        assert broken.value.code == "model_error"
        row.delete()

    def test_a_repeated_key_runs_once(self, door: Door, client: OpenAI) -> None:
        headers = {"Idempotency-Key": "k-1"}
        results = []

        def run() -> None:
            found = client.responses.create(
                model=door.model, input=TWO_TOOLS, extra_headers=headers
            )
            results.append(found.id)

        threads = [threading.Thread(target=run) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(results) == 5
        assert len(set(results)) == 1
        assert Execution.objects.filter(tenant=door.tenant).count() == 1


def test_text_of_several_responses_of_the_model(door: Door, model_server: StubModel) -> None:
    """A response of the model that requests a call may have a text as well."""
    row = LanguageModel.objects.create(
        name=f"talking {door.tenant.pk}", provider="openai", base_url=model_server.url
    )
    time.sleep(1)  # the models are cached for less
    type(door.agent).objects.filter(pk=door.agent.pk).update(model=row.name)
    client = OpenAI(base_url=door.url, api_key=door.key)
    texts = []
    for stream in (False, True):
        model_server.says(
            completion("I look it up.", calls=[("first", "{}")]), completion("It is done.")
        )
        found: Any = client.chat.completions.create(
            model=door.model, messages=[{"role": "user", "content": "Hi"}], stream=stream
        )
        if stream:
            texts.append("".join(each.choices[0].delta.content or "" for each in found))
        else:
            texts.append(found.choices[0].message.content)
            assert found.usage.total_tokens == 30
    assert texts == ["I look it up.\n\nIt is done."] * 2
    row.delete()


@pytest.mark.parametrize(
    "answers",
    [
        [completion("I look.", calls=[("first", "{}")]), completion('{"city": "Oslo", "days": 1}')],
        [completion("Sure!"), completion('{"city": "Oslo", "days": 1}')],
        [completion('```json\n{"city": "Oslo", "days": 1}\n```')],
    ],
)
def test_structured_output_after_other_texts(
    door: Door, model_server: StubModel, answers: list[dict[str, Any]]
) -> None:
    row = LanguageModel.objects.create(
        name=f"structured {door.tenant.pk}", provider="openai", base_url=model_server.url
    )
    time.sleep(1)  # the models are cached for less
    type(door.agent).objects.filter(pk=door.agent.pk).update(model=row.name)
    client = OpenAI(base_url=door.url, api_key=door.key)
    model_server.says(*answers)
    response = client.responses.parse(model=door.model, input="Where?", text_format=Trip)
    assert response.output_parsed == Trip(city="Oslo", days=1)
    model_server.says(*answers)
    with client.responses.stream(model=door.model, input="Where?", text_format=Trip) as stream:
        assert stream.get_final_response().output_parsed == Trip(city="Oslo", days=1)
    row.delete()
