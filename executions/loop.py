"""The agent loop: a model and a way to call tools in, steps out. No ORM, no HTTP, no settings.

The model is asked, the calls it asks for are made one after the other, it is told their results, and
is asked again, until it asks for no more calls or a bound is reached: a number of times that the model
is asked, and a time. Whatever the model says, every call it asks for gets exactly one result; one
whose result nobody would read any more is not made, and that is its result.
"""

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import orjson

from executions.providers import Message, ModelError, ModelTimeout, Reply, ToolCall

# A model that asks for more at once is told so; most never ask for a tenth of it.
MAX_CALLS_A_TURN = 64


class Result(Protocol):
    """What became of a call: what the model is told, and None or a code of what went wrong."""

    @property
    def text(self) -> str: ...
    @property
    def error(self) -> str | None: ...
    @property
    def latency_ms(self) -> int: ...


@dataclass(frozen=True, slots=True)
class LoopTool:
    """A tool: the tenant's name of it, and how it is called with a text of arguments."""

    name: str
    call: Callable[[str], Result]


@dataclass(frozen=True, slots=True)
class Step:
    """A call of the model or of a tool, as it goes on record.

    Of the model: what it was newly told, as JSON, and the text of its answer. Of a tool: the arguments
    as the model wrote them, and what the model was told.
    """

    kind: Literal["model", "tool"]
    name: str
    input: str
    output: str
    latency_ms: int
    error: str = ""
    input_tokens: int | None = None
    output_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended. `error` is set where it failed. Tokens are sums over the model's answers, None
    where one of them did not tell; `response` is the last text that the model wrote.
    """

    status: Literal["succeeded", "incomplete", "failed"]
    stop_reason: str
    response: str
    input_tokens: int | None
    output_tokens: int | None
    error: ModelError | None = None


Ask = Callable[[tuple[Message, ...]], Reply]


@dataclass(slots=True)
class Loop:
    """One run. `tools` stand under the names that the model calls them by; `deadline` is a reading of
    `clock`, in seconds.
    """

    ask: Ask
    model_name: str
    tools: Mapping[str, LoopTool]
    max_steps: int
    deadline: float
    clock: Callable[[], float] = time.monotonic

    def run(self, prompt: str) -> Generator[Step, None, Outcome]:
        """Gives each step once it is over, and returns the outcome."""
        conversation = _Conversation(prompt)
        for number in range(1, self.max_steps + 1):
            if number > 1 and self._is_late():
                return conversation.ended("incomplete", "run_timeout")
            news, started = conversation.news(), self.clock()
            try:
                reply = conversation.heard(self.ask(tuple(conversation.messages)))
            except ModelError as error:
                yield self._unanswered(news, error, started)
                return self._failed(conversation, error)
            yield self._answered(news, reply, started)
            if not reply.tool_calls:
                return conversation.ended(*_ENDS[reply.finish_reason])
            for call in reply.tool_calls:
                step = self._called(call, self._why_not(conversation, number))
                conversation.told(call, step.output)
                yield step
        return conversation.ended("incomplete", "max_steps")

    def _is_late(self) -> bool:
        return self.clock() >= self.deadline

    def _failed(self, conversation: "_Conversation", error: ModelError) -> Outcome:
        """A run that had got somewhere when its time was up is incomplete."""
        if isinstance(error, ModelTimeout) and conversation.answers and self._is_late():
            return conversation.ended("incomplete", "run_timeout")
        return conversation.ended("failed", error.error_code.lower(), error)

    def _answered(self, news: str, reply: Reply, started: float) -> Step:
        return Step(
            kind="model",
            name=self.model_name,
            input=news,
            output=reply.text,
            latency_ms=self._since(started),
            input_tokens=reply.input_tokens,
            output_tokens=reply.output_tokens,
        )

    def _unanswered(self, news: str, error: ModelError, started: float) -> Step:
        code = error.error_code.lower()
        return Step("model", self.model_name, news, "", self._since(started), code)

    def _why_not(self, conversation: "_Conversation", number: int) -> str:
        """Why the next call is not made; "" where it is."""
        if number == self.max_steps:
            return "the run ends here, after as many steps as it may take"
        if self._is_late():
            return "the time of the run is up"
        if conversation.calls_this_turn >= MAX_CALLS_A_TURN:
            return f"at most {MAX_CALLS_A_TURN} calls are made at once"
        return ""

    def _called(self, call: ToolCall, why_not: str) -> Step:
        tool = self.tools.get(call.name)
        name = tool.name if tool else call.name
        if why_not:
            return Step("tool", name, call.arguments, f"Not called: {why_not}.", 0, "not_called")
        if tool is None:
            known = f"Your tools: {', '.join(self.tools)}." if self.tools else "You have no tools."
            text = f"There is no tool of this name. {known}"
            return Step("tool", name, call.arguments, text, 0, "unknown_tool")
        result = tool.call(call.arguments)
        text = storable(result.text)
        return Step("tool", name, call.arguments, text, result.latency_ms, result.error or "")

    def _since(self, started: float) -> int:
        return max(round((self.clock() - started) * 1000), 0)


_ENDS: Mapping[str, tuple[Literal["succeeded", "incomplete"], str]] = {
    "stop": ("succeeded", "completed"),
    "length": ("incomplete", "max_output_tokens"),
    "content_filter": ("incomplete", "content_filter"),
}


class _Conversation:
    """What was said so far."""

    def __init__(self, prompt: str) -> None:
        self.messages = [Message("user", prompt)]
        self.answers: list[Reply] = []
        self.calls_this_turn = 0
        self._news_from = 0
        self._ids: set[str] = set()

    def news(self) -> str:
        """What the model was not told yet, as JSON."""
        return orjson.dumps([_as_json(told) for told in self.messages[self._news_from :]]).decode()

    def heard(self, reply: Reply) -> Reply:
        """The model's answer, made so that it can be kept and sent: calls have ids of their own."""
        reply = replace(
            reply,
            text=storable(reply.text),
            tool_calls=tuple(self._with_id(call) for call in reply.tool_calls),
        )
        self.answers.append(reply)
        self.messages.append(Message("assistant", reply.text, reply.tool_calls))
        self._news_from = len(self.messages)
        self.calls_this_turn = 0
        return reply

    def told(self, call: ToolCall, text: str) -> None:
        """The result of a call."""
        self.calls_this_turn += 1
        self.messages.append(Message("tool", text, tool_call_id=call.id))

    def ended(
        self,
        status: Literal["succeeded", "incomplete", "failed"],
        stop_reason: str,
        error: ModelError | None = None,
    ) -> Outcome:
        return Outcome(
            status,
            stop_reason,
            response=next((reply.text for reply in reversed(self.answers) if reply.text), ""),
            input_tokens=_sum([reply.input_tokens for reply in self.answers]),
            output_tokens=_sum([reply.output_tokens for reply in self.answers]),
            error=error,
        )

    def _with_id(self, call: ToolCall) -> ToolCall:
        """Some models give one id to several calls, or none."""
        identifier, attempt = storable(call.id), len(self._ids)
        while not identifier or identifier in self._ids:
            identifier, attempt = f"call_{attempt}", attempt + 1
        self._ids.add(identifier)
        return ToolCall(identifier, storable(call.name), storable(call.arguments))


def storable(text: str) -> str:
    """As PostgreSQL takes it: without NUL and unpaired surrogates."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def _as_json(message: Message) -> dict[str, str]:
    told = {"role": message.role, "content": message.text}
    return told | {"tool_call_id": message.tool_call_id} if message.tool_call_id else told


def _sum(tokens: Sequence[int | None]) -> int | None:
    """None where one is not known, or there are none."""
    known = [count for count in tokens if count is not None]
    return sum(known) if known and len(known) == len(tokens) else None
