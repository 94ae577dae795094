"""The system prompt of an agent."""

from collections.abc import Mapping, Sequence

from tools.invokers import CallableTool


def system_prompt(
    *,
    name: str,
    role: str,
    description: str,
    tools: Sequence[CallableTool],
    aliases: Mapping[str, str],
) -> str:
    """Return the system prompt. `aliases` has the function names of the callable tools by tool name."""
    parts = [f"You are {name}, {role}.", description]
    callable_tools = [tool for tool in tools if tool.name in aliases]
    declared_tools = [tool for tool in tools if tool.name not in aliases]
    if callable_tools:
        lines = [_line(tool, aliases[tool.name]) for tool in callable_tools]
        parts.append("\n".join(["Tools that you can call:", *lines]))
    if declared_tools:
        lines = [_line(tool, tool.name) for tool in declared_tools]
        parts.append("\n".join(["Tools that you know about but cannot call:", *lines]))
    return "\n\n".join(parts)


def _line(tool: CallableTool, alias: str) -> str:
    hint = "" if alias == tool.name else f" (call it as {alias})"
    return f"- {tool.name}{hint}: {tool.description}"
