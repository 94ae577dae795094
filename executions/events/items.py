"""The events of output items: messages of the model and tool calls."""

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson

from executions.models import Approval
from executions.responses import (
    APPROVAL_REQUEST,
    Phase,
    begins_as_json,
    call_item,
    has_message,
    message_item,
    request_item,
    step_item,
    text_part,
)
from executions.steps import Step

ITEM_ADDED, ITEM_DONE = "response.output_item.added", "response.output_item.done"
_START = '{"type":"'
# Before JSON. Some models repeat blanks without end.
_MAX_BLANK_CHARACTERS = 100


class Event(NamedTuple):
    """An event of an execution. `data` is its JSON, which contains the other fields as well."""

    number: int
    type: str
    data: str

    @classmethod
    def of(cls, number: int, event_type: str, **fields: Any) -> "Event":
        """Return an event with these fields."""
        content = {"type": event_type, "sequence_number": number, **fields}
        return cls(number, event_type, orjson.dumps(content).decode())

    @classmethod
    def of_data(cls, number: int, data: str) -> "Event":
        """Return an event from its JSON, which begins with its type."""
        return cls(number, data[len(_START) : data.index('"', len(_START))], data)


def is_request(event: Event) -> bool:
    """Return whether an event is the end of a request for approval."""
    return event.type == ITEM_DONE and orjson.loads(event.data)["item"]["type"] == APPROVAL_REQUEST


@dataclass(slots=True)
class ItemEvents:
    """Makes the events of the output items of an execution.

    `number` is the number of the next event, and `index` that of the next item. The IDs of messages and of
    calls do not count the requests for approval. With an output `schema`, a text that does not begin as JSON
    is sent with its step, when it is known whether it is the answer.
    """

    execution_id: uuid.UUID
    number: int
    schema: Mapping[str, Any] | None = None
    index: int = 0
    request_count: int = 0
    # The begin of a text that is not sent yet: as much as tells whether it is JSON.
    _held: str = ""
    _texts: list[str] = field(default_factory=list)
    _has_open_call: bool = False
    # Whether the last event is that of a request, with which a run waits.
    is_waiting: bool = False

    @property
    def item_number(self) -> int:
        """The number in the ID of the next message or call."""
        return self.index - self.request_count

    def text(self, piece: str) -> Iterator[Event]:
        """Yield the events of a piece of the model's text."""
        if not self._texts:
            if self.schema is not None:
                if len(self._held) <= _MAX_BLANK_CHARACTERS and not self._held.strip():
                    self._held += piece
                if not begins_as_json(self._held):
                    return
                piece = self._held
            yield from self._open_message(None)
        self._texts.append(piece)
        yield self._event("output_text.delta", content_index=0, delta=piece, logprobs=[])

    def step(self, step: Step) -> Iterator[Event]:
        """Yield the events of a step: of the rest of its text, or of its tool call.

        A failed model call without text has none.
        """
        self._held = ""
        if step.kind == "tool":
            yield from self._call(step)
        elif has_message(step):
            yield from self._message(step)
        elif self._texts:
            raise ValueError("the text of the response differs from its pieces")

    def replay(self, event: Event) -> None:
        """Continue after an event of an earlier attempt."""
        self.number = event.number + 1
        self.is_waiting = False
        match event.type:
            case "response.output_text.delta":
                self._texts.append(orjson.loads(event.data)["delta"])
            case "response.mcp_call.in_progress":
                self._has_open_call = True
            case "response.output_item.done":
                self._texts.clear()
                self._has_open_call = False
                self.index += 1
                self.is_waiting = is_request(event)
                self.request_count += self.is_waiting

    def request(self, approval: Approval) -> Iterator[Event]:
        """Yield the events of a request with which a run waits."""
        item = request_item(approval)
        yield self._item_event(ITEM_ADDED, item)
        yield self._item_event(ITEM_DONE, item)
        self.index += 1
        self.request_count += 1
        self.is_waiting = True

    def resume(self, response: Mapping[str, Any]) -> Iterator[Event]:
        """Yield the event of a run that continues after it has waited.

        It has the number that the last event had while the run waited.
        """
        if self.is_waiting:
            yield self._next("response.in_progress", response=response)

    def close_interrupted(self) -> Iterator[Event]:
        """Yield the end of a message that an earlier attempt has begun. The model is called again."""
        if self._texts:
            content = [text_part("".join(self._texts))]
            item = message_item(
                self.execution_id, self.item_number, "incomplete", content, "commentary"
            )
            yield from self._close_message(item)

    def _open_message(self, phase: Phase | None) -> Iterator[Event]:
        item = message_item(self.execution_id, self.item_number, "in_progress", [], phase)
        yield self._item_event(ITEM_ADDED, item)
        yield self._event("content_part.added", content_index=0, part=text_part(""))

    def _message(self, step: Step) -> Iterator[Event]:
        item = step_item(self.execution_id, self.item_number, step, self.schema)
        sent, text = "".join(self._texts), item["content"][0]["text"]
        if not self._texts:
            yield from self._open_message(item["phase"])
        if rest := text[len(sent) :]:
            yield self._event("output_text.delta", content_index=0, delta=rest, logprobs=[])
        yield from self._close_message(item)

    def _close_message(self, item: dict[str, Any]) -> Iterator[Event]:
        (part,) = item["content"]
        yield self._event("output_text.done", content_index=0, text=part["text"], logprobs=[])
        yield self._event("content_part.done", content_index=0, part=part)
        yield self._item_event(ITEM_DONE, item)
        self._texts.clear()
        self.index += 1

    def _call(self, step: Step) -> Iterator[Event]:
        if not self._has_open_call:
            yield from self._open_call(step)
        if step.is_running:
            self._has_open_call = True
            return
        self._has_open_call = False
        yield self._event(f"mcp_call.{'failed' if step.error else 'completed'}")
        item = call_item(self.execution_id, self.item_number, step)
        yield self._item_event(ITEM_DONE, item)
        self.index += 1

    def _open_call(self, step: Step) -> Iterator[Event]:
        item = call_item(self.execution_id, self.item_number, step)
        item |= {"status": "in_progress", "arguments": "", "output": None, "error": None}
        yield self._item_event(ITEM_ADDED, item)
        yield self._event("mcp_call.in_progress")
        yield self._event("mcp_call_arguments.delta", delta=step.input)
        yield self._event("mcp_call_arguments.done", arguments=step.input)

    def _item_event(self, event_type: str, item: dict[str, Any]) -> Event:
        return self._next(event_type, output_index=self.index, item=item)

    def _event(self, name: str, **fields: Any) -> Event:
        prefix = "mcp" if name.startswith("mcp") else "msg"
        item_id = f"{prefix}_{self.execution_id.hex}{self.item_number:03x}"
        return self._next(f"response.{name}", item_id=item_id, output_index=self.index, **fields)

    def _next(self, event_type: str, **fields: Any) -> Event:
        event = Event.of(self.number, event_type, **fields)
        self.is_waiting = False
        self.number += 1
        return event
