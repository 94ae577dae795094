"""LangChain's `ChatOpenAI`."""

import openai
from checks import KEY, MODEL, START, TWO_TOOLS, URL, run
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

chat = ChatOpenAI(base_url=URL, api_key=KEY, model=MODEL)
responses = ChatOpenAI(base_url=URL, api_key=KEY, model=MODEL, use_responses_api=True)


class Trip(BaseModel):
    """A trip."""

    city: str
    days: int


def check_chat():
    message = chat.invoke("Hello")
    assert message.content.startswith(START), message
    assert message.response_metadata["finish_reason"] == "stop"
    assert message.tool_calls == []


def check_chat_stream():
    whole = chat.invoke("Hello").content
    chunks = [*chat.stream("Hello", stream_usage=True)]
    assert len(chunks) > 5
    assert "".join(chunk.content for chunk in chunks) == whole
    assert any(chunk.usage_metadata is not None for chunk in chunks)


def check_history():
    messages = [
        SystemMessage("Be brief."),
        HumanMessage("Hi"),
        AIMessage("Hello."),
        HumanMessage("Who?"),
    ]
    for model in (chat, responses):
        assert model.invoke(messages).text.startswith(START)


def check_responses():
    message = responses.invoke(TWO_TOOLS)
    assert message.text.startswith(START), message
    assert message.response_metadata["status"] == "completed"
    assert message.id.startswith("resp_")
    assert message.tool_calls == []
    # The calls of the server's tools come back with the next request.
    assert responses.invoke([HumanMessage(TWO_TOOLS), message, HumanMessage("Go on")]).text


def check_responses_stream():
    whole = responses.invoke("Hello").text
    assert "".join(chunk.text for chunk in responses.stream("Hello")) == whole
    assert [*responses.stream(TWO_TOOLS)]


def check_previous_response():
    linked = ChatOpenAI(
        base_url=URL,
        api_key=KEY,
        model=MODEL,
        use_responses_api=True,
        use_previous_response_id=True,
    )
    first = linked.invoke("My name is A.")
    second = linked.invoke([HumanMessage("My name is A."), first, HumanMessage("Who am I?")])
    assert second.text.startswith(START)


def check_structured_output():
    for model in (chat, responses):
        assert model.with_structured_output(Trip).invoke("Oslo") == Trip(city="", days=0)


async def check_asynchronous():
    message = await chat.ainvoke("Hello")
    chunks = [chunk.text async for chunk in responses.astream("Hello")]
    assert message.text == "".join(chunks)


def check_tools_of_the_client_are_refused():
    @tool
    def weather(city: str) -> str:
        """Return the weather."""
        return "sunny"

    for model in (chat, responses):
        try:
            model.bind_tools([weather]).invoke("Hello")
        except openai.BadRequestError as error:
            assert error.code == "unsupported_parameter"
        else:
            raise AssertionError("the tools were accepted")


run(globals())
