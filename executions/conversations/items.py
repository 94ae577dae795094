"""What was said and done in a conversation: messages and tool calls, the oldest first."""

import uuid
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from itertools import accumulate
from typing import Any, Literal

from django.db.models import (
    Case,
    Count,
    Exists,
    Func,
    IntegerField,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    Value,
    When,
)
from django.db.models.fields.json import KeyTransform
from django.db.models.functions import Coalesce, Left

from executions.models import Conversation, Execution, Step
from executions.texts import first_bytes

# Of a text, of arguments, and of a result: a page of 100 items has at most 3.2 MiB.
MAX_ITEM_BYTES = 16 * 1024
# The steps that are output items, as in `executions.responses.output_items`.
_SHOWN = Q(kind=Step.Kind.TOOL) | ~Q(output="") | Q(error="", tool_calls=[])


@dataclass(frozen=True, slots=True)
class Item:
    """A message or a tool call.

    `position` is its number in its execution, and `output_index` that among the output items, or None for a
    message of the user. Long texts are cut at `MAX_ITEM_BYTES`.
    """

    execution_id: uuid.UUID
    position: int
    output_index: int | None
    type: Literal["message", "tool_call"]
    created_at: datetime
    role: Literal["user", "assistant"] | None = None
    text: str | None = None
    name: str | None = None
    arguments: str | None = None
    output: str | None = None
    error: str | None = None
    is_truncated: bool = False
    # Of a message of the model: whether it is the answer, as in `executions.responses.step_item`.
    is_answer: bool = False


class ItemList:
    """The items of a conversation. A slice takes three queries, however long the conversation is.

    `executions` are those of the conversation, the oldest first.
    """

    def __init__(self, conversation: Conversation) -> None:
        self.executions = Execution.objects.filter(
            tenant_id=conversation.tenant_id, conversation_id=conversation.pk
        ).order_by("created_at", "id")

    def count(self) -> int:
        """Return the number of items."""
        return sum(self._counts.values())

    def span(self, execution_id: uuid.UUID) -> tuple[int, int]:
        """Return the index of the first item of an execution, and the one after its last."""
        first = 0
        for pk, count in self._counts.items():
            if pk == execution_id:
                return first, first + count
            first += count
        return 0, 0

    def __getitem__(self, part: slice) -> list[Item]:
        start, stop = part.start or 0, self.count() if part.stop is None else part.stop
        ends = accumulate(self._counts.values())
        spans = [
            (pk, end - count, end)
            for (pk, count), end in zip(self._counts.items(), ends, strict=True)
        ]
        pks = [pk for pk, first, end in spans if first < stop and end > start]
        if not pks:
            return []
        skipped = start - next(first for pk, first, _ in spans if pk == pks[0])
        return [*self.of(pks)][skipped : skipped + stop - start]

    @cached_property
    def _counts(self) -> dict[uuid.UUID, int]:
        """The number of items of each execution, the oldest first."""
        return dict(self.executions.values_list("pk", _item_count()))

    def of(self, pks: list[uuid.UUID]) -> Iterator[Item]:
        """Yield the items of these executions, the oldest first."""
        rows = self.executions.filter(pk__in=pks)
        steps = _steps(pks)
        columns = ("pk", "status", "options", "created_at", "prompt_start", "response_start")
        has_schema = Q(output_schema__isnull=False)
        for execution in rows.annotate(
            has_schema=has_schema, **_starts("prompt", "response")
        ).values(*columns, "has_schema"):
            yield from _items_of(execution, steps[execution["pk"]])


def _item_count() -> Any:
    """The number of items of an execution, as an expression."""
    steps = Step.objects.filter(execution=OuterRef("pk")).order_by()
    shown = steps.filter(_SHOWN).values("execution").annotate(count=Count("*")).values("count")
    messages = Func(KeyTransform("messages", "options"), function="jsonb_array_length")
    is_local = Q(~Exists(steps), status=Execution.Status.SUCCEEDED)
    return (
        1
        + Coalesce(messages, 0, output_field=IntegerField())
        + Coalesce(Subquery(shown, output_field=IntegerField()), 0)
        + Case(When(is_local, then=Value(1)), default=Value(0))
    )


def _steps(pks: list[uuid.UUID]) -> dict[uuid.UUID, list[dict[str, Any]]]:
    """Return the output items of executions, in order."""
    rows: QuerySet[Step, Any] = Step.objects.filter(_SHOWN, execution_id__in=pks)
    steps: dict[uuid.UUID, list[dict[str, Any]]] = defaultdict(list)
    columns = ("execution_id", "kind", "name", "error", "is_running", "created_at")
    for row in (
        rows.order_by("execution_id", "position")
        .annotate(has_calls=~Q(tool_calls=[]), **_starts("output", "input"))
        .values(*columns, "has_calls", "output_start", "input_start")
    ):
        steps[row["execution_id"]].append(row)
    return steps


def _starts(*names: str) -> dict[str, Left]:
    """The texts as far as they are shown. One character more shows that there is more."""
    return {f"{name}_start": Left(name, MAX_ITEM_BYTES + 1) for name in names}


def _items_of(execution: dict[str, Any], steps: list[dict[str, Any]]) -> Iterator[Item]:
    pk, created_at = execution["pk"], execution["created_at"]
    messages = [
        *(execution["options"] or {}).get("messages", ()),
        ("user", execution["prompt_start"]),
    ]
    for position, (role, text) in enumerate(messages):
        yield Item(pk, position, None, "message", created_at, **_text(role, text))
    if not steps and execution["status"] == Execution.Status.SUCCEEDED:
        text = _text("assistant", execution["response_start"])
        yield Item(pk, len(messages), 0, "message", created_at, is_answer=True, **text)
    for index, step in enumerate(steps):
        position, time = len(messages) + index, step["created_at"]
        if step["kind"] == Step.Kind.TOOL:
            yield Item(pk, position, index, "tool_call", time, **_call(step))
        else:
            # With an output schema, the valid response is the last one.
            is_last = index == len(steps) - 1 and execution["status"] == Execution.Status.SUCCEEDED
            message = {
                **_text("assistant", step["output_start"]),
                "error": step["error"] or None,
                "is_answer": not step["has_calls"] and (is_last or not execution["has_schema"]),
            }
            yield Item(pk, position, index, "message", time, **message)


def _text(role: str, text: str) -> dict[str, Any]:
    text, is_cut = first_bytes(text, MAX_ITEM_BYTES)
    return {"role": role, "text": text, "is_truncated": is_cut}


def _call(step: dict[str, Any]) -> dict[str, Any]:
    arguments, are_cut = first_bytes(step["input_start"], MAX_ITEM_BYTES)
    output, is_cut = first_bytes(step["output_start"], MAX_ITEM_BYTES)
    return {
        "name": step["name"],
        "arguments": arguments,
        "output": None if step["is_running"] else output,
        "error": step["error"] or None,
        "is_truncated": are_cut or is_cut,
    }
