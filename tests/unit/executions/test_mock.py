"""The mock model: its responses are the same on every machine and in every process."""

import functools
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.language_models import KnownModel
from executions.providers import (
    AgentProfile,
    Message,
    ModelRequest,
    ModelResponse,
    ToolCall,
    ToolDefinition,
)
from executions.providers.mock import Mock, respond, words
from tests.cpu_time import growth

_AGENT = uuid.UUID("0197a3c1-0c55-7d0e-8a41-6a1f7c8e2b90")
BASE: dict[str, Any] = {
    "agent_id": _AGENT,
    "agent_name": "Researcher",
    "role": "research analyst",
    "tools": ["calculator", "web_search"],
    "prompt": "What changed in the third quarter?",
    "model": "gpt-4o",
}
PINNED: list[tuple[dict[str, Any], str]] = [
    (
        {},
        (
            "[Mock Response] Agent Researcher (research analyst), with the tools calculator, "
            'web_search, was asked on gpt-4o: "What changed in the third quarter?" '
            "[digest fb9f67a52c6d786f]"
        ),
    ),
    (
        {"tools": [], "prompt": "x" * 101, "model": "claude-3-opus"},
        (
            "[Mock Response] Agent Researcher (research analyst), with no tools, was asked on "
            f'claude-3-opus: "{"x" * 100}..." [digest 93f0e4f5d2565947]'
        ),
    ),
    (
        {
            "agent_name": "Ада",
            "tools": ["\U0001f600"],
            "prompt": " e\u0301\r\n\U0001f469\u200d\U0001f52c ",
        },
        (
            "[Mock Response] Agent Ада (research analyst), with the tools \U0001f600, was asked on "
            'gpt-4o: " e\u0301\r\n\U0001f469\u200d\U0001f52c " [digest f086ac4f7720a82c]'
        ),
    ),
]


@pytest.mark.parametrize(("changes", "expected"), PINNED)
def test_these_responses_do_not_change(changes: dict[str, Any], expected: str) -> None:
    assert respond(**{**BASE, **changes}).encode() == expected.encode()


_OTHER_PROCESS = """
import json, sys, uuid
from executions.providers.mock import respond
for arguments in json.load(sys.stdin):
    arguments["agent_id"] = uuid.UUID(arguments["agent_id"])
    sys.stdout.buffer.write(respond(**arguments).encode() + b"\\0")
"""


@pytest.mark.parametrize("seed", ["0", "1", "4294967295"])
def test_the_bytes_do_not_depend_on_process_seed_time_zone_and_locale(seed: str) -> None:
    arguments = [{**BASE, **changes, "agent_id": str(_AGENT)} for changes, _ in PINNED]
    environment = {
        **os.environ,
        "PYTHONHASHSEED": seed,
        "TZ": "Pacific/Kiritimati",
        "LC_ALL": "C",
        "PYTHONUTF8": "0",
    }
    completed = subprocess.run(
        [sys.executable, "-c", _OTHER_PROCESS],
        input=json.dumps(arguments).encode(),
        env=environment,
        capture_output=True,
        check=True,
    )
    assert completed.stdout.decode().split("\0")[:-1] == [expected for _, expected in PINNED]


@pytest.mark.parametrize(
    ("length", "dots"), [(1, False), (99, False), (100, False), (101, True), (10_000, True)]
)
def test_the_first_100_characters_are_quoted(length: int, dots: bool) -> None:
    prompt = "\U0001f600" * length
    quoted = prompt[:100] + ("..." if dots else "")
    assert f': "{quoted}" [digest ' in respond(**{**BASE, "prompt": prompt})


def test_the_digest_covers_the_whole_prompt() -> None:
    responses = {respond(**{**BASE, "prompt": "x" * length}) for length in range(101, 110)}
    assert len(responses) == 9
    assert len({response.rsplit("[digest ", 1)[0] for response in responses}) == 1


@pytest.mark.parametrize(
    "change", [{"agent_id": uuid.UUID(int=1)}, {"prompt": "Other?"}, {"model": "gpt-4"}], ids=str
)
def test_agent_prompt_and_model_change_the_digest(change: dict[str, Any]) -> None:
    def digest(changes: dict[str, Any]) -> str:
        return respond(**{**BASE, **changes}).rsplit(" ", 1)[1]

    assert digest({}) != digest(change)
    assert digest({}) == digest({"role": "another", "agent_name": "x", "tools": []})


def test_the_parts_of_the_digest_are_separated() -> None:
    one = respond(**{**BASE, "model": "gpt-4", "prompt": "o\nx"})
    other = respond(**{**BASE, "model": "gpt-4o", "prompt": "\nx"})
    assert one.rsplit(" ", 1)[1] != other.rsplit(" ", 1)[1]


def request_for(prompt: str, *tools: str) -> ModelRequest:
    """Return a request of an agent with tools of these names."""
    return ModelRequest(
        model=KnownModel("gpt-4o", "mock"),
        agent=AgentProfile(_AGENT, "Researcher", "research analyst", tools),
        system_prompt="",
        messages=(Message("user", prompt),),
        tools=tuple(ToolDefinition(f"f{n}", name, "d", {}) for n, name in enumerate(tools)),
    )


def test_the_longest_tool_name_that_matches_is_called() -> None:
    request = request_for('@a {}\n@a b {"c": 1}\n@a bc {}\n@a{}\n@b {}', "a", "a b", "a b {}")
    calls = Mock().complete(request).tool_calls
    assert [(call.name, call.arguments) for call in calls] == [
        ("f0", "{}"),
        ("f1", '{"c": 1}'),
        ("f0", "{}"),
    ]


def test_the_time_to_find_calls_hardly_depends_on_the_number_of_tools() -> None:
    def search(tools: int) -> Callable[[], bool]:
        names = (f"{n}" + "x" * (n % 95) for n in range(tools))
        return functools.partial(Mock().is_local, request_for("@\n" * 1_000, *names))

    assert search(1)()
    assert growth(search, 250) < 4


def streamed(request: ModelRequest) -> tuple[list[str], ModelResponse]:
    """Return the pieces that the mock streams, and its response."""
    pieces, stream = [], Mock().stream(request)
    while True:
        try:
            pieces.append(next(stream))
        except StopIteration as end:
            return pieces, end.value


def test_it_streams_words() -> None:
    pieces, response = streamed(request_for("a  b\n"))
    assert pieces[:3] == ["[Mock ", "Response] ", "Agent "]
    assert pieces[-5:-1] == ['"a  ', "b\n", '" ', "[digest "]
    assert response == Mock().complete(request_for("a  b\n"))
    assert "".join(pieces) == response.text


def test_it_streams_no_text_with_calls() -> None:
    request = request_for("@a {}", "a")
    assert streamed(request) == ([], Mock().complete(request))


@given(st.text())
def test_words_are_the_whole_text(text: str) -> None:
    assert "".join(words(text)) == text
    assert all(words(text))


def test_earlier_turns_do_not_change_its_response() -> None:
    request = request_for("@a {}\nNow?", "a")
    call = ToolCall("call_1", "f0", "{}")
    earlier = (
        Message("user", "@a {}"),
        Message("assistant", "", (call,)),
        Message("tool", "earlier", tool_call_id="call_1", name="f0"),
        Message("assistant", "Then."),
    )
    result = Message("tool", "later", tool_call_id="call_1", name="f0")
    for new in (request.messages, (*request.messages, Message("assistant", "", (call,)), result)):
        alone, after = (replace(request, messages=turn) for turn in (new, earlier + new))
        assert Mock().complete(after) == Mock().complete(alone)
        assert Mock().is_local(after) == Mock().is_local(alone)
    assert Mock().complete(request).tool_calls == (call,)
    local = replace(request, messages=(*earlier, Message("user", "No call.")))
    assert Mock().is_local(local)
