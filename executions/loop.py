"""The agent loop: calls a model and its tools, and yields steps and pieces of the model's text.

It uses no ORM, no HTTP and no settings.

The model receives the conversation, the tool calls that it requests are made one after the other, and the
model receives the results. This repeats until the model requests no more calls or a limit is reached: the
number of model calls, the number of tool calls, the size of all texts, or the deadline. Each requested call
gets exactly one result. A call that is not made because of a limit gets a result that says so. After the
limit of tool calls or of the size, the run ends at once and further calls get none.

With an output schema, the last response has to be a valid output. After an invalid one, the model receives
the errors and responds once more, without tools and beyond the limit of model calls.

Calls of some tools need the approval of a person. Before the first call of a response is made, all of its
calls have to be decided: otherwise the run waits, with the status `requires_action`. A call that is declined
gets a result that says so.

A run that was interrupted, or has waited, continues from its recorded steps: they are not repeated.
"""

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

from executions.conversation import MAX_RESPONSE_BYTES, Conversation
from executions.outcomes import Outcome, RunStopped, Status, end_of, outcome_of, waiting
from executions.output import repair_request
from executions.providers import (
    Message,
    ModelError,
    ModelResponse,
    ModelTimeout,
    ToolCall,
)
from executions.steps import DECLINED, NOT_CALLED, UNKNOWN_TOOL, Decision, LoopTool, OpenCall, Step
from executions.stop_reasons import StopReason
from executions.texts import first_bytes, storable
from executions.tool_names import resolve

# Most models request less than a tenth of it.
MAX_CALLS_PER_RESPONSE = 64

_REPLACED = "Not called: the tool was replaced after the call was approved."

# Pieces of the model's text, and its response.
ModelStream = Generator[str, None, ModelResponse]


@dataclass(slots=True)
class Loop:
    """One run.

    `respond` sends the messages to the model, with or without the tools, yields pieces of its text if it
    streams, and returns its response; if it raises RunStopped, the run ends. `tools` are keyed by the
    function names that the model uses. `deadline` is a value of `clock`, in seconds. `max_bytes` limits the
    inputs and outputs of all steps together, in UTF-8; the last step may exceed it. `decisions` returns what
    has been decided about the next calls, of the given number, or None for each call without a decision.
    """

    respond: Callable[[tuple[Message, ...], bool], ModelStream]
    model_name: str
    tools: Mapping[str, LoopTool]
    max_steps: int
    max_tool_calls: int
    max_bytes: int
    deadline: float
    output_schema: Mapping[str, Any] | None = None
    decisions: Callable[[int], Sequence[Decision | None]] = lambda count: [None] * count
    clock: Callable[[], float] = time.monotonic

    def run(
        self, messages: Sequence[Message], recorded: Iterable[Step] = ()
    ) -> Generator[Step | str, None, Outcome]:
        """Yield each step once it is over, and return the outcome.

        `messages` are those before the first response. Pieces of the model's text are yielded before its
        step, and a tool step also before the call. `recorded` are the steps of a run that was interrupted,
        in order: those that are over.
        """
        conversation = Conversation(messages)
        # After a failed request to the model, the same request is made again.
        past = deque(step for step in recorded if step.kind == "tool" or not step.error)
        for number in range(1, self.max_steps + 1):
            response = yield from self._response(conversation, past)
            if isinstance(response, Outcome):
                return response
            if not response.tool_calls or response.finish_reason in {"content_filter", "truncated"}:
                return (yield from self._end(conversation, past, response))
            calls = deque(response.tool_calls)
            while calls and past:
                conversation.add_result(calls.popleft(), past.popleft().output)
            decisions = self.decisions(len(calls))
            if open_calls := self._open_calls(conversation, number, calls, decisions):
                return waiting(conversation, open_calls)
            for call, decision in zip(calls, decisions, strict=True):
                if limit := self._limit_before_call(conversation, call):
                    return end_of(conversation, "incomplete", limit)
                skip_reason = self._skip_reason(conversation, number)
                step = yield from self._tool_step(call, skip_reason, decision)
                conversation.add_result(call, step.output)
        return end_of(conversation, "incomplete", StopReason.MAX_STEPS)

    def _response(
        self, conversation: Conversation, past: deque[Step], *, with_tools: bool = True
    ) -> Generator[Step | str, None, ModelResponse | Outcome]:
        """Return the next response of the model, or the outcome of a run that ends before or in this call."""
        new_messages, started = conversation.new_messages(), self.clock()
        if past:
            response = conversation.add_response(_recorded_response(past.popleft()))
        else:
            limit = self._limit_before_request(conversation, new_messages)
            if limit and conversation.responses:
                return end_of(conversation, "incomplete", limit)
            try:
                messages = tuple(conversation.messages)
                response = yield from _storable(self.respond(messages, with_tools))
            except ModelError as error:
                yield self._failed_model_step(new_messages, error, started)
                return self._failure(conversation, error)
            except RunStopped as stop:
                status: Status = "incomplete" if conversation.responses else "failed"
                return end_of(conversation, status, stop.stop_reason)
            response = self._with_known_names(response)
            if not with_tools:
                # Some models request calls all the same.
                response = replace(response, tool_calls=())
            response = conversation.add_response(response)
            yield self._model_step(new_messages, response, started)
        conversation.size += len(new_messages.encode())
        return response

    def _end(
        self, conversation: Conversation, past: deque[Step], response: ModelResponse
    ) -> Generator[Step | str, None, Outcome]:
        """Return the outcome after the last response, and after another one if its output is not valid."""
        outcome = outcome_of(conversation, response, self.output_schema)
        if not outcome.output_errors or self.output_schema is None:
            return outcome
        request = repair_request(self.output_schema, outcome.output_errors)
        conversation.messages.append(Message("user", request))
        repaired = yield from self._response(conversation, past, with_tools=False)
        if isinstance(repaired, Outcome):
            return repaired
        return outcome_of(conversation, repaired, self.output_schema)

    def _with_known_names(self, response: ModelResponse) -> ModelResponse:
        """Return the response with the function names that its calls mean."""
        names = {function: tool.name for function, tool in self.tools.items()}
        calls = (replace(call, name=resolve(call.name, names)) for call in response.tool_calls)
        return replace(response, tool_calls=tuple(calls))

    def _limit_before_request(
        self, conversation: Conversation, new_messages: str
    ) -> StopReason | None:
        """Return the stop reason of a run that ends before this request to the model, or None."""
        if self._deadline_passed():
            return StopReason.RUN_TIMEOUT
        is_too_large = conversation.size + len(new_messages.encode()) > self.max_bytes
        return StopReason.MAX_RUN_BYTES if is_too_large else None

    def _limit_before_call(self, conversation: Conversation, call: ToolCall) -> StopReason | None:
        """Return the stop reason of a run that ends before this tool call, or None."""
        if conversation.call_count >= self.max_tool_calls:
            return StopReason.MAX_TOOL_CALLS
        if conversation.size + len(call.arguments.encode()) > self.max_bytes:
            return StopReason.MAX_RUN_BYTES
        return None

    def _open_calls(
        self,
        conversation: Conversation,
        number: int,
        calls: Iterable[ToolCall],
        decisions: Sequence[Decision | None],
    ) -> tuple[OpenCall, ...]:
        """Return the calls that need a decision. Those that a limit excludes need none."""
        calls_left = self.max_tool_calls - conversation.call_count
        return tuple(
            OpenCall(offset, tool, call.arguments)
            for offset, call in enumerate(calls)
            if (tool := self.tools.get(call.name)) is not None
            and tool.needs_approval
            and decisions[offset] is None
            and offset < calls_left
            and not self._skip_reason(conversation, number, offset)
        )

    def _deadline_passed(self) -> bool:
        return self.clock() >= self.deadline

    def _failure(self, conversation: Conversation, error: ModelError) -> Outcome:
        """Return the outcome after an error: "incomplete" if the deadline interrupted a later call."""
        is_timeout = isinstance(error, ModelTimeout) and self._deadline_passed()
        if is_timeout and conversation.responses:
            return end_of(conversation, "incomplete", StopReason.RUN_TIMEOUT)
        return end_of(conversation, "failed", StopReason(error.error_code.lower()), error)

    def _model_step(self, new_messages: str, response: ModelResponse, started: float) -> Step:
        return Step(
            kind="model",
            name=self.model_name,
            input=new_messages,
            output=response.text,
            latency_ms=self._ms_since(started),
            input_tokens=response.input_tokens,
            output_tokens=response.output_tokens,
            tool_calls=response.tool_calls,
            finish_reason=response.finish_reason,
            extra=response.extra,
        )

    def _failed_model_step(self, new_messages: str, error: ModelError, started: float) -> Step:
        output, _ = first_bytes(storable(error.output), MAX_RESPONSE_BYTES)
        return Step(
            "model", self.model_name, new_messages, output, self._ms_since(started), error.reason
        )

    def _skip_reason(self, conversation: Conversation, number: int, offset: int = 0) -> str:
        """Return why the next tool call, or one after it, is not made, or ""."""
        if number == self.max_steps:
            return "the run has reached its maximum number of steps"
        if self._deadline_passed():
            return "the run has reached its time limit"
        if conversation.calls_since_response + offset >= MAX_CALLS_PER_RESPONSE:
            return f"at most {MAX_CALLS_PER_RESPONSE} calls per response are made"
        return ""

    def _tool_step(
        self, call: ToolCall, skip_reason: str, decision: Decision | None
    ) -> Generator[Step, None, Step]:
        """Yield the step before the call, if it is made, and once it is over. Return the latter."""
        tool = self.tools.get(call.name)
        step = Step("tool", tool.name if tool else call.name, call.arguments, "", 0)
        if decision is not None:
            step = replace(step, input=decision.arguments, approval_id=decision.approval_id)
        if skip_reason:
            step = replace(step, output=f"Not called: {skip_reason}.", error=NOT_CALLED)
        elif decision is not None and not decision.is_approved:
            step = replace(step, output=_declined(decision), error=DECLINED)
        elif tool is None:
            known = f"Available tools: {', '.join(self.tools)}." if self.tools else "You have none."
            text = f"There is no tool with this name. {known}"
            step = replace(step, output=text, error=UNKNOWN_TOOL)
        elif decision is not None and decision.tool_id != tool.id:
            step = replace(step, output=_REPLACED, error=NOT_CALLED)
        else:
            step = replace(step, idempotent=tool.idempotent)
            yield replace(step, is_running=True)
            result = tool.call(step.input)
            step = replace(
                step,
                output=storable(result.text),
                latency_ms=result.latency_ms,
                error=result.error or "",
            )
        yield step
        return step

    def _ms_since(self, started: float) -> int:
        return max(round((self.clock() - started) * 1000), 0)


def _declined(decision: Decision) -> str:
    reason = f" Reason: {decision.reason}" if decision.reason else ""
    return f"Not called: a person declined this call.{reason}"


def _storable(stream: ModelStream) -> ModelStream:
    """Yield the pieces of a text as far as the text of the response is kept, and return the response."""
    bytes_left = MAX_RESPONSE_BYTES
    with closing(stream):
        while True:
            try:
                piece = next(stream)
            except StopIteration as end:
                response: ModelResponse = end.value
                return response
            piece, is_cut = first_bytes(storable(piece), bytes_left)
            bytes_left = 0 if is_cut else bytes_left - len(piece.encode())
            if piece:
                yield piece


def _recorded_response(step: Step) -> ModelResponse:
    return ModelResponse(
        text=step.output,
        tool_calls=step.tool_calls,
        finish_reason=step.finish_reason or "stop",
        input_tokens=step.input_tokens,
        output_tokens=step.output_tokens,
        extra=step.extra,
    )
