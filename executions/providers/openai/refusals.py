"""Parts of a request for a chat completion that some servers refuse.

What a server has refused is remembered, so that later requests are made without it.
"""

import re
from collections.abc import Mapping
from typing import Any

from executions.providers import ModelRequest
from executions.providers.failures import ReportedError, StatusError

# The two names of the maximum number of output tokens.
LIMIT_NAMES = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}

_UNSUPPORTED = re.compile(
    "unsupported|not supported|not support|unrecognized|unknown|unexpected|extra|incompatible"
    "|cannot|not permitted|not allowed|not available"
)
_STREAM_OPTIONS = re.compile("stream_options|include_usage")
# OpenAI streams some models only to verified organizations.
_STREAM = re.compile("verified to stream|streaming|not support stream")
_RESPONSE_FORMAT = re.compile(
    "response.?(format|mime.?type|schema)|json.?(schema|mode|object)|structured.?output"
    "|guided.?(json|decoding)|output.?(format|schema)|grammar"
)
_INVALID_SCHEMA = re.compile("invalid.?(json.?)?schema|schema .{0,40}(invalid|must)")

# By server, model and whether the request has tools: some refuse a response format only beside tools.
_refused: dict[tuple[str, str, bool], frozenset[str]] = {}


def known_refusals(request: ModelRequest) -> frozenset[str]:
    """Return the names of the parts that were refused in such a request."""
    return _refused.get(_key(request), frozenset())


def remember(request: ModelRequest, refused: frozenset[str]) -> None:
    """Note the parts without which such a request succeeded."""
    if refused != known_refusals(request):
        _refused[_key(request)] = refused


def refused_part(error: StatusError, body: Mapping[str, Any]) -> str | None:
    """Return the name of the part of the request that the server refuses, or None."""
    if error.status not in {400, 422}:
        return None
    reported = ReportedError(error.body)
    text, param = reported.searched_text, reported.identifiers.get("param", "")
    if "stream_options" in body and _STREAM_OPTIONS.search(text):
        return "stream_options"
    if "response_format" in body and _RESPONSE_FORMAT.search(text):
        return "response_format"
    if "stream" in body and (param == "stream" or _STREAM.search(text)):
        return "stream"
    return next((name for name in LIMIT_NAMES if _is_refused_limit(name, body, reported)), None)


def is_lasting(error: StatusError) -> bool:
    """Return whether the server refuses the part and not its value, such as the schema of one tenant."""
    text = ReportedError(error.body).searched_text
    return not _INVALID_SCHEMA.search(text) and _UNSUPPORTED.search(text) is not None


def _is_refused_limit(name: str, body: Mapping[str, Any], reported: ReportedError) -> bool:
    """Return whether the server refuses the name of the limit and not its value."""
    text = reported.searched_text
    return name in body and (
        LIMIT_NAMES[name] in text
        or reported.identifiers.get("code") == "unsupported_parameter"
        or (name in text and _UNSUPPORTED.search(text) is not None)
    )


def _key(request: ModelRequest) -> tuple[str, str, bool]:
    model = request.model
    return model.base_url, model.upstream_name or model.name, bool(request.tools)
