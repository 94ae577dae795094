"""Exchanges: whatever was recorded of earlier runs, providers accept the messages."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executions.context.exchanges import (
    INTERRUPTED,
    NOT_CALLED,
    Exchange,
    characters,
    joined,
    of_client,
    of_run,
    with_prompt,
)
from executions.models import Execution
from executions.providers import Message, ToolCall
from executions.steps import Step
from tests.conversations import assert_well_formed

TEXTS = st.text(max_size=5)
CALLS = st.builds(ToolCall, st.sampled_from(["", "a", "b", "call_0", "call_1"]), TEXTS, TEXTS)
MODEL_STEPS = st.builds(
    lambda text, calls, error: Step("model", "m", "[]", text, 0, error, tool_calls=calls),
    TEXTS,
    st.lists(CALLS, max_size=3).map(tuple),
    st.sampled_from(["", "", "", "unreachable"]),
)
TOOL_STEPS = st.builds(
    lambda output, is_running: Step("tool", "t", "{}", output, 0, is_running=is_running),
    st.text(min_size=1, max_size=5),
    st.booleans(),
)
ENDED = [each for each in Execution.Status if each not in Execution.UNFINISHED]
RUNS = st.tuples(
    st.text(min_size=1, max_size=5),
    st.lists(MODEL_STEPS | TOOL_STEPS, max_size=8),
    st.sampled_from(ENDED),
    TEXTS,
)
CLIENT = st.lists(
    st.tuples(st.sampled_from(["user", "assistant"]), st.text(min_size=1, max_size=5)), max_size=5
)


def exchange(
    prompt: str, steps: list[Step], status: Execution.Status, response: str = ""
) -> Exchange:
    execution = Execution(prompt=prompt, status=status, response=response)
    return of_run(execution, steps, keep_extra=True)


def wire(messages: tuple[Message, ...]) -> list[dict[str, Any]]:
    """Return the messages as a request has them, with a system prompt."""
    return [{"role": "system", "content": "s"}] + [
        {
            "role": each.role,
            "content": each.text,
            "tool_calls": [{"id": call.id} for call in each.tool_calls],
            "tool_call_id": each.tool_call_id,
        }
        for each in messages
    ]


@given(st.lists(st.tuples(CLIENT, RUNS), max_size=4), CLIENT, st.integers(0, 10))
def test_the_messages_are_well_formed(
    runs: list[tuple[Any, Any]], client: list[tuple[str, str]], dropped: int
) -> None:
    exchanges: list[Exchange] = []
    for messages, run in runs:
        exchanges += [*of_client(messages), exchange(*run)]
    exchanges += of_client(client)
    assert_well_formed(wire(with_prompt(joined(exchanges[dropped:]), "go")))


@given(RUNS)
def test_an_exchange_has_its_prompt_its_calls_and_an_answer(run: Any) -> None:
    prompt, steps, _, _ = run
    messages = exchange(*run).messages
    assert messages[0] == Message("user", prompt)
    assert messages[-1].role == "assistant"
    assert messages[-1].text.strip()
    requested = [
        call
        for step in steps
        if step.kind == "model" and not step.error
        for call in step.tool_calls
    ]
    assert [call for message in messages for call in message.tool_calls] == requested
    results = [message.tool_call_id for message in messages if message.role == "tool"]
    assert results == [call.id for call in requested]


CALL = ToolCall("1", "look", "{}")
REQUEST = Step("model", "m", "[]", "", 0, tool_calls=(CALL, ToolCall("2", "look", "{}")))
RESULT = Step("tool", "look", "{}", "found", 0)
RUNNING = Step("tool", "look", "{}", "", 0, is_running=True)


@pytest.mark.parametrize(
    ("steps", "results"),
    [
        ([REQUEST], [NOT_CALLED, NOT_CALLED]),
        ([REQUEST, RUNNING], [INTERRUPTED, NOT_CALLED]),
        ([REQUEST, RESULT], ["found", NOT_CALLED]),
        ([REQUEST, RESULT, RUNNING], ["found", INTERRUPTED]),
        ([REQUEST, RESULT, RESULT], ["found", "found"]),
    ],
)
def test_a_call_without_a_result_gets_one_that_says_so(
    steps: list[Step], results: list[str]
) -> None:
    messages = exchange("go", steps, Execution.Status.CANCELLED).messages
    assert [each.text for each in messages if each.role == "tool"] == results
    assert messages[-1].text == "[No response: the run was cancelled.]"


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (Execution.Status.SUCCEEDED, "[No response.]"),
        (Execution.Status.INCOMPLETE, "[No response: the run reached a limit.]"),
        (Execution.Status.FAILED, "[No response: the run failed.]"),
    ],
)
def test_a_run_without_a_response_says_why(status: Execution.Status, text: str) -> None:
    failed = Step("model", "m", "[]", "half", 0, "unreachable")
    assert exchange("go", [failed], status).messages[-1] == Message("assistant", text)


def test_the_response_of_a_run_without_steps_is_kept() -> None:
    messages = exchange("go", [], Execution.Status.SUCCEEDED, "Done.").messages
    assert messages == (Message("user", "go"), Message("assistant", "Done."))


def test_fields_of_a_server_are_only_for_its_model() -> None:
    call = ToolCall("1", "look", "{}", extra={"signature": "x"})
    step = Step("model", "m", "[]", "", 0, tool_calls=(call,), extra={"reasoning": "y"})
    execution = Execution(prompt="go", status=Execution.Status.FAILED)
    kept, dropped = (
        of_run(execution, [step], keep_extra=keep).messages[1] for keep in (True, False)
    )
    assert (kept.extra, kept.tool_calls[0].extra) == ({"reasoning": "y"}, {"signature": "x"})
    assert (dropped.extra, dropped.tool_calls[0].extra) == ({}, {})


def test_messages_of_the_client_are_exchanges() -> None:
    messages = [("assistant", "a"), ("user", "b"), ("user", "c"), ("assistant", "d"), ("user", "e")]
    assert [
        [(each.role, each.text) for each in found.messages] for found in of_client(messages)
    ] == [
        [("user", "[No prompt.]"), ("assistant", "a")],
        [("user", "b\n\nc"), ("assistant", "d")],
        [("user", "e")],
    ]


def test_the_size_counts_texts_arguments_and_fields_of_the_server() -> None:
    call = ToolCall("id", "name", "12345", extra={"a": 1})
    messages = [Message("assistant", "123", (call,), extra={"b": 2}), Message("tool", "1234")]
    assert characters(messages) == 3 + 5 + len('{"a": 1}') + len('{"b": 2}') + 4
