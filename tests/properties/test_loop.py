"""The loop with a scripted model: whatever it says, the run ends within its bounds, and every call that
it asks for gets exactly one result.
"""

import json
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from executions.aliases import aliases
from executions.loop import MAX_CALLS_PER_RESPONSE, Loop, LoopTool, Outcome, Step
from executions.providers import Message, ModelError, ModelResponse, ModelTimeout, ToolCall

TEXT = st.text(max_size=20)
IDS = st.sampled_from(["", "a", "b", "call_0", "call_1", "\0"])
NAMES = st.sampled_from(["known", "other", "unknown", "", "\ud800", "with blank"])
CALLS = st.builds(ToolCall, IDS, NAMES, st.sampled_from(["{}", '{"q": 1}', "nonsense", "", "\0"]))
TOKENS = st.none() | st.integers(0, 1000)
REPLIES = st.builds(
    ModelResponse,
    TEXT,
    st.lists(CALLS, max_size=4).map(tuple),
    st.sampled_from(["stop", "length", "content_filter"]),
    TOKENS,
    TOKENS,
)
ERRORS = st.sampled_from(
    [
        ModelError("-", provider="p", status=500, retryable=True),
        ModelTimeout("-", provider="p"),
    ]
)
# What the model says, and how many seconds it takes for it.
SCRIPTS = st.lists(st.tuples(REPLIES | ERRORS, st.floats(0, 40)), min_size=1, max_size=12)


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Result:
    text: str
    error: str | None = None
    latency_ms: int = 1


@dataclass
class Scripted:
    """A model that says what stands in its script, over and over, and remembers what it was told."""

    script: list[tuple[ModelResponse | ModelError, float]]
    clock: Clock
    asked: list[tuple[Message, ...]] = field(default_factory=list)

    def __call__(self, messages: tuple[Message, ...]) -> ModelResponse:
        said, seconds = self.script[len(self.asked) % len(self.script)]
        self.asked.append(messages)
        self.clock.now += seconds
        if isinstance(said, ModelError):
            raise said
        return said


@dataclass
class Tools:
    """Two tools; what they were called with."""

    clock: Clock
    seconds: float
    made: list[tuple[str, str]] = field(default_factory=list)

    def named(self, *names: str) -> dict[str, LoopTool]:
        return {name: LoopTool(f"the {name}", self._call(name)) for name in names}

    def _call(self, name: str) -> Any:
        def call(arguments: str) -> Result:
            self.made.append((name, arguments))
            self.clock.now += self.seconds
            return Result(f"result {len(self.made)} of {name}\0")

        return call


def ended(loop: Loop, prompt: str = "go") -> tuple[list[Step], Outcome]:
    """All its steps, and how it ended."""
    steps: list[Step] = []
    running = loop.run(prompt)
    while True:
        try:
            steps.append(next(running))
        except StopIteration as end:
            return steps, end.value


@given(script=SCRIPTS, max_steps=st.integers(1, 10), tool_seconds=st.floats(0, 30))
def test_any_model_ends_within_the_bounds_and_every_call_has_one_result(
    script: list[tuple[ModelResponse | ModelError, float]], max_steps: int, tool_seconds: float
) -> None:
    clock = Clock()
    model, tools = Scripted(script, clock), Tools(clock, tool_seconds)
    loop = Loop(model, "m", tools.named("known", "other"), max_steps, deadline=100, clock=clock)
    steps, outcome = ended(loop)

    # Bounds: as many questions as allowed, and none (but the first) and no call after the deadline.
    asked = [step for step in steps if step.kind == "model"]
    assert len(asked) == len(model.asked) <= max_steps
    assert clock.now < 100 + max(40, tool_seconds) or len(model.asked) == 1

    # Steps: each answer, followed by a result for each call it asked for, in order.
    position = 0
    for said, _ in [script[number % len(script)] for number in range(len(asked))]:
        assert steps[position].kind == "model"
        position += 1
        if isinstance(said, ModelError):
            break
        for call in said.tool_calls:
            assert steps[position].kind == "tool"
            assert steps[position].input == call.arguments.replace("\0", "\ufffd")
            position += 1
        if not said.tool_calls:
            break
    assert position == len(steps)

    # What the model is told: each of its calls exactly once, with an id of its own.
    for messages in model.asked:
        calls = [call.id for message in messages for call in message.tool_calls]
        results = [message.tool_call_id for message in messages if message.role == "tool"]
        assert calls == results
        assert len(set(calls)) == len(calls)
        assert all(calls)

    # Only what is known is called, with what the model wrote.
    called = [step for step in steps if step.kind == "tool" and not step.error]
    assert len(called) == len(tools.made)
    assert {name for name, _ in tools.made} <= {"known", "other"}

    # Everything can be kept.
    for step in steps:
        for text in (step.name, step.input, step.output, outcome.response):
            text.encode()
            assert "\0" not in text
        json.loads(step.input) if step.kind == "model" else None

    assert (outcome.status == "failed") == (outcome.error is not None)
    assert (
        outcome.stop_reason
        in {
            "succeeded": {"completed"},
            "failed": {"model_error", "model_timeout"},
            "incomplete": {"max_steps", "run_timeout", "max_output_tokens", "content_filter"},
        }[outcome.status]
    )
    answers = [step for step in asked if not step.error]
    for count in ("input_tokens", "output_tokens"):
        known = [getattr(step, count) for step in answers]
        expected = None if None in known or not known else sum(known)
        assert getattr(outcome, count) == expected


def test_too_many_calls_at_once_are_told_so() -> None:
    calls = tuple(
        ToolCall(str(number), "known", "{}") for number in range(MAX_CALLS_PER_RESPONSE + 3)
    )
    clock = Clock()
    model = Scripted([(ModelResponse("", calls), 0.0), (ModelResponse("done"), 0.0)], clock)
    tools = Tools(clock, 0)
    steps, outcome = ended(Loop(model, "m", tools.named("known"), 8, deadline=100, clock=clock))
    assert len(tools.made) == MAX_CALLS_PER_RESPONSE
    assert [step.error for step in steps].count("not_called") == 3
    assert (outcome.status, outcome.response) == ("succeeded", "done")


@given(st.sets(st.text(min_size=1, max_size=100), max_size=30))
def test_aliases_fit_every_provider_and_never_collide(names: set[str]) -> None:
    names = {name for name in names if name.isprintable()}
    found = aliases(names)
    assert found.keys() == names
    assert len(set(found.values())) == len(names)
    for name, alias in found.items():
        assert 1 <= len(alias) <= 64
        assert alias.isascii()
        assert alias.replace("-", "_").replace("_", "a").isalnum()
        if (
            len(name) <= 64
            and name.isascii()
            and name.replace("-", "a").replace("_", "a").isalnum()
        ):
            assert alias == name


def test_an_alias_is_the_same_whatever_else_there_is() -> None:
    (alias,) = aliases(["web search"]).values()
    assert aliases(["web search", "x", "y z"])["web search"] == alias
    # Unless somebody calls a tool just that.
    assert len(set(aliases(["web search", alias]).values())) == 2
