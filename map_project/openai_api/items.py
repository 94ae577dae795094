"""Items of the input of a response, and lists of items."""

from collections.abc import Mapping, Sequence
from typing import Any

from executions.models import Execution
from executions.responses import text_part
from map_project.api.errors import BadRequest

DEFAULT_LIMIT, MAX_LIMIT = 20, 100


def input_items(execution: Execution) -> list[dict[str, Any]]:
    """Return the messages of the request, the oldest first. Its instructions are not among them."""
    earlier: Sequence[tuple[str, str]] = (execution.options or {}).get("messages", ())
    messages = [*earlier, ("user", execution.prompt)]
    return [
        _message(f"msg_{execution.pk.hex}i{number:03x}", role, text)
        for number, (role, text) in enumerate(messages)
    ]


def _message(item_id: str, role: str, text: str) -> dict[str, Any]:
    is_output = role == "assistant"
    part = text_part(text) if is_output else {"type": "input_text", "text": text}
    return {
        "id": item_id,
        "type": "message",
        "status": "completed",
        "role": role,
        "content": [part],
    }


def page(items: list[dict[str, Any]], parameters: Mapping[str, str]) -> dict[str, Any]:
    """Return a page of items (`order`, `after`, `limit`), by default the newest ones. Raises BadRequest."""
    order = parameters.get("order", "desc")
    if order not in {"asc", "desc"}:
        raise BadRequest("order must be asc or desc.", param="order")
    if order == "desc":
        items = [*reversed(items)]
    if after := parameters.get("after"):
        ids = [item["id"] for item in items]
        if after not in ids:
            raise BadRequest("after must be the ID of an item in this list.", param="after")
        items = items[ids.index(after) + 1 :]
    limit = _limit(parameters.get("limit", str(DEFAULT_LIMIT)))
    shown = items[:limit]
    return {
        "object": "list",
        "data": shown,
        "first_id": shown[0]["id"] if shown else None,
        "last_id": shown[-1]["id"] if shown else None,
        "has_more": len(items) > limit,
    }


def _limit(text: str) -> int:
    limit = int(text) if text.isascii() and text.isdigit() and len(text) < 4 else 0
    if not 1 <= limit <= MAX_LIMIT:
        raise BadRequest(f"limit must be an integer from 1 to {MAX_LIMIT}.", param="limit")
    return limit
