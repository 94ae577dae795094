"""What an import finds, and what it does with it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

MAX_IMPORTED_TOOLS = 100
# For the requests that read the definitions.
MAX_READ_SECONDS = 20


@dataclass(frozen=True, slots=True)
class Candidate:
    """A tool that may be imported.

    `source_name` is its name where it comes from. `fields` are those of the API, not validated yet;
    `pinned` are further columns of the tool.
    """

    source_name: str
    fields: Mapping[str, Any] = field(repr=False)
    pinned: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an import did with one tool.

    `id` is None without a row, `reason` unless it was left, and `definition` except in a dry run.
    """

    source_name: str
    name: str
    id: UUID | None = None
    reason: str | None = None
    definition: Mapping[str, Any] | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class ImportResult:
    """The tools of an import by what was done. In a dry run, nothing was written."""

    dry_run: bool
    created: list[Outcome] = field(default_factory=list)
    changed: list[Outcome] = field(default_factory=list)
    unchanged: list[Outcome] = field(default_factory=list)
    left: list[Outcome] = field(default_factory=list)


# What makes two configurations of a kind the same tool.
_IDENTITIES = {"mcp": ("url", "tool"), "http": ("method", "url")}


def identity(kind: str, config: Mapping[str, Any] | None) -> tuple[Any, ...]:
    """Return a value that is equal for two tools of the same source."""
    return (kind, *((config or {}).get(name) for name in _IDENTITIES.get(kind, ())))
