"""The messages between a run and its model."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import Any

import orjson

from executions.providers import Message, ModelResponse, ToolCall
from executions.texts import first_bytes, storable

# Of one response: of its text, and of its calls. In UTF-8.
MAX_RESPONSE_BYTES = 1024 * 1024


class Conversation:
    """The messages of a run, and their size.

    It begins with the messages before the first response of the model, of which the last one is the prompt.
    """

    def __init__(self, messages: Sequence[Message]) -> None:
        self.messages = [*messages]
        self.responses: list[ModelResponse] = []
        self.calls_since_response = 0
        self.call_count = 0
        # The bytes of the steps so far.
        self.size = 0
        # Those before the prompt belong to earlier runs.
        self._first_new_message = len(messages) - 1
        self._call_ids = {call.id for message in messages for call in message.tool_calls}

    def new_messages(self) -> str:
        """Return the messages since the last response of the model, as JSON."""
        new_messages = self.messages[self._first_new_message :]
        return orjson.dumps([_as_dict(message) for message in new_messages]).decode()

    def add_response(self, response: ModelResponse) -> ModelResponse:
        """Append a response of the model, cut at its maximum size.

        Its texts become storable and its call ids unique.
        """
        text, is_text_cut = first_bytes(storable(response.text), MAX_RESPONSE_BYTES)
        calls = [self._with_unique_id(call) for call in response.tool_calls]
        sizes = [*accumulate(map(_call_size, calls))]
        first_calls = [
            call for call, size in zip(calls, sizes, strict=True) if size <= MAX_RESPONSE_BYTES
        ]
        is_truncated = is_text_cut or len(first_calls) < len(calls)
        response = replace(
            response,
            text=text,
            tool_calls=tuple(first_calls),
            finish_reason="truncated" if is_truncated else response.finish_reason,
        )
        self.size += len(text.encode()) + sum(map(_call_size, first_calls))
        self.size += _extra_size(response.extra)
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

    @property
    def last_text(self) -> str:
        """The last text of the model, or ""."""
        texts = (response.text for response in reversed(self.responses) if response.text)
        return next(texts, "")

    @property
    def input_tokens(self) -> int | None:
        """The sum over all responses, or None if one is unknown."""
        return known_sum([response.input_tokens for response in self.responses])

    @property
    def output_tokens(self) -> int | None:
        """The sum over all responses, or None if one is unknown."""
        return known_sum([response.output_tokens for response in self.responses])

    def _with_unique_id(self, call: ToolCall) -> ToolCall:
        """Some models use one id for several calls, or an empty one."""
        call_id, attempt = storable(call.id), len(self._call_ids)
        while not call_id or call_id in self._call_ids:
            call_id, attempt = f"call_{attempt}", attempt + 1
        self._call_ids.add(call_id)
        return replace(
            call, id=call_id, name=storable(call.name), arguments=storable(call.arguments)
        )


def _call_size(call: ToolCall) -> int:
    texts = (call.id, call.name, call.arguments)
    return sum(len(text.encode()) for text in texts) + _extra_size(call.extra)


def _extra_size(extra: Mapping[str, Any]) -> int:
    """The size of a server's own fields, which are sent back with each request."""
    return len(json.dumps(extra)) if extra else 0


def _as_dict(message: Message) -> dict[str, str]:
    fields = {"role": message.role, "content": message.text}
    return fields | {"tool_call_id": message.tool_call_id} if message.tool_call_id else fields


def known_sum(counts: Sequence[int | None]) -> int | None:
    """Return the sum, or None if a count is unknown or there are none."""
    known = [count for count in counts if count is not None]
    return sum(known) if known and len(known) == len(counts) else None
