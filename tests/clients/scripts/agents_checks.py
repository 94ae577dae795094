"""OpenAI's Agents SDK, with agents of this platform as its models."""

from agents import (
    Agent,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    Runner,
    SQLiteSession,
    set_tracing_disabled,
)
from checks import KEY, MODEL, START, TWO_TOOLS, URL, run
from openai import AsyncOpenAI
from pydantic import BaseModel

set_tracing_disabled(True)


class Trip(BaseModel):
    """A trip."""

    city: str
    days: int


def agents(**options):
    client = AsyncOpenAI(base_url=URL, api_key=KEY)
    for kind in (OpenAIResponsesModel, OpenAIChatCompletionsModel):
        model = kind(model=MODEL, openai_client=client)
        yield Agent(name="Assistant", instructions="Be brief.", model=model, **options)


async def check_runs():
    first, second = [(await Runner.run(agent, TWO_TOOLS)).final_output for agent in agents()]
    assert first.startswith(START)
    assert first == second


async def check_streams():
    for agent in agents():
        result = Runner.run_streamed(agent, TWO_TOOLS)
        events = [event.type async for event in result.stream_events()]
        assert "raw_response_event" in events
        assert result.final_output.startswith(START)


async def check_structured_output():
    for agent in agents(output_type=Trip):
        assert (await Runner.run(agent, "Oslo")).final_output == Trip(city="", days=0)


async def check_several_turns():
    for agent in agents():
        first = await Runner.run(agent, TWO_TOOLS)
        messages = [*first.to_input_list(), {"role": "user", "content": "Go on"}]
        assert (await Runner.run(agent, messages)).final_output.startswith(START)
        session = SQLiteSession("s")
        for text in (TWO_TOOLS, "Go on", "And?"):
            assert (await Runner.run(agent, text, session=session)).final_output


async def check_state_on_the_server():
    agent = next(agents())
    first = await Runner.run(agent, "My name is A.")
    second = await Runner.run(agent, "Who?", previous_response_id=first.last_response_id)
    assert second.last_response_id != first.last_response_id
    client = AsyncOpenAI(base_url=URL, api_key=KEY)
    conversation = await client.conversations.create()
    for text in ("One", "Two"):
        assert (await Runner.run(agent, text, conversation_id=conversation.id)).final_output
    items = [item async for item in client.conversations.items.list(conversation.id)]
    assert len(items) == 4


run(globals())
