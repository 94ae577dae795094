"""The kind `http`: a call is one HTTP request, its result what the server answers, as text."""

import codecs
import time
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

import orjson
from django.conf import settings

from tools.blotting import Blotter
from tools.invokers import ToolFailed, http_config
from tools.invokers.url import SECRET, Place, Url, ValueRefused, parsed_url
from tools.outbound import Answer, OutboundError, send

MAX_RESULT_BYTES = 64 * 1024
MAX_PATH_CHARACTERS = 16 * 1024

checked = http_config.checked
crossed = http_config.crossed

# What a server may say its text is written in, besides UTF-8; some of Python's codecs are slow.
_CHARSETS = {
    *("us-ascii", "iso-8859-1", "iso-8859-2", "iso-8859-15", "koi8-r", "utf-16"),
    *("windows-1250", "windows-1251", "windows-1252"),
    *("shift_jis", "euc-jp", "euc-kr", "gb18030", "gbk", "big5"),
}


def invoke(
    config: Mapping[str, Any],
    arguments: Mapping[str, Any],
    opened: Mapping[str, str],
    *,
    blotter: Blotter,
    deadline: float,
) -> str:
    """See `tools.invokers.Invoker`."""
    url = parsed_url(config["url"])
    path, body = _written(config, url, arguments, opened)
    try:
        answer = send(
            url.target,
            method=config["method"],
            path=path,
            headers=_headers(config, opened, has_body=bool(body)),
            body=body,
            # So much more that a secret which the limit cuts in two is seen whole.
            max_bytes=MAX_RESULT_BYTES + 4 * blotter.longest,
            deadline=min(deadline, time.monotonic() + config["timeout_seconds"]),
        )
    except OutboundError as error:
        raise ToolFailed(error.code, error.text) from None
    return _result(answer, blotter)


def _written(
    config: Mapping[str, Any], url: Url, arguments: Mapping[str, Any], opened: Mapping[str, str]
) -> tuple[str, bytes]:
    """Path with query, and body. Raises ToolFailed `bad_arguments`."""

    def value(place: Place) -> str:
        return opened[place.name] if place.is_secret else _argument(place.name, arguments)

    try:
        path = url.filled(value)
        places = {place.name for place in url.places() if not place.is_secret}
        rest = {name: found for name, found in arguments.items() if name not in places}
        if config["arguments_in"] == "body":
            return path, orjson.dumps(rest)
        if taken := sorted(rest.keys() & url.query_names()):
            raise ValueRefused(f"{taken[0]} is set by the tool itself.")
        query = "&".join(_pairs(rest))
        path += f"{'&' if '?' in path else '?'}{query}" if query else ""
        if len(path) > MAX_PATH_CHARACTERS:
            raise ValueRefused("They are too long for a URL.")
    except ValueRefused as refusal:
        raise ToolFailed("bad_arguments", f"The arguments are wrong: {refusal}") from None
    return path, b""


def _argument(name: str, arguments: Mapping[str, Any]) -> str:
    """What stands for it in the URL."""
    if name not in arguments:
        raise ValueRefused(f"{name} is missing; it is a part of the URL.")
    if not isinstance(arguments[name], str | int | float):
        raise ValueRefused(
            f"{name} is a part of the URL: it must be a text, a number or a boolean."
        )
    return _text(arguments[name])


def _text(value: object) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _pairs(rest: Mapping[str, Any]) -> Iterator[str]:
    """A list is its name again and again; null is left out."""
    for name, value in rest.items():
        for item in value if isinstance(value, list) else [value]:
            if item is not None:
                yield f"{quote(name, safe='')}={quote(_text(item), safe='')}"


def _headers(
    config: Mapping[str, Any], opened: Mapping[str, str], *, has_body: bool
) -> list[tuple[str, str]]:
    headers = {
        "user-agent": f"mini-agent-platform/{settings.VERSION}",
        "accept": "application/json, text/plain;q=0.9, */*;q=0.5",
    }
    if has_body:
        headers["content-type"] = "application/json"
    for name, template in config["headers"].items():
        headers[name.lower()] = SECRET.sub(lambda found: opened[found[1]], template)
    return list(headers.items())


def _result(answer: Answer, blotter: Blotter) -> str:
    """What the model is told. Raises ToolFailed for anything but a 2xx."""
    text = _cut(answer, blotter)
    if 200 <= answer.status < 300:
        return text or f"(The answer is empty: HTTP {answer.status}.)"
    if 300 <= answer.status < 400:
        text = "It leads elsewhere, and redirects are not followed."
    raise ToolFailed(f"http_{answer.status}", f"HTTP {answer.status}: {text or '(no text)'}")


def _cut(answer: Answer, blotter: Blotter) -> str:
    """At most `MAX_RESULT_BYTES` of the body as text, without secrets, and a note where it was cut."""
    charset = _charset(blotter(answer.headers.get("content-type", "")))
    text = answer.body.decode(charset, errors="replace")
    if len(answer.body) <= MAX_RESULT_BYTES and not answer.cut:
        return blotter(text)
    # Cut between two characters: the decoder keeps a part of one to itself.
    decoder = codecs.getincrementaldecoder(charset)(errors="replace")
    limit = len(decoder.decode(answer.body[:MAX_RESULT_BYTES]))
    note = f"\n[cut here: only the first {MAX_RESULT_BYTES} bytes of the answer are shown]"
    return blotter(text, limit) + note


def _charset(content_type: str) -> str:
    """Raises ToolFailed where the content is no text."""
    kind, *parameters = content_type.lower().split(";")
    kind = kind.strip()
    if kind.startswith(("image/", "audio/", "video/", "font/")) or kind in _NO_TEXT:
        raise ToolFailed("not_text", f"The answer is no text, but {kind[:100]}.")
    for parameter in parameters:
        name, _, value = parameter.strip().partition("=")
        if name == "charset" and value.strip("\"' ") in _CHARSETS:
            return value.strip("\"' ")
    return "utf-8"


_NO_TEXT = {"application/octet-stream", "application/pdf", "application/zip", "application/gzip"}
