"""The ends of runs."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from executions.conversation import Conversation
from executions.output import OutputError, read_output
from executions.providers import ModelError, ModelResponse
from executions.steps import OpenCall
from executions.stop_reasons import StopReason

Status = Literal["succeeded", "incomplete", "failed", "requires_action"]

_OUTCOMES: Mapping[str, tuple[Status, StopReason]] = {
    "stop": ("succeeded", StopReason.COMPLETED),
    "length": ("incomplete", StopReason.MAX_OUTPUT_TOKENS),
    "content_filter": ("incomplete", StopReason.CONTENT_FILTER),
    "truncated": ("incomplete", StopReason.MAX_RESPONSE_BYTES),
}


class RunStopped(Exception):
    """The next call of the model must not be made."""

    def __init__(self, stop_reason: StopReason) -> None:
        super().__init__(stop_reason)
        self.stop_reason = stop_reason


class RunPostponed(Exception):
    """The first call of the model must wait: this attempt of the run ends, and the run is queued again."""

    def __init__(self, attempt: int) -> None:
        super().__init__(attempt)
        self.attempt = attempt


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of a run, or of its part before it waits for decisions about `open_calls`.

    `response` is the last text of the model. Token counts are sums over all responses, or None if one is
    unknown. `output` is the value of a response that has to be valid by a schema. `error` is set if the model
    failed, and `output_errors` if its output is not valid.
    """

    status: Status
    stop_reason: StopReason | Literal[""]
    response: str
    input_tokens: int | None
    output_tokens: int | None
    error: ModelError | None = None
    output: dict[str, Any] | None = None
    output_errors: tuple[str, ...] = ()
    open_calls: tuple[OpenCall, ...] = ()


def outcome_of(
    conversation: Conversation, response: ModelResponse, output_schema: Mapping[str, Any] | None
) -> Outcome:
    """Return the outcome after the last response, with its output or the errors of it."""
    outcome = end_of(conversation, *_OUTCOMES[response.finish_reason])
    if output_schema is None or outcome.status != "succeeded":
        return outcome
    try:
        return replace(outcome, output=read_output(response.text, output_schema))
    except OutputError as error:
        return replace(
            outcome,
            status="failed",
            stop_reason=StopReason.OUTPUT_INVALID,
            output_errors=error.errors,
        )


def waiting(conversation: Conversation, open_calls: tuple[OpenCall, ...]) -> Outcome:
    """Return the outcome of a run that waits for decisions."""
    return replace(end_of(conversation, "requires_action", ""), open_calls=open_calls)


def end_of(
    conversation: Conversation,
    status: Status,
    stop_reason: StopReason | Literal[""],
    error: ModelError | None = None,
) -> Outcome:
    """Return the outcome of a run that ends after the responses so far."""
    return Outcome(
        status,
        stop_reason,
        response=conversation.last_text,
        input_tokens=conversation.input_tokens,
        output_tokens=conversation.output_tokens,
        error=error,
    )
