"""What a request sets for one run, in addition to its agent."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Options of a run, which are stored with its execution.

    `instructions` are added to the system prompt. `messages` are earlier messages of the client's own: pairs
    of a role (`user` or `assistant`) and a text. `model`, `schema_name` and `truncation` are those of the
    request at `/v1`, for its response.
    """

    instructions: str = ""
    temperature: float | None = None
    max_output_tokens: int | None = None
    messages: tuple[tuple[str, str], ...] = ()
    model: str = ""
    schema_name: str = ""
    truncation: str = ""

    def as_json(self) -> dict[str, Any] | None:
        """Return the options that are set, or None if there are none."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return {
            name: value for name, value in values.items() if value not in (None, "", ())
        } or None

    @classmethod
    def of_json(cls, values: Mapping[str, Any] | None) -> "RunOptions":
        """Return stored options."""
        stored = dict(values or {})
        messages = tuple((role, text) for role, text in stored.pop("messages", ()))
        return cls(messages=messages, **stored)


NO_OPTIONS = RunOptions()
