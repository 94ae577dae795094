"""Parts of a request for a message that some models and servers refuse."""

import re

from executions.providers import ModelRequest
from executions.providers.failures import ReportedError, StatusError

# The models have different maximums. A lower one is learned from the refusal.
DEFAULT_MAX_TOKENS = 32_000

_MAX_TOKENS = re.compile(r"max_tokens: [0-9]+ > ([0-9]{1,9})\b")
_PARTS = {
    "cache_control": re.compile("cache.?control|caching"),
    "output_config": re.compile(
        "output.?(config|format|schema)|structured.?output|json.?schema|schema is too complex|grammar"
    ),
}

_limits: dict[tuple[str, str], int] = {}


def max_tokens(request: ModelRequest) -> int:
    """Return the maximum number of output tokens, which the API requires."""
    return request.max_output_tokens or _limits.get(_key(request), DEFAULT_MAX_TOKENS)


def learn_limit(request: ModelRequest, error: StatusError) -> str | None:
    """Return "max_tokens" if the model has a lower maximum than the default, which is noted; else None."""
    found = _MAX_TOKENS.search(ReportedError(error.body).searched_text)
    if error.status != 400 or request.max_output_tokens is not None or found is None:
        return None
    _limits[_key(request)] = max(int(found[1]), 1)
    return "max_tokens"


def refused_part(error: StatusError) -> str | None:
    """Return the name of the part of the request that the server refuses, or None."""
    if error.status not in {400, 422}:
        return None
    text = ReportedError(error.body).searched_text
    return next((part for part, pattern in _PARTS.items() if pattern.search(text)), None)


def _key(request: ModelRequest) -> tuple[str, str]:
    model = request.model
    return model.base_url, model.upstream_name or model.name
