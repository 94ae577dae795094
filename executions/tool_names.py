"""The tool that a model means. Models add spaces and prefixes to names, and change their case."""

import re
from collections.abc import Callable, Mapping

MAX_CHARACTERS = 200

# As in the formats in which some models write calls: `functions.search:0`, `default_api.search`.
_PARTS = re.compile(
    r"(?:(?:functions?|tools?|default_api)[.:/])?(.+?)(?::[0-9]+)?", re.DOTALL | re.IGNORECASE
)


def resolve(name: str, tool_names: Mapping[str, str]) -> str:
    """Return the function name that a model means, or the name itself if not exactly one matches.

    `tool_names` are the tenant's names of the tools by function name. A closer match has precedence.
    """
    if name in tool_names or len(name) > MAX_CHARACTERS:
        return name
    for form in _FORMS:
        wanted = form(name)
        matches = [
            function
            for function, tool_name in tool_names.items()
            if wanted in {form(function), form(tool_name)}
        ]
        if matches:
            return matches[0] if len(matches) == 1 else name
    return name


def _bare(name: str) -> str:
    match = _PARTS.fullmatch(name.strip())
    return match[1] if match else name


def _folded(name: str) -> str:
    """Ignore case, and the difference between `_`, `-` and other separators."""
    return re.sub(r"[\W_]+", "_", _bare(name).casefold())


_FORMS: tuple[Callable[[str], str], ...] = (str, str.strip, _bare, _folded)
