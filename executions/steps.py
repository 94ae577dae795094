"""The steps of a run, and its tools, as the loop sees them."""

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from executions.providers import FinishReason, ToolCall

_NO_ID = uuid.UUID(int=0)

# Errors of tool steps whose calls were not made: the run ended before, there is no such tool, or a person
# declined the call. `map_project.usage` counts all others as tool calls.
NOT_CALLED, UNKNOWN_TOOL, DECLINED = "not_called", "unknown_tool", "declined"
NOT_MADE_ERRORS = (NOT_CALLED, UNKNOWN_TOOL, DECLINED)


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
    """A tool: the name that the tenant gave it, and a function that takes the arguments as JSON.

    `idempotent`: a call may be repeated if it is unknown whether it was made. `needs_approval`: a person has
    to approve each call.
    """

    name: str
    call: Callable[[str], CallResult]
    idempotent: bool = False
    needs_approval: bool = False
    id: uuid.UUID = _NO_ID
    approval_timeout_seconds: int = 0


@dataclass(frozen=True, slots=True)
class OpenCall:
    """A call that waits for a decision. `offset` is its number among the calls that have not been made."""

    offset: int
    tool: LoopTool
    arguments: str


@dataclass(frozen=True, slots=True)
class Decision:
    """The decision of a person about a call of a tool with these arguments."""

    approval_id: uuid.UUID
    is_approved: bool
    tool_id: uuid.UUID
    arguments: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """A call of the model or of a tool.

    For a model, `input` is the JSON list of the messages since its last response, `output` the text of its
    response, and `tool_calls` are the calls that it requests. For a tool, `input` is the arguments as the
    model wrote them, and `output` the result. `is_running`: the tool is about to be called.
    """

    kind: Literal["model", "tool"]
    name: str
    input: str
    output: str
    latency_ms: int
    error: str = ""
    input_tokens: int | None = None
    output_tokens: int | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: FinishReason | Literal[""] = ""
    extra: Mapping[str, Any] = field(default_factory=dict)
    is_running: bool = False
    idempotent: bool = False
    approval_id: uuid.UUID | None = None


@dataclass(frozen=True, slots=True)
class Past:
    """What earlier attempts of a run have stored: its steps, and decisions by the position of the call."""

    steps: Sequence[Step] = ()
    decisions: Mapping[int, Decision] = field(default_factory=dict)

    def decisions_from(self, position: int, count: int) -> list[Decision | None]:
        """Return the decisions about consecutive calls, or None for each without one."""
        return [self.decisions.get(position + offset) for offset in range(count)]


NO_PAST = Past()
