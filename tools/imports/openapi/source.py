"""Reading an OpenAPI document from its URL."""

import time
from typing import Any

import orjson

from map_project import VERSION
from tools.errors import ToolServerError
from tools.imports.base import MAX_READ_SECONDS
from tools.imports.openapi.document import YAML_HINT, DocumentError
from tools.invokers.url import UrlError, UrlTemplate, parse_url
from tools.outbound import MAX_TOOL_RESPONSE_BYTES, OutboundError, Response, send

_HEADERS = [
    ("user-agent", f"mini-agent-platform/{VERSION}"),
    ("accept", "application/json, */*;q=0.5"),
]


def parse_document_url(text: str) -> UrlTemplate:
    """Parse the URL of a document. Raises UrlError."""
    url = parse_url(text)
    if any(url.placeholders()):
        raise UrlError("The URL of a document must not contain placeholders.")
    return url


def read_document(text: str) -> dict[str, Any]:
    """Return the document at a URL. Raises ToolServerError, and DocumentError if it is not JSON."""
    url = parse_document_url(text)
    try:
        response = send(
            url.origin,
            method="GET",
            path=url.fill(lambda _: ""),
            headers=_HEADERS,
            body=b"",
            max_bytes=MAX_TOOL_RESPONSE_BYTES,
            deadline=time.monotonic() + MAX_READ_SECONDS,
        )
    except OutboundError as error:
        raise ToolServerError(reason=error.code, text=error.text) from None
    if not 200 <= response.status < 300:
        raise ToolServerError(
            reason=f"http_{response.status}",
            text=f"The server returned HTTP {response.status}. Redirects are not followed.",
        )
    return _parsed(response)


def _parsed(response: Response) -> dict[str, Any]:
    if response.is_truncated:
        raise DocumentError(f"The document has more than {MAX_TOOL_RESPONSE_BYTES:,} bytes.")
    try:
        content = orjson.loads(response.body.removeprefix(b"\xef\xbb\xbf"))
    except orjson.JSONDecodeError:
        raise DocumentError(f"The document is not JSON. {YAML_HINT}") from None
    if not isinstance(content, dict):
        raise DocumentError("The document is not a JSON object.")
    return content
