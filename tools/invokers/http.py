"""The kind `http`: a call is one HTTP request, and its result is the body of the response, as text."""

import time
from collections.abc import Mapping
from typing import Any

from map_project import VERSION
from tools.invokers.base import CallableTool, ToolError
from tools.invokers.http_arguments import Pair, Placed, encoded, place, text_of
from tools.invokers.http_config import cross_field_errors, validate_config
from tools.invokers.http_response import MAX_RESULT_BYTES, result
from tools.invokers.url import (
    SECRET,
    InvalidValueError,
    Placeholder,
    UrlError,
    UrlTemplate,
    parse_url,
)
from tools.outbound import OutboundError, send
from tools.redaction import SecretRedactor

__all__ = ["call", "cross_field_errors", "validate_config"]

MAX_PATH_CHARACTERS = 16 * 1024


def call(
    tool: CallableTool,
    arguments: Mapping[str, Any],
    secrets: Mapping[str, str],
    *,
    redactor: SecretRedactor,
    deadline: float,
    idempotency_key: str = "",
) -> str:
    """Send the request. See `tools.invokers.base.Invoker`."""
    config = tool.config
    try:
        url = parse_url(config["url"])
    except UrlError as error:
        # A row that was written by other means, or by a version with other rules.
        raise ToolError("bad_request", f"The URL of the tool is not valid: {error}") from None
    path, placed = _path_and_arguments(config, url, arguments, secrets)
    try:
        response = send(
            url.origin,
            method=config["method"],
            path=path,
            headers=_headers(config, secrets, placed.headers, idempotency_key),
            body=placed.body,
            # Enough more than the limit to see a secret that the limit cuts in two, in any charset.
            max_bytes=MAX_RESULT_BYTES + 4 * redactor.max_characters,
            deadline=min(deadline, time.monotonic() + config["timeout_seconds"]),
        )
    except OutboundError as error:
        raise ToolError(error.code, error.text) from None
    return result(response, redactor)


def _path_and_arguments(
    config: Mapping[str, Any],
    url: UrlTemplate,
    arguments: Mapping[str, Any],
    secrets: Mapping[str, str],
) -> tuple[str, Placed]:
    """Return the path with its query, and the other arguments. Raises ToolError `bad_arguments`."""

    def value(placeholder: Placeholder) -> str:
        if placeholder.is_secret:
            return secrets[placeholder.name]
        return _url_argument(placeholder.name, arguments)

    try:
        path = url.fill(value)
        used = {part.name for part in url.placeholders() if not part.is_secret}
        rest = {name: found for name, found in arguments.items() if name not in used}
        placed = place(rest, config["arguments_in"], config.get("locations", {}))
        return _append_query(path, url, placed.query), placed
    except InvalidValueError as error:
        raise ToolError("bad_arguments", f"The arguments are not valid: {error}") from None


def _append_query(path: str, url: UrlTemplate, pairs: list[Pair]) -> str:
    if conflicts := sorted({name for name, _ in pairs} & url.query_names()):
        raise InvalidValueError(f"{conflicts[0]} is set by the tool itself.")
    query = encoded(pairs)
    path += f"{'&' if '?' in path else '?'}{query}" if query else ""
    if len(path) > MAX_PATH_CHARACTERS:
        raise InvalidValueError("They are too long for a URL.")
    return path


def _url_argument(name: str, arguments: Mapping[str, Any]) -> str:
    """Return the text of an argument in the URL."""
    if name not in arguments:
        raise InvalidValueError(f"{name} is missing; it is a part of the URL.")
    if not isinstance(arguments[name], str | int | float):
        raise InvalidValueError(
            f"{name} is a part of the URL: it must be a string, a number or a boolean."
        )
    return text_of(arguments[name])


def _headers(
    config: Mapping[str, Any],
    secrets: Mapping[str, str],
    argument_headers: Mapping[str, str],
    idempotency_key: str,
) -> list[tuple[str, str]]:
    headers = {
        "user-agent": f"mini-agent-platform/{VERSION}",
        "accept": "application/json, text/plain;q=0.9, */*;q=0.5",
    }
    if idempotency_key and config["method"] != "GET":
        headers["idempotency-key"] = idempotency_key
    headers |= argument_headers
    for name, template in config["headers"].items():
        headers[name.lower()] = SECRET.sub(lambda match: secrets[match[1]], template)
    return list(headers.items())
