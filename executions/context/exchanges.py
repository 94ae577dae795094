"""Exchanges: a prompt, and what the model did and answered, as messages for a model.

Whatever the recorded steps of a run are, its exchange is well-formed: it starts with the user and ends with a
text of the assistant, and each tool call has exactly one result, in the order of the calls. Several providers
refuse other messages.
"""

import json
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from executions.models import Execution
from executions.providers import Message, ToolCall
from executions.steps import Step

NOT_CALLED = "Not called: the run ended before this call."
INTERRUPTED = "The run ended during the call. Its result is unknown."
_NO_PROMPT = "[No prompt.]"
_SEPARATOR = "\n\n"
_NO_RESPONSE = {
    Execution.Status.INCOMPLETE: "[No response: the run reached a limit.]",
    Execution.Status.FAILED: "[No response: the run failed.]",
    Execution.Status.CANCELLED: "[No response: the run was cancelled.]",
}


@dataclass(frozen=True, slots=True)
class Exchange:
    """The messages from a prompt to the response, and their size in a context."""

    messages: tuple[Message, ...]
    characters: int


def of_run(execution: Execution, steps: Sequence[Step], *, keep_extra: bool) -> Exchange:
    """Return the exchange of an execution that has ended.

    `keep_extra`: with the fields of the server's own, which other models refuse.
    """
    messages = [Message("user", execution.prompt)]
    pending: deque[ToolCall] = deque()
    text = "" if steps else execution.response
    for step in steps:
        if step.kind == "tool":
            if pending:
                result = INTERRUPTED if step.is_running else step.output
                messages.append(_result(pending.popleft(), result))
            continue
        if step.error:
            continue
        messages += [_result(call, NOT_CALLED) for call in pending]
        pending = deque(step.tool_calls)
        # A text without calls ends the exchange. An earlier one was not the answer.
        text = "" if step.tool_calls else step.output
        if step.tool_calls:
            message = Message("assistant", step.output, step.tool_calls, extra=step.extra)
            messages.append(message if keep_extra else _without_extra(message))
    messages += [_result(call, NOT_CALLED) for call in pending]
    if not text.strip():
        text = _NO_RESPONSE.get(Execution.Status(execution.status), "[No response.]")
    messages.append(Message("assistant", text))
    return Exchange(tuple(messages), characters(messages))


def of_client(messages: Iterable[Sequence[str]]) -> list[Exchange]:
    """Return the exchanges in earlier messages of a client: pairs of a role and a text.

    Consecutive messages of one role are joined. The last exchange may have no response.
    """
    joined = [
        Message("assistant" if role == "assistant" else "user", _SEPARATOR.join(texts))
        for role, texts in _grouped(messages)
    ]
    if joined and joined[0].role == "assistant":
        joined.insert(0, Message("user", _NO_PROMPT))
    pairs = [tuple(joined[at : at + 2]) for at in range(0, len(joined), 2)]
    return [Exchange(pair, characters(pair)) for pair in pairs]


def _grouped(messages: Iterable[Sequence[str]]) -> Iterator[tuple[str, list[str]]]:
    for role, group in groupby(messages, key=lambda message: message[0]):
        yield role, [text for _, text in group]


def joined(exchanges: Iterable[Exchange]) -> tuple[Message, ...]:
    """Return the messages of consecutive exchanges, with unique call ids."""
    messages: list[Message] = []
    for exchange in exchanges:
        for message in exchange.messages:
            _append(messages, message)
    return tuple(_with_unique_ids(messages))


def with_prompt(messages: Sequence[Message], prompt: str) -> tuple[Message, ...]:
    """Return the messages of a run: those of its context, and the prompt."""
    all_messages = [*messages]
    _append(all_messages, Message("user", prompt))
    return tuple(all_messages)


def _append(messages: list[Message], message: Message) -> None:
    """Append a message. Two consecutive messages of the user become one: roles alternate."""
    if messages and messages[-1].role == message.role == "user":
        text = f"{messages[-1].text}{_SEPARATOR}{message.text}"
        messages[-1] = replace(messages[-1], text=text)
    else:
        messages.append(message)


def characters(messages: Iterable[Message]) -> int:
    """Return the size of messages: their texts, arguments and results, and the server's own fields."""
    return sum(
        len(message.text)
        + _extra_characters(message.extra)
        + sum(len(call.arguments) + _extra_characters(call.extra) for call in message.tool_calls)
        for message in messages
    )


def _extra_characters(extra: object) -> int:
    return len(json.dumps(extra, ensure_ascii=False)) if extra else 0


def _result(call: ToolCall, text: str) -> Message:
    return Message("tool", text, tool_call_id=call.id, name=call.name)


def _without_extra(message: Message) -> Message:
    calls = tuple(replace(call, extra={}) for call in message.tool_calls)
    return replace(message, tool_calls=calls, extra={})


def _with_unique_ids(messages: Iterable[Message]) -> Iterator[Message]:
    """Several runs use the same ids. The results of a message follow it in the order of its calls."""
    known: set[str] = set()
    ids: deque[str] = deque()
    for message in messages:
        if message.tool_calls:
            ids = deque(_unique_id(call.id, known) for call in message.tool_calls)
            calls = zip(message.tool_calls, ids, strict=True)
            renamed = tuple(replace(call, id=call_id) for call, call_id in calls)
            yield replace(message, tool_calls=renamed)
        elif message.role == "tool":
            yield replace(message, tool_call_id=ids.popleft())
        else:
            yield message


def _unique_id(call_id: str, known: set[str]) -> str:
    """Return the id, or another one if it is empty or known, and add it to the known ones."""
    number = len(known)
    while not call_id or call_id in known:
        call_id, number = f"call_{number}", number + 1
    known.add(call_id)
    return call_id
