"""The system prompt, composed here alone."""

from collections.abc import Mapping, Sequence
from typing import Protocol


class Told(Protocol):
    """What a model is told of a tool."""

    @property
    def name(self) -> str: ...
    @property
    def description(self) -> str: ...


def system_prompt(
    *,
    name: str,
    role: str,
    description: str,
    tools: Sequence[Told],
    functions: Mapping[str, str],
) -> str:
    """What the model is, what it is for, and its tools in their order. `functions` has, by the names of
    those it can call, what it calls them by; the others it is only told of.
    """
    parts = [f"You are {name}, {role}.", description]
    callable_ = [tool for tool in tools if tool.name in functions]
    declared = [tool for tool in tools if tool.name not in functions]
    if callable_:
        lines = [_line(tool, functions[tool.name]) for tool in callable_]
        parts.append("\n".join(["Tools that you can call:", *lines]))
    if declared:
        lines = [_line(tool, tool.name) for tool in declared]
        parts.append("\n".join(["Tools that you know of, and cannot call here:", *lines]))
    return "\n\n".join(parts)


def _line(tool: Told, function: str) -> str:
    called = "" if function == tool.name else f" (call it as {function})"
    return f"- {tool.name}{called}: {tool.description}"
