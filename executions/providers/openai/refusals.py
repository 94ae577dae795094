"""Parts of a request for a chat completion that some servers refuse."""

import re
from collections.abc import Mapping
from typing import Any

from executions.providers.failures import ReportedError, StatusError
from executions.providers.refusals import UNSUPPORTED

# The two names of the maximum number of output tokens.
LIMIT_NAMES = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}

_STREAM_OPTIONS = re.compile("stream_options|include_usage")
# OpenAI streams some models only to verified organizations.
_STREAM = re.compile("verified to stream|streaming|not support stream")
_RESPONSE_FORMAT = re.compile(
    "response.?(format|mime.?type|schema)|json.?(schema|mode|object)|structured.?output"
    "|guided.?(json|decoding)|output.?(format|schema)|grammar"
)


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


def _is_refused_limit(name: str, body: Mapping[str, Any], reported: ReportedError) -> bool:
    """Return whether the server refuses the name of the limit and not its value."""
    text = reported.searched_text
    return name in body and (
        LIMIT_NAMES[name] in text
        or reported.identifiers.get("code") == "unsupported_parameter"
        or (name in text and UNSUPPORTED.search(text) is not None)
    )
