"""Items of the input of a response and of a conversation, and pages of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from executions.conversations.items import Item, ItemList
from executions.models import Execution
from executions.responses import Phase, call_item, id_of, message_item, text_part
from executions.steps import Step
from map_project.api.errors import BadRequest

DEFAULT_LIMIT, MAX_LIMIT = 20, 100


@dataclass(frozen=True, slots=True)
class PageQuery:
    """The query parameters of a page. By default, the newest items are first."""

    after: str
    limit: int
    is_ascending: bool

    @classmethod
    def of(cls, parameters: Mapping[str, str]) -> "PageQuery":
        """Return the parameters `after`, `limit` and `order`. Raises BadRequest."""
        order = parameters.get("order", "desc")
        if order not in {"asc", "desc"}:
            raise BadRequest("order must be asc or desc.", param="order")
        text = parameters.get("limit", str(DEFAULT_LIMIT))
        limit = int(text) if text.isascii() and text.isdigit() and len(text) < 4 else 0
        if not 1 <= limit <= MAX_LIMIT:
            raise BadRequest(f"limit must be an integer from 1 to {MAX_LIMIT}.", param="limit")
        return cls(parameters.get("after", ""), limit, order == "asc")

    def bounds(self, count: int, after: int | None) -> tuple[int, int]:
        """Return the first index of the page and the one after its last, in ascending order.

        `after` is the index of the item with this ID, or None without one.
        """
        if self.is_ascending:
            start = 0 if after is None else after + 1
            return start, min(start + self.limit, count)
        end = count if after is None else after
        return max(end - self.limit, 0), end

    def page(self, items: list[dict[str, Any]], *, has_more: bool) -> dict[str, Any]:
        """Return the page with these items, which are in ascending order."""
        shown = items if self.is_ascending else items[::-1]
        return {
            "object": "list",
            "data": shown,
            "first_id": shown[0]["id"] if shown else None,
            "last_id": shown[-1]["id"] if shown else None,
            "has_more": has_more,
        }

    def has_more(self, count: int, start: int, end: int) -> bool:
        """Return whether there are more items after the page with these bounds."""
        return end < count if self.is_ascending else start > 0


def input_page(execution: Execution, parameters: Mapping[str, str]) -> dict[str, Any]:
    """Return a page of the messages of a request. Its instructions are not among them."""
    query = PageQuery.of(parameters)
    earlier: Sequence[tuple[str, str]] = (execution.options or {}).get("messages", ())
    messages = [*earlier, ("user", execution.prompt)]
    items = [
        _input_message(execution.pk.hex, position, role, text)
        for position, (role, text) in enumerate(messages)
    ]
    after = _index([item["id"] for item in items], query.after) if query.after else None
    start, end = query.bounds(len(items), after)
    return query.page(items[start:end], has_more=query.has_more(len(items), start, end))


def conversation_page(items: ItemList, parameters: Mapping[str, str]) -> dict[str, Any]:
    """Return a page of the items of a conversation."""
    query, count = PageQuery.of(parameters), items.count()
    after = _index_in_conversation(items, query.after) if query.after else None
    start, end = query.bounds(count, after)
    shown = [conversation_item(item) for item in items[start:end]]
    return query.page(shown, has_more=query.has_more(count, start, end))


def _index_in_conversation(items: ItemList, item_id: str) -> int:
    """Return the index of the item with this ID, which contains that of its execution."""
    execution_id = id_of("resp", f"resp_{item_id.partition('_')[2][:32]}")
    first, end = (0, 0) if execution_id is None else items.span(execution_id)
    return first + _index([conversation_item(item)["id"] for item in items[first:end]], item_id)


def _index(ids: list[str], item_id: str) -> int:
    if item_id not in ids:
        raise BadRequest("after must be the ID of an item in this list.", param="after")
    return ids.index(item_id)


def conversation_item(item: Item) -> dict[str, Any]:
    """Return an item of a conversation. Those of a response have the IDs that they have there."""
    if item.output_index is None:
        return _input_message(
            item.execution_id.hex, item.position, item.role or "user", item.text or ""
        )
    if item.type == "message":
        part = text_part(item.text or "")
        status = "incomplete" if item.error else "completed"
        phase: Phase = "final_answer" if item.is_answer else "commentary"
        return message_item(item.execution_id, item.output_index, status, [part], phase)
    step = Step(
        "tool",
        item.name or "",
        item.arguments or "",
        item.output or "",
        latency_ms=0,
        error=item.error or "",
        is_running=item.output is None,
    )
    return call_item(item.execution_id, item.output_index, step)


def _input_message(execution_hex: str, position: int, role: str, text: str) -> dict[str, Any]:
    part = text_part(text) if role == "assistant" else {"type": "input_text", "text": text}
    return {
        "id": f"msg_{execution_hex}i{position:03x}",
        "type": "message",
        "status": "completed",
        "role": role,
        "content": [part],
    }
