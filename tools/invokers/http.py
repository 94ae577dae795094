"""The kind `http`: a call is one HTTP request, and its result is the body of the response, as text."""

import codecs
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

import orjson

from map_project import VERSION
from tools.invokers.base import ToolError
from tools.invokers.http_config import cross_field_errors, validate_config
from tools.invokers.url import SECRET, InvalidValueError, Placeholder, UrlTemplate, parse_url
from tools.outbound import OutboundError, Response, send
from tools.redaction import SecretRedactor

__all__ = ["call", "cross_field_errors", "validate_config"]

MAX_RESULT_BYTES = 64 * 1024
MAX_PATH_CHARACTERS = 16 * 1024

# Charsets accepted besides UTF-8. Some of Python's other codecs are slow enough for an attack.
_CHARSETS = {
    *("us-ascii", "iso-8859-1", "iso-8859-2", "iso-8859-15", "koi8-r", "utf-16"),
    *("windows-1250", "windows-1251", "windows-1252"),
    *("shift_jis", "euc-jp", "euc-kr", "gb18030", "gbk", "big5"),
}
_BINARY_PREFIXES = ("image/", "audio/", "video/", "font/")
_BINARY_TYPES = {
    *("application/octet-stream", "application/pdf", "application/zip", "application/gzip"),
}


def call(
    config: Mapping[str, Any],
    arguments: Mapping[str, Any],
    secrets: Mapping[str, str],
    *,
    redactor: SecretRedactor,
    deadline: float,
) -> str:
    """Send the request. See `tools.invokers.base.Invoker`."""
    url = parse_url(config["url"])
    path, body = _path_and_body(config, url, arguments, secrets)
    try:
        response = send(
            url.origin,
            method=config["method"],
            path=path,
            headers=_headers(config, secrets, has_body=bool(body)),
            body=body,
            # Enough more than the limit to see a secret that the limit cuts in two, in any charset.
            max_bytes=MAX_RESULT_BYTES + 4 * redactor.max_characters,
            deadline=min(deadline, time.monotonic() + config["timeout_seconds"]),
        )
    except OutboundError as error:
        raise ToolError(error.code, error.text) from None
    return _result(response, redactor)


def _path_and_body(
    config: Mapping[str, Any],
    url: UrlTemplate,
    arguments: Mapping[str, Any],
    secrets: Mapping[str, str],
) -> tuple[str, bytes]:
    """Return the path with its query, and the body. Raises ToolError `bad_arguments`."""

    def value(placeholder: Placeholder) -> str:
        if placeholder.is_secret:
            return secrets[placeholder.name]
        return _url_argument(placeholder.name, arguments)

    try:
        path = url.fill(value)
        used = {part.name for part in url.placeholders() if not part.is_secret}
        rest = {name: found for name, found in arguments.items() if name not in used}
        if config["arguments_in"] == "body":
            return path, orjson.dumps(rest)
        return _append_query(path, url, rest), b""
    except InvalidValueError as error:
        raise ToolError("bad_arguments", f"The arguments are not valid: {error}") from None


def _append_query(path: str, url: UrlTemplate, arguments: Mapping[str, Any]) -> str:
    if conflicts := sorted(arguments.keys() & url.query_names()):
        raise InvalidValueError(f"{conflicts[0]} is set by the tool itself.")
    # One pair for each item of a list. Null is left out.
    pairs = [
        (name, _text(item))
        for name, value in arguments.items()
        for item in (value if isinstance(value, list) else [value])
        if item is not None
    ]
    query = urlencode(pairs, quote_via=quote)
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
    return _text(arguments[name])


def _text(value: object) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _headers(
    config: Mapping[str, Any], secrets: Mapping[str, str], *, has_body: bool
) -> list[tuple[str, str]]:
    headers = {
        "user-agent": f"mini-agent-platform/{VERSION}",
        "accept": "application/json, text/plain;q=0.9, */*;q=0.5",
    }
    if has_body:
        headers["content-type"] = "application/json"
    for name, template in config["headers"].items():
        headers[name.lower()] = SECRET.sub(lambda match: secrets[match[1]], template)
    return list(headers.items())


def _result(response: Response, redactor: SecretRedactor) -> str:
    """Return the text for the model. Raises ToolError for any status but 2xx."""
    text = _body_text(response, redactor)
    if 200 <= response.status < 300:
        return text or f"(The response is empty: HTTP {response.status}.)"
    if 300 <= response.status < 400:
        text = "The server redirects to another URL, and redirects are not followed."
    raise ToolError(f"http_{response.status}", f"HTTP {response.status}: {text or '(no text)'}")


def _body_text(response: Response, redactor: SecretRedactor) -> str:
    """Return at most `MAX_RESULT_BYTES` of the body as text without secrets, and a note if it is cut."""
    charset = _charset(redactor.redact(response.content_type))
    text = response.body.decode(charset, errors="replace")
    if len(response.body) <= MAX_RESULT_BYTES and not response.is_truncated:
        return redactor.redact(text)
    # The incremental decoder leaves out an incomplete last character.
    decoder = codecs.getincrementaldecoder(charset)(errors="replace")
    limit = len(decoder.decode(response.body[:MAX_RESULT_BYTES]))
    note = f"\n[cut here: only the first {MAX_RESULT_BYTES} bytes of the response are shown]"
    return redactor.redact(text, limit) + note


def _charset(content_type: str) -> str:
    """Return the charset of the body. Raises ToolError if the body is not text."""
    media_type, *parameters = (part.strip() for part in content_type.lower().split(";"))
    if media_type.startswith(_BINARY_PREFIXES) or media_type in _BINARY_TYPES:
        raise ToolError("not_text", f"The response is not text, but {media_type[:100]}.")
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name == "charset" and value.strip("\"' ") in _CHARSETS:
            return value.strip("\"' ")
    return "utf-8"
