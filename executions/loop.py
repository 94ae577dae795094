"""The agent loop: calls a model and its tools, and yields steps. It uses no ORM, no HTTP and no settings.

The model receives the conversation, the tool calls that it requests are made one after the other, and the
model receives the results. This repeats until the model requests no more calls or a limit is reached: the
number of model calls, the number of tool calls, the size of all texts, or the deadline. Each requested call
gets exactly one result. A call that is not made because of a limit gets a result that says so. After the
limit of tool calls or of the size, the run ends at once and further calls get none.
"""

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import orjson

from executions.providers import Message, ModelError, ModelResponse, ModelTimeout, ToolCall
from executions.texts import first_bytes

# Most models request less than a tenth of it.
MAX_CALLS_PER_RESPONSE = 64
# Of the text of one response, in UTF-8.
MAX_RESPONSE_BYTES = 1024 * 1024

Status = Literal["succeeded", "incomplete", "failed"]


class CallResult(Protocol):
    """The result of a tool call: a text for the model, and an error code or None."""

    @property
    def text(self) -> str: ...
    @property
    def error(self) -> str | None: ...
    @property
    def latency_ms(self) -> int: ...


@dataclass(frozen=True, slots=True)
class LoopTool:
    """A tool: the name that the tenant gave it, and a function that takes the arguments as JSON."""

    name: str
    call: Callable[[str], CallResult]


@dataclass(frozen=True, slots=True)
class Step:
    """A call of the model or of a tool.

    For a model, `input` is the JSON list of the messages since its last response, and `output` the text of
    its response. For a tool, `input` is the arguments as the model wrote them, and `output` the result.
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
    """The end of a run.

    `response` is the last text of the model. Token counts are sums over all responses, or None if one is
    unknown. `error` is set if the run failed.
    """

    status: Status
    stop_reason: str
    response: str
    input_tokens: int | None
    output_tokens: int | None
    error: ModelError | None = None


@dataclass(slots=True)
class Loop:
    """One run.

    `complete` sends the conversation to the model. `tools` are keyed by the function names that the model
    uses. `deadline` is a value of `clock`, in seconds. `max_bytes` limits the inputs and outputs of all steps
    together, in UTF-8; the last step may exceed it.
    """

    complete: Callable[[tuple[Message, ...]], ModelResponse]
    model_name: str
    tools: Mapping[str, LoopTool]
    max_steps: int
    max_tool_calls: int
    max_bytes: int
    deadline: float
    clock: Callable[[], float] = time.monotonic

    def run(self, prompt: str) -> Generator[Step, None, Outcome]:
        """Yield each step once it is over, and return the outcome."""
        conversation = _Conversation(prompt)
        for number in range(1, self.max_steps + 1):
            new_messages, started = conversation.new_messages(), self.clock()
            if number > 1 and (limit := self._limit_before_request(conversation, new_messages)):
                return conversation.outcome("incomplete", limit)
            try:
                response = conversation.add_response(self.complete(tuple(conversation.messages)))
            except ModelError as error:
                yield self._failed_model_step(new_messages, error, started)
                return self._failure(conversation, error)
            yield self._model_step(new_messages, response, started)
            conversation.size += len(new_messages.encode()) + len(response.text.encode())
            if conversation.is_response_truncated:
                return conversation.outcome("incomplete", "max_response_bytes")
            if not response.tool_calls:
                return conversation.outcome(*_OUTCOMES[response.finish_reason])
            for call in response.tool_calls:
                if limit := self._limit_before_call(conversation, call):
                    return conversation.outcome("incomplete", limit)
                step = self._tool_step(call, self._skip_reason(conversation, number))
                conversation.add_result(call, step.output)
                yield step
        return conversation.outcome("incomplete", "max_steps")

    def _limit_before_request(self, conversation: "_Conversation", new_messages: str) -> str:
        """Return the stop reason of a run that ends before this request to the model, or ""."""
        if self._deadline_passed():
            return "run_timeout"
        is_too_large = conversation.size + len(new_messages.encode()) > self.max_bytes
        return "max_run_bytes" if is_too_large else ""

    def _limit_before_call(self, conversation: "_Conversation", call: ToolCall) -> str:
        """Return the stop reason of a run that ends before this tool call, or ""."""
        if conversation.call_count >= self.max_tool_calls:
            return "max_tool_calls"
        if conversation.size + len(call.arguments.encode()) > self.max_bytes:
            return "max_run_bytes"
        return ""

    def _deadline_passed(self) -> bool:
        return self.clock() >= self.deadline

    def _failure(self, conversation: "_Conversation", error: ModelError) -> Outcome:
        """Return the outcome after an error: "incomplete" if the deadline interrupted a later call."""
        is_timeout = isinstance(error, ModelTimeout) and self._deadline_passed()
        if is_timeout and conversation.responses:
            return conversation.outcome("incomplete", "run_timeout")
        return conversation.outcome("failed", error.error_code.lower(), error)

    def _model_step(self, new_messages: str, response: ModelResponse, started: float) -> Step:
        return Step(
            kind="model",
            name=self.model_name,
            input=new_messages,
            output=response.text,
            latency_ms=self._ms_since(started),
            input_tokens=response.input_tokens,
            output_tokens=response.output_tokens,
        )

    def _failed_model_step(self, new_messages: str, error: ModelError, started: float) -> Step:
        output, _ = first_bytes(storable(error.output), MAX_RESPONSE_BYTES)
        return Step(
            "model", self.model_name, new_messages, output, self._ms_since(started), error.reason
        )

    def _skip_reason(self, conversation: "_Conversation", number: int) -> str:
        """Return why the next tool call is not made, or ""."""
        if number == self.max_steps:
            return "the run has reached its maximum number of steps"
        if self._deadline_passed():
            return "the run has reached its time limit"
        if conversation.calls_since_response >= MAX_CALLS_PER_RESPONSE:
            return f"at most {MAX_CALLS_PER_RESPONSE} calls per response are made"
        return ""

    def _tool_step(self, call: ToolCall, skip_reason: str) -> Step:
        tool = self.tools.get(call.name)
        name = tool.name if tool else call.name
        if skip_reason:
            text = f"Not called: {skip_reason}."
            return Step("tool", name, call.arguments, text, 0, "not_called")
        if tool is None:
            known = f"Available tools: {', '.join(self.tools)}." if self.tools else "You have none."
            text = f"There is no tool with this name. {known}"
            return Step("tool", name, call.arguments, text, 0, "unknown_tool")
        result = tool.call(call.arguments)
        text = storable(result.text)
        return Step("tool", name, call.arguments, text, result.latency_ms, result.error or "")

    def _ms_since(self, started: float) -> int:
        return max(round((self.clock() - started) * 1000), 0)


_OUTCOMES: Mapping[str, tuple[Status, str]] = {
    "stop": ("succeeded", "completed"),
    "length": ("incomplete", "max_output_tokens"),
    "content_filter": ("incomplete", "content_filter"),
}


class _Conversation:
    """The messages of a run."""

    def __init__(self, prompt: str) -> None:
        self.messages = [Message("user", prompt)]
        self.responses: list[ModelResponse] = []
        self.calls_since_response = 0
        self.call_count = 0
        # The bytes of the steps so far.
        self.size = 0
        self.is_response_truncated = False
        self._first_new_message = 0
        self._call_ids: set[str] = set()

    def new_messages(self) -> str:
        """Return the messages since the last response of the model, as JSON."""
        new_messages = self.messages[self._first_new_message :]
        return orjson.dumps([_as_dict(message) for message in new_messages]).decode()

    def add_response(self, response: ModelResponse) -> ModelResponse:
        """Append a response of the model. Its texts become storable and its call ids unique."""
        text, self.is_response_truncated = first_bytes(storable(response.text), MAX_RESPONSE_BYTES)
        response = replace(
            response,
            text=text,
            tool_calls=tuple(self._with_unique_id(call) for call in response.tool_calls),
        )
        self.responses.append(response)
        self.messages.append(
            Message("assistant", response.text, response.tool_calls, extra=response.extra)
        )
        self._first_new_message = len(self.messages)
        self.calls_since_response = 0
        return response

    def add_result(self, call: ToolCall, text: str) -> None:
        """Append the result of a call."""
        self.calls_since_response += 1
        self.call_count += 1
        self.size += len(call.arguments.encode()) + len(text.encode())
        self.messages.append(Message("tool", text, tool_call_id=call.id, name=call.name))

    def outcome(self, status: Status, stop_reason: str, error: ModelError | None = None) -> Outcome:
        """Return the outcome of a run that ends now."""
        texts = (response.text for response in reversed(self.responses) if response.text)
        return Outcome(
            status,
            stop_reason,
            response=next(texts, ""),
            input_tokens=_sum([response.input_tokens for response in self.responses]),
            output_tokens=_sum([response.output_tokens for response in self.responses]),
            error=error,
        )

    def _with_unique_id(self, call: ToolCall) -> ToolCall:
        """Some models use one id for several calls, or an empty one."""
        call_id, attempt = storable(call.id), len(self._call_ids)
        while not call_id or call_id in self._call_ids:
            call_id, attempt = f"call_{attempt}", attempt + 1
        self._call_ids.add(call_id)
        return replace(
            call, id=call_id, name=storable(call.name), arguments=storable(call.arguments)
        )


def storable(text: str) -> str:
    """Replace NUL and unpaired surrogates, which PostgreSQL rejects."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def _as_dict(message: Message) -> dict[str, str]:
    fields = {"role": message.role, "content": message.text}
    return fields | {"tool_call_id": message.tool_call_id} if message.tool_call_id else fields


def _sum(counts: Sequence[int | None]) -> int | None:
    """Return the sum, or None if a count is unknown or there are none."""
    known = [count for count in counts if count is not None]
    return sum(known) if known and len(known) == len(counts) else None
