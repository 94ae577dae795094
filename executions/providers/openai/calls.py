"""Joins the parts in which servers stream tool calls.

OpenAI gives each call an index, and sends its id and name in the first part. Some servers send whole calls
without an index or an id, give all calls the same index, or send an id with each part: the same one or a new
one.
"""

from dataclasses import dataclass, field
from typing import Any

from executions.providers import is_json_object
from executions.providers.limits import MAX_TOOL_CALLS, too_many_calls
from executions.providers.openai.completions import NAME


@dataclass(slots=True, eq=False)
class _Call:
    """The parts of a call so far."""

    index: object
    call_id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list)
    # Arguments that are sent as an object instead of its JSON.
    value: Any = None
    extra: dict[str, Any] = field(default_factory=dict)
    function_extra: dict[str, Any] = field(default_factory=dict)

    def has_all_arguments(self) -> bool:
        if not self.arguments or not self.arguments[-1].rstrip().endswith("}"):
            return self.value is not None
        return is_json_object("".join(self.arguments))

    def extend(self, part: dict[str, Any], function: dict[str, Any]) -> None:
        """Add a part. Fields of the server's own are whole in each part."""
        name, arguments = function.get("name") or "", function.get("arguments")
        self.call_id = self.call_id or part.get("id") or ""
        if name != self.name:
            self.name += name
        if isinstance(arguments, str):
            self.arguments.append(arguments)
        elif arguments is not None:
            self.value = arguments
        _update(self.extra, part, {"index", "id", "type", "function"})
        _update(self.function_extra, function, {"name", "arguments"})

    def fields(self) -> dict[str, Any]:
        arguments = "".join(self.arguments) if self.value is None else self.value
        function = {**self.function_extra, "name": self.name, "arguments": arguments}
        return {**self.extra, "id": self.call_id, "type": "function", "function": function}


class CallStream:
    """The tool calls of a message so far."""

    def __init__(self) -> None:
        self._calls: list[_Call] = []

    def add(self, parts: list[dict[str, Any]]) -> None:
        """Add the parts of calls in a chunk."""
        added: list[_Call] = []
        for part in parts:
            function = part.get("function") or {}
            call = self._find(part, function, added)
            if call is None:
                call = _Call(part.get("index"))
                self._calls.append(call)
                if len(self._calls) > MAX_TOOL_CALLS:
                    raise too_many_calls(NAME, len(self._calls))
            added.append(call)
            call.extend(part, function)

    def fields(self) -> list[dict[str, Any]]:
        """Return the calls as a complete message contains them."""
        return [call.fields() for call in self._calls]

    def _find(
        self, part: dict[str, Any], function: dict[str, Any], added: list[_Call]
    ) -> _Call | None:
        """Return the call that the part continues, or None if it begins one, which takes a name."""
        index, call_id, name = part.get("index"), part.get("id"), function.get("name")
        calls = reversed(self._calls)
        if index is not None:
            found = next((call for call in calls if call.index == index), None)
        else:
            last = self._calls[-1] if self._calls else None
            found = next((call for call in calls if call_id and call.call_id == call_id), last)
        if found is None or not name:
            return found
        is_new = (
            (call_id and found.call_id and call_id != found.call_id)
            or (function.get("arguments") and found.has_all_arguments())
            or (index is None and (name != found.name or found in added))
        )
        return None if is_new else found


def _update(extra: dict[str, Any], part: dict[str, Any], known: set[str]) -> None:
    extra |= {key: value for key, value in part.items() if key not in known and value is not None}
