"""Limits of what is read from a response of a provider."""

import json
from collections.abc import Mapping
from typing import Any, cast

from executions.providers import ModelError
from executions.texts import storable

# In one response. Each call becomes a step, also if it is not made.
MAX_TOOL_CALLS = 500
MAX_TOKENS = 2**31 - 1  # PostgreSQL's integer
# Of the fields of a server's own in one message or one tool call, as JSON.
MAX_EXTRA_BYTES = 1024 * 1024


def too_many_calls(provider: str, count: int) -> ModelError:
    """Return the error for a response with more than `MAX_TOOL_CALLS` calls."""
    return _bad_answer(provider, f"the response has {count} tool calls")


def bounded(provider: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields without characters that cannot be sent. Raises ModelError if they are too large.

    They are not left out: the server would refuse the next request, for a reason that no log shows.
    """
    text = storable(json.dumps(fields, ensure_ascii=False))
    if len(text.encode()) > MAX_EXTRA_BYTES:
        text = f"the server's own fields in a message have more than {MAX_EXTRA_BYTES} bytes"
        raise _bad_answer(provider, text)
    return cast(dict[str, Any], json.loads(text))


def token_count(count: object) -> int | None:
    """Return a valid count of tokens, or None."""
    is_count = isinstance(count, int) and not isinstance(count, bool)
    return cast(int, count) if is_count and 0 <= cast(int, count) <= MAX_TOKENS else None


def _bad_answer(provider: str, text: str) -> ModelError:
    return ModelError(text, provider=provider, status=200, retryable=False, reason="bad_answer")
