"""Parts of requests that a server has refused, so that later requests are made without them."""

import re

from executions.providers import ModelRequest
from executions.providers.failures import ReportedError, StatusError

# In an error that means the part, and not its value.
UNSUPPORTED = re.compile(
    "unsupported|not supported|not support|unrecognized|unknown|unexpected|extra|incompatible"
    "|cannot|not permitted|not allowed|not available"
)
_INVALID_SCHEMA = re.compile("invalid.?(json.?)?schema|schema .{0,40}(invalid|must)")

# By server, model and whether the request has tools: some refuse a response format only beside tools.
_refused: dict[tuple[str, str, str, bool], frozenset[str]] = {}


def known_refusals(request: ModelRequest) -> frozenset[str]:
    """Return the names of the parts that were refused in such a request."""
    return _refused.get(_key(request), frozenset())


def remember(request: ModelRequest, refused: frozenset[str]) -> None:
    """Note the parts without which such a request succeeded."""
    if refused != known_refusals(request):
        _refused[_key(request)] = refused


def is_lasting(error: StatusError) -> bool:
    """Return whether the server refuses the part and not its value, such as the schema of one tenant."""
    text = ReportedError(error.body).searched_text
    return not _INVALID_SCHEMA.search(text) and UNSUPPORTED.search(text) is not None


def _key(request: ModelRequest) -> tuple[str, str, str, bool]:
    model = request.model
    name = model.upstream_name or model.name
    return model.provider, model.base_url, name, bool(request.tools)
