"""The loop with a scripted model.

For all responses, the run ends within its limits and each requested call has exactly one result.
"""

import json
import uuid
from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from executions.aliases import aliases
from executions.loop import (
    MAX_CALLS_PER_RESPONSE,
    Loop,
    ModelStream,
)
from executions.outcomes import Outcome
from executions.providers import Message, ModelError, ModelResponse, ModelTimeout, ToolCall
from executions.providers.mock import words
from executions.steps import NOT_MADE_ERRORS, Decision, LoopTool, Step

TEXT = st.text(max_size=20)
IDS = st.sampled_from(["", "a", "b", "call_0", "call_1", "\0"])
NAMES = st.sampled_from(["known", "other", "unknown", "", "\ud800", "with blank"])
CALLS = st.builds(ToolCall, IDS, NAMES, st.sampled_from(["{}", '{"q": 1}', "nonsense", "", "\0"]))
TOKENS = st.none() | st.integers(0, 1000)
RESPONSES = st.builds(
    ModelResponse,
    TEXT,
    st.lists(CALLS, max_size=4).map(tuple),
    st.sampled_from(["stop", "length", "content_filter"]),
    TOKENS,
    TOKENS,
)
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
VALID = ['{"a": 1}', ' {"a": 2, "b": null}\n']
OUTPUTS = st.builds(
    ModelResponse,
    st.sampled_from([*VALID, "{}", '{"a": "1"}', "[]", "", "no"]),
    st.lists(CALLS, max_size=1).map(tuple),
    st.sampled_from(["stop", "stop", "length"]),
)
ERRORS = st.sampled_from(
    [
        ModelError("-", provider="p", status=500, retryable=True),
        ModelTimeout("-", provider="p"),
    ]
)
# The responses of the model, with the seconds that each takes.
SCRIPTS = st.lists(st.tuples(RESPONSES | ERRORS, st.floats(0, 40)), min_size=1, max_size=12)


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
    """A model that repeats the responses of a script, and stores the requests."""

    script: list[tuple[ModelResponse | ModelError, float]]
    clock: Clock
    requests: list[tuple[Message, ...]] = field(default_factory=list)
    had_tools: list[bool] = field(default_factory=list)

    def __call__(self, messages: tuple[Message, ...], with_tools: bool) -> ModelStream:
        response, seconds = self.script[len(self.requests) % len(self.script)]
        self.requests.append(messages)
        self.had_tools.append(with_tools)
        self.clock.now += seconds
        if isinstance(response, ModelError):
            raise response
        yield from words(response.text)
        return response


@dataclass
class Tools:
    """The tools of a test, and their calls."""

    clock: Clock
    seconds: float
    calls: list[tuple[str, str]] = field(default_factory=list)

    def named(self, *names: str) -> dict[str, LoopTool]:
        return {name: LoopTool(f"the {name}", self._call(name)) for name in names}

    def _call(self, name: str) -> Any:
        def call(arguments: str) -> Result:
            self.calls.append((name, arguments))
            self.clock.now += self.seconds
            return Result(f"result {len(self.calls)} of {name}\0")

        return call


def run_to_end(loop: Loop, recorded: list[Step] | None = None) -> tuple[list[Step], Outcome]:
    """Return the events, which are the steps and those before a call, and the outcome.

    The pieces of a text are those of the next step.
    """
    events: list[Step] = []
    pieces: list[str] = []
    running = loop.run([Message("user", "go")], recorded or ())
    while True:
        try:
            event = next(running)
        except StopIteration as end:
            return events, end.value
        if isinstance(event, str):
            pieces.append(event)
            continue
        assert "".join(pieces) == (event.output if event.kind == "model" else "")
        pieces.clear()
        events.append(event)


def finished(events: list[Step]) -> list[Step]:
    return [step for step in events if not step.is_running]


def assert_each_call_is_announced(events: list[Step]) -> None:
    for before, step in zip([None, *events], events, strict=False):
        if step.kind == "tool" and step.error not in NOT_MADE_ERRORS:
            assert step.is_running or (before and before.is_running and before.input == step.input)


@given(
    script=SCRIPTS,
    max_steps=st.integers(1, 10),
    max_tool_calls=st.integers(1, 30),
    max_bytes=st.integers(0, 2_000),
    tool_seconds=st.floats(0, 30),
)
def test_every_run_ends_within_its_limits_and_every_call_has_one_result(
    script: list[tuple[ModelResponse | ModelError, float]],
    max_steps: int,
    max_tool_calls: int,
    max_bytes: int,
    tool_seconds: float,
) -> None:
    clock = Clock()
    model, tools = Scripted(script, clock), Tools(clock, tool_seconds)
    loop = Loop(
        model,
        "m",
        tools.named("known", "other"),
        max_steps,
        max_tool_calls,
        max_bytes,
        deadline=100,
        clock=clock,
    )
    events, outcome = run_to_end(loop)
    steps = finished(events)

    assert_each_call_is_announced(events)

    # Limits: at most `max_steps` requests, and after the deadline no call and no request but the first.
    model_steps = [step for step in steps if step.kind == "model"]
    assert len(model_steps) == len(model.requests) <= max_steps
    assert clock.now < 100 + max(40, tool_seconds) or len(model.requests) == 1

    # Steps: each response, followed by a result for each call that it requests, in order.
    position = 0
    for response, _ in [script[number % len(script)] for number in range(len(model_steps))]:
        assert steps[position].kind == "model"
        position += 1
        if isinstance(response, ModelError) or response.finish_reason == "content_filter":
            break
        for call in response.tool_calls:
            if position == len(steps) and outcome.stop_reason in {
                "max_tool_calls",
                "max_run_bytes",
            }:
                break
            assert steps[position].kind == "tool"
            assert steps[position].input == call.arguments.replace("\0", "\ufffd")
            position += 1
        if not response.tool_calls:
            break
    assert position == len(steps)
    assert len(steps) - len(model_steps) <= max_tool_calls

    # Requests: each call has exactly one result, and a unique id.
    for messages in model.requests:
        calls = [call.id for message in messages for call in message.tool_calls]
        results = [message.tool_call_id for message in messages if message.role == "tool"]
        assert calls == results
        assert len(set(calls)) == len(calls)
        assert all(calls)

    # Only known tools are called.
    called = [step for step in steps if step.kind == "tool" and not step.error]
    assert len(called) == len(tools.calls)
    assert {name for name, _ in tools.calls} <= {"known", "other"}

    # PostgreSQL accepts all texts.
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
            "incomplete": {
                *("max_steps", "max_tool_calls", "max_run_bytes"),
                *("run_timeout", "max_output_tokens", "content_filter"),
            },
        }[outcome.status]
    )
    responses = [step for step in model_steps if not step.error]
    for count in ("input_tokens", "output_tokens"):
        known = [getattr(step, count) for step in responses]
        expected = None if None in known or not known else sum(known)
        assert getattr(outcome, count) == expected


def test_calls_over_the_limit_per_response_are_not_made() -> None:
    calls = tuple(
        ToolCall(str(number), "known", "{}") for number in range(MAX_CALLS_PER_RESPONSE + 3)
    )
    clock = Clock()
    model = Scripted([(ModelResponse("", calls), 0.0), (ModelResponse("done"), 0.0)], clock)
    tools = Tools(clock, 0)
    events, outcome = run_to_end(
        Loop(model, "m", tools.named("known"), 8, 1_000, 10**6, deadline=100, clock=clock)
    )
    steps = finished(events)
    assert len(tools.calls) == MAX_CALLS_PER_RESPONSE
    assert [step.error for step in steps].count("not_called") == 3
    assert (outcome.status, outcome.response) == ("succeeded", "done")


@given(
    script=st.lists(
        st.tuples(OUTPUTS | ERRORS, st.floats(0, 40)),
        min_size=1,
        max_size=6,
    ),
    max_steps=st.integers(1, 4),
    max_bytes=st.integers(0, 2_000),
)
def test_an_invalid_output_is_requested_again_once(
    script: list[tuple[ModelResponse | ModelError, float]], max_steps: int, max_bytes: int
) -> None:
    clock = Clock()
    model, tools = Scripted(script, clock), Tools(clock, 0)
    loop = Loop(
        model,
        "m",
        tools.named("known"),
        max_steps,
        100,
        max_bytes,
        deadline=100,
        output_schema=SCHEMA,
        clock=clock,
    )
    events, outcome = run_to_end(loop)
    steps = finished(events)
    models = [step for step in steps if step.kind == "model"]
    # The repair is the last request, and it does not count against the limit.
    assert all(model.had_tools[:-1])
    is_repaired = not model.had_tools[-1]
    assert len(models) <= max_steps + is_repaired
    if is_repaired:
        first, last = models[-2:]
        assert "valid" in json.loads(last.input)[-1]["content"]
        assert not first.tool_calls
        assert not last.tool_calls
        assert first.output not in VALID
    assert (outcome.output is not None) == (outcome.status == "succeeded")
    if outcome.status == "succeeded":
        assert outcome.output == json.loads(outcome.response)
        assert outcome.response in VALID
    assert bool(outcome.output_errors) == (outcome.stop_reason == "output_invalid")
    if outcome.output_errors:
        assert is_repaired
        assert outcome.status == "failed"
        assert models[-1].output not in VALID


@given(
    responses=st.lists(RESPONSES | OUTPUTS, min_size=1, max_size=6),
    output_schema=st.sampled_from([None, SCHEMA]),
    cut=st.integers(0, 40),
    max_steps=st.integers(1, 6),
    max_tool_calls=st.integers(1, 10),
    max_bytes=st.integers(0, 2_000),
)
def test_an_interrupted_run_continues_as_if_it_had_not_been(
    *,
    responses: list[ModelResponse],
    output_schema: Any,
    cut: int,
    max_steps: int,
    max_tool_calls: int,
    max_bytes: int,
) -> None:
    requests: list[tuple[Message, ...]] = []
    calls: list[str] = []

    def respond(messages: tuple[Message, ...], with_tools: bool) -> ModelStream:
        requests.append(messages)
        number = [message.role for message in messages].count("assistant")
        response = responses[number % len(responses)]
        yield from words(response.text)
        return response

    def call(arguments: str) -> Result:
        calls.append(arguments)
        return Result(f"result of {arguments}")

    loop = Loop(
        respond,
        "m",
        {name: LoopTool(name, call) for name in ("known", "other")},
        max_steps,
        max_tool_calls,
        max_bytes,
        deadline=float("inf"),
        output_schema=output_schema,
        clock=Clock(),
    )
    events, outcome = run_to_end(loop)
    all_requests, all_calls = [*requests], [*calls]
    recorded = finished(events[:cut])
    requests.clear()
    calls.clear()
    rest, resumed = run_to_end(loop, recorded)
    assert recorded + finished(rest) == finished(events)
    assert resumed == outcome
    # Neither the model nor a tool is called again for a recorded step.
    assert requests == all_requests[len(all_requests) - len(requests) :]
    assert len(requests) == sum(step.kind == "model" for step in rest)
    assert calls == all_calls[len(all_calls) - len(calls) :]


@given(st.sets(st.text(min_size=1, max_size=100), max_size=30))
def test_aliases_fit_every_provider_and_never_collide(names: set[str]) -> None:
    names = {name for name in names if name.isprintable()}
    alias_by_name = aliases(names)
    assert alias_by_name.keys() == names
    assert len(set(alias_by_name.values())) == len(names)
    for name, alias in alias_by_name.items():
        assert 1 <= len(alias) <= 64
        assert alias.isascii()
        assert alias.replace("-", "_").replace("_", "a").isalnum()
        if (
            len(name) <= 64
            and name.isascii()
            and name.replace("-", "a").replace("_", "a").isalnum()
        ):
            assert alias == name


def test_an_alias_does_not_depend_on_the_other_names() -> None:
    (alias,) = aliases(["web search"]).values()
    assert aliases(["web search", "x", "y z"])["web search"] == alias
    # Unless a tool has this name.
    assert len(set(aliases(["web search", alias]).values())) == 2


def run_with_decisions(
    loop: Loop, answers: list[bool]
) -> tuple[list[Step], dict[int, Decision], Outcome]:
    """Run to the end, and decide about the calls whenever the run waits, as processes do.

    Returns the steps, the decisions by the positions of their calls, and the outcome.
    """
    steps: list[Step] = []
    decisions: dict[int, Decision] = {}
    loop.decisions = lambda count: [decisions.get(len(steps) + offset) for offset in range(count)]
    while True:
        running = loop.run([Message("user", "go")], [*steps])
        while True:
            try:
                event = next(running)
            except StopIteration as end:
                outcome: Outcome = end.value
                break
            if isinstance(event, Step) and not event.is_running:
                steps.append(event)
        if not outcome.open_calls:
            return steps, decisions, outcome
        assert outcome.status == "requires_action"
        for call in outcome.open_calls:
            position = len(steps) + call.offset
            # No call is asked about twice.
            assert position not in decisions
            is_approved = answers[len(decisions) % len(answers)]
            decisions[position] = Decision(
                uuid.uuid4(), is_approved, call.tool.id, call.arguments, "Because."
            )


@given(
    script=st.lists(st.tuples(RESPONSES, st.just(0.0)), min_size=1, max_size=6),
    max_steps=st.integers(1, 6),
    max_tool_calls=st.integers(1, 8),
    answers=st.lists(st.booleans(), min_size=1, max_size=6),
)
def test_a_call_is_made_as_it_was_approved_and_never_when_it_was_declined(
    script: list[tuple[ModelResponse | ModelError, float]],
    max_steps: int,
    max_tool_calls: int,
    answers: list[bool],
) -> None:
    clock = Clock()

    def loop_with(tools: Tools, *, needs_approval: bool) -> Loop:
        known = replace(tools.named("known")["known"], needs_approval=needs_approval)
        return Loop(
            Scripted(script, clock),
            "m",
            {"known": known, **tools.named("other")},
            max_steps,
            max_tool_calls,
            10**6,
            deadline=100,
            clock=clock,
        )

    free, asked, all_approved = Tools(clock, 0), Tools(clock, 0), Tools(clock, 0)
    plain = finished(run_to_end(loop_with(free, needs_approval=False))[0])
    steps, decisions, _ = run_with_decisions(loop_with(asked, needs_approval=True), answers)
    approved, _, _ = run_with_decisions(loop_with(all_approved, needs_approval=True), [True])

    assert [replace(step, approval_id=None) for step in approved] == plain
    assert all_approved.calls == free.calls
    # The calls are the same ones, whatever the decisions are.
    assert [(step.kind, step.input) for step in steps if step.kind == "tool"] == [
        (step.kind, step.input) for step in plain if step.kind == "tool"
    ]
    for position, decision in decisions.items():
        step = steps[position]
        assert (step.approval_id, step.input) == (decision.approval_id, decision.arguments)
        assert (step.error == "declined") == (not decision.is_approved)
    made = [step.input for step in steps if step.kind == "tool" and not step.error]
    assert [arguments for _, arguments in asked.calls] == made
    assert not [
        step
        for step in steps
        if step.name == "the known" and not step.approval_id and not step.error
    ]
