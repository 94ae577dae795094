"""Validation of the configuration of the kind `http`."""

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from map_project.api.fields import unknown_names
from tools.invokers.base import ConfigError
from tools.invokers.http_arguments import BODY_TYPES, STYLES, is_header_value
from tools.invokers.url import SECRET, UrlError, parse_url

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
ARGUMENTS_IN = ("query", *BODY_TYPES)
LOCATIONS = ("query", "header", *BODY_TYPES)
MAX_TIMEOUT_SECONDS = 60
DEFAULT_TIMEOUT_SECONDS = 10
MAX_HEADERS = 30
MAX_LOCATIONS = 100
MAX_WIRE_NAME_CHARACTERS = 200

_FIELDS = ("method", "url", "arguments_in", "locations", "headers", "timeout_seconds")
_FORM_TYPES = {BODY_TYPES["form"], "multipart/form-data"}
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
# Framing and connection handling, which belong to the HTTP client.
_RESERVED_HEADERS = {
    *("host", "content-length", "transfer-encoding", "accept-encoding", "expect"),
    *("connection", "keep-alive", "te", "trailer", "upgrade", "http2-settings"),
}


def validate_config(config: object) -> dict[str, Any]:
    """Return the configuration with defaults filled in. See `tools.invokers.base.Invoker`."""
    if not isinstance(config, dict):
        raise ConfigError(["Expected an object."])
    unknown = unknown_names(config, _FIELDS)
    problems = [f"{name}: Unknown field." for name in unknown]
    problems += [
        f"{name}: This field is required." for name in ("method", "url") if name not in config
    ]
    has_query_arguments = config.get("method", "GET") in ("GET", "DELETE")
    complete: dict[str, Any] = {
        "method": config.get("method", "GET"),
        "url": config.get("url", "http://missing.example/"),
        "arguments_in": config.get("arguments_in", "query" if has_query_arguments else "body"),
        "headers": config.get("headers", {}),
        "timeout_seconds": config.get("timeout_seconds", DEFAULT_TIMEOUT_SECONDS),
    }
    if config.get("locations", {}) != {}:
        complete["locations"] = config["locations"]
    problems += _problems(complete)
    if problems:
        raise ConfigError(problems)
    return complete


def cross_field_errors(
    config: Mapping[str, Any], parameters: Mapping[str, Any], secret_names: list[str]
) -> list[str]:
    """Check placeholders of arguments and secrets. See `tools.invokers.base.Invoker`."""
    placeholders = list(parse_url(config["url"]).placeholders())
    properties = parameters.get("properties", {})
    problems = [
        f"url: {{{placeholder.name}}} is not defined in parameters.properties."
        for placeholder in placeholders
        if not placeholder.is_secret and placeholder.name not in properties
    ]
    in_url = {placeholder.name for placeholder in placeholders if not placeholder.is_secret}
    for name in config.get("locations", {}):
        if name not in properties:
            problems.append(f"locations: {name[:100]} is not defined in parameters.properties.")
        elif name in in_url:
            problems.append(f"locations: {name} is a part of the URL.")
    return [*problems, *secret_problems(config, secret_names)]


def secret_problems(config: Mapping[str, Any], secret_names: Collection[str]) -> list[str]:
    """Return an error for each secret that the URL or a header uses and that does not exist."""
    placeholders = parse_url(config["url"]).placeholders()
    used = {placeholder.name for placeholder in placeholders if placeholder.is_secret}
    used.update(name for value in config["headers"].values() for name in SECRET.findall(value))
    return [
        f'Secret "{name}" is not set. Add it to secrets.'
        for name in sorted(used - set(secret_names))
    ]


def _problems(config: dict[str, Any]) -> list[str]:
    problems = []
    if config["method"] not in METHODS:
        problems.append(f"method: Expected one of {', '.join(METHODS)}.")
    if config["arguments_in"] not in ARGUMENTS_IN:
        problems.append(f"arguments_in: Expected one of {', '.join(ARGUMENTS_IN)}.")
    elif config["method"] == "GET" and config["arguments_in"] in BODY_TYPES:
        problems.append("arguments_in: A GET request has no body.")
    problems += timeout_problems(config["timeout_seconds"])
    problems += [*url_problems(config["url"]), *header_problems(config["headers"])]
    problems += _location_problems(config.get("locations", {}))
    return problems or [*_content_type_problems(config), *_conflicts_of_locations(config)]


def timeout_problems(seconds: object) -> Iterator[str]:
    """Yield why a timeout is not valid."""
    if type(seconds) is not int or not 1 <= seconds <= MAX_TIMEOUT_SECONDS:
        yield f"timeout_seconds: Expected an integer from 1 to {MAX_TIMEOUT_SECONDS}."


def _content_type_problems(config: dict[str, Any]) -> Iterator[str]:
    """Yield the contradictions between the header Content-Type and where the arguments are sent."""
    for name, value in config["headers"].items():
        content_type = value.partition(";")[0].strip().lower()
        if name.lower() != "content-type":
            continue
        if config["arguments_in"] == "body" and content_type in _FORM_TYPES:
            yield (
                f"headers: {name} is a form, but the arguments are sent as JSON. Set arguments_in to "
                f'"form", which sends them as {BODY_TYPES["form"]}.'
            )
        if config["arguments_in"] == "form" and content_type != BODY_TYPES["form"]:
            yield (
                f'headers: With arguments_in "form", {name} must be {BODY_TYPES["form"]}, or omitted.'
            )


def url_problems(url: object) -> Iterator[str]:
    """Yield why a URL is not valid."""
    if not isinstance(url, str):
        yield "url: Expected a string."
        return
    try:
        parse_url(url)
    except UrlError as error:
        yield f"url: {error}"


def header_problems(headers: object) -> Iterator[str]:
    """Yield why headers are not valid."""
    if not isinstance(headers, dict) or len(headers) > MAX_HEADERS:
        yield f"headers: Expected an object of at most {MAX_HEADERS} names and values."
        return
    names = [str(name).lower() for name in headers]
    if len(set(names)) != len(names):
        yield "headers: A header is set twice."
    for name, value in headers.items():
        if not _TOKEN.fullmatch(str(name)):
            yield "headers: A name must have 1 to 100 letters, digits or hyphens."
        elif is_reserved_header(name):
            yield f"headers: {name} cannot be set."
        elif not isinstance(value, str) or not is_header_value(value):
            yield f"headers: The value of {name} must be printable ASCII without surrounding spaces."
        elif "{{" in SECRET.sub("", value):
            yield f"headers: In the value of {name}, {{{{ is allowed only as part of {{{{secret.name}}}}."


def _location_problems(locations: object) -> Iterator[str]:
    if not isinstance(locations, dict) or len(locations) > MAX_LOCATIONS:
        yield f"locations: Expected an object of at most {MAX_LOCATIONS} arguments."
        return
    for name, location in locations.items():
        if problem := _location_problem(location, name):
            yield f"locations: {str(name)[:100]}: {problem}"


def _location_problem(location: object, argument_name: str) -> str:
    """Return why the location of one argument is not valid, or ""."""
    if not isinstance(location, dict) or location.get("in") not in LOCATIONS:
        return f"Expected an object in which in is one of {', '.join(LOCATIONS)}."
    place = location["in"]
    allowed = {"query": {"name", "style"}, "header": {"name"}, "form": {"style"}}.get(place, set())
    if unknown := unknown_names(location, {"in", *allowed}):
        return f"{unknown[0]} is not a field of an argument in {place}."
    if location.get("style", "repeat") not in STYLES:
        return f"style: Expected one of {', '.join(STYLES)}."
    name = location.get("name", argument_name)
    if place == "header":
        is_allowed = (
            isinstance(name, str) and _TOKEN.fullmatch(name) and not is_reserved_header(name)
        )
        return "" if is_allowed and name.lower() != "content-type" else "This header cannot be set."
    if isinstance(name, str) and name.isprintable() and 1 <= len(name) <= MAX_WIRE_NAME_CHARACTERS:
        return ""
    return f"name: Expected 1 to {MAX_WIRE_NAME_CHARACTERS} printable characters."


def _conflicts_of_locations(config: Mapping[str, Any]) -> Iterator[str]:
    """Yield the contradictions between locations and the other fields, or other locations."""
    locations = config.get("locations", {})
    bodies = [name for name, location in locations.items() if location["in"] in BODY_TYPES]
    if bodies and config["method"] == "GET":
        yield "locations: A GET request has no body."
    if len(bodies) > 1 or (bodies and config["arguments_in"] in BODY_TYPES):
        yield "locations: Only one argument can be the body, with arguments_in query."
    headers = {name.lower() for name in config["headers"]}
    for argument, location in locations.items():
        name = location.get("name", argument).lower()
        if location["in"] == "header" and name in headers:
            yield f"locations: The header {name} is set twice."
        headers |= {name} if location["in"] == "header" else set()


def is_reserved_header(name: str) -> bool:
    """Return whether only the HTTP client sets a header."""
    return name.lower() in _RESERVED_HEADERS or name.lower().startswith("proxy-")
