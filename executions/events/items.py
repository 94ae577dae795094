"""The events of output items: messages of the model and tool calls."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson

from executions.loop import Step
from executions.responses import call_item, has_message, message_item, step_item, text_part

ITEM_ADDED = "response.output_item.added"
_START = '{"type":"'


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


@dataclass(slots=True)
class ItemEvents:
    """Makes the events of the output items of an execution.

    `number` is the number of the next event, and `index` that of the next item.
    """

    execution_id: uuid.UUID
    number: int
    index: int = 0
    _texts: list[str] = field(default_factory=list)
    _has_open_call: bool = False

    def text(self, piece: str) -> Iterator[Event]:
        """Yield the events of a piece of the model's text."""
        if not self._texts:
            yield from self._open_message()
        self._texts.append(piece)
        yield self._event("output_text.delta", content_index=0, delta=piece, logprobs=[])

    def step(self, step: Step) -> Iterator[Event]:
        """Yield the events of a step: of the rest of its text, or of its tool call.

        A failed model call has none. Its message, if there is one, remains open.
        """
        if step.kind == "tool":
            yield from self._call(step)
        elif has_message(step):
            yield from self._message(step)
        elif self._texts and not step.error:
            raise ValueError("the text of the response differs from its pieces")

    def replay(self, event: Event) -> None:
        """Continue after an event of an earlier attempt."""
        self.number = event.number + 1
        match event.type:
            case "response.output_text.delta":
                self._texts.append(orjson.loads(event.data)["delta"])
            case "response.mcp_call.in_progress":
                self._has_open_call = True
            case "response.output_item.done":
                self._texts.clear()
                self._has_open_call = False
                self.index += 1

    def close_interrupted(self) -> Iterator[Event]:
        """Yield the end of a message that an earlier attempt has begun. The model is called again."""
        if self._texts:
            yield from self._close_message("".join(self._texts), "incomplete")

    def _open_message(self) -> Iterator[Event]:
        item = message_item(self.execution_id, self.index, "in_progress", [])
        yield self._item_event(ITEM_ADDED, item)
        yield self._event("content_part.added", content_index=0, part=text_part(""))

    def _message(self, step: Step) -> Iterator[Event]:
        sent = "".join(self._texts)
        if not self._texts:
            yield from self._open_message()
        if rest := step.output[len(sent) :]:
            yield self._event("output_text.delta", content_index=0, delta=rest, logprobs=[])
        item = step_item(self.execution_id, self.index, step)
        yield from self._close_message(step.output, item["status"])

    def _close_message(self, text: str, status: str) -> Iterator[Event]:
        part = text_part(text)
        item = message_item(self.execution_id, self.index, status, [part])
        yield self._event("output_text.done", content_index=0, text=text, logprobs=[])
        yield self._event("content_part.done", content_index=0, part=part)
        yield self._item_event("response.output_item.done", item)
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
        item = call_item(self.execution_id, self.index, step)
        yield self._item_event("response.output_item.done", item)
        self.index += 1

    def _open_call(self, step: Step) -> Iterator[Event]:
        item = call_item(self.execution_id, self.index, step)
        item |= {"status": "in_progress", "arguments": "", "output": None, "error": None}
        yield self._item_event(ITEM_ADDED, item)
        yield self._event("mcp_call.in_progress")
        yield self._event("mcp_call_arguments.delta", delta=step.input)
        yield self._event("mcp_call_arguments.done", arguments=step.input)

    def _item_event(self, event_type: str, item: dict[str, Any]) -> Event:
        return self._next(event_type, output_index=self.index, item=item)

    def _event(self, name: str, **fields: Any) -> Event:
        item_id = (
            f"{'mcp' if name.startswith('mcp') else 'msg'}_{self.execution_id.hex}{self.index:03x}"
        )
        return self._next(f"response.{name}", item_id=item_id, output_index=self.index, **fields)

    def _next(self, event_type: str, **fields: Any) -> Event:
        event = Event.of(self.number, event_type, **fields)
        self.number += 1
        return event
