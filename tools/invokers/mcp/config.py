"""Validation of the configuration of the kind `mcp`, and the server that it names."""

from collections.abc import Iterator, Mapping
from typing import Any

from map_project.api.fields import unknown_names
from tools.invokers.base import ConfigError, ToolError
from tools.invokers.http_config import (
    DEFAULT_TIMEOUT_SECONDS,
    header_problems,
    secret_problems,
    timeout_problems,
    url_problems,
)
from tools.invokers.mcp.client import Server
from tools.invokers.mcp.definitions import MAX_NAME_CHARACTERS
from tools.invokers.mcp.parameters import header_errors
from tools.invokers.url import SECRET, InvalidValueError, Placeholder, UrlError, parse_url

_FIELDS = ("url", "tool", "headers", "timeout_seconds")
# They belong to the protocol.
_RESERVED_HEADERS = {"accept", "content-type", "last-event-id"}


def validate_config(config: object) -> dict[str, Any]:
    """Return the configuration with defaults filled in. See `tools.invokers.base.Invoker`."""
    if not isinstance(config, dict):
        raise ConfigError(["Expected an object."])
    problems = [f"{name}: Unknown field." for name in unknown_names(config, _FIELDS)]
    problems += [
        f"{name}: This field is required." for name in ("url", "tool") if name not in config
    ]
    complete = {
        "url": config.get("url", "http://missing.example/"),
        "tool": config.get("tool", "missing"),
        "headers": config.get("headers", {}),
        "timeout_seconds": config.get("timeout_seconds", DEFAULT_TIMEOUT_SECONDS),
    }
    problems += [*server_problems(complete["url"], complete["headers"]), *_tool_problems(complete)]
    if problems:
        raise ConfigError(problems)
    return complete


def cross_field_errors(
    config: Mapping[str, Any], parameters: Mapping[str, Any], secret_names: list[str]
) -> list[str]:
    """Check secrets and headers of parameters. See `tools.invokers.base.Invoker`."""
    return [*secret_problems(config, secret_names), *header_errors(parameters)]


def server_problems(url: object, headers: object) -> Iterator[str]:
    """Yield why a URL and headers are not those of an MCP server, as sentences."""
    problems = [*url_problems(url), *header_problems(headers)]
    if problems:
        yield from problems
        return
    if isinstance(url, str) and any(not part.is_secret for part in parse_url(url).placeholders()):
        yield "url: {{secret.name}} is allowed, but no placeholder for an argument."
    for name in headers if isinstance(headers, dict) else ():
        if name.lower() in _RESERVED_HEADERS or name.lower().startswith("mcp-"):
            yield f"headers: {name} cannot be set."


def _tool_problems(config: Mapping[str, Any]) -> Iterator[str]:
    tool = config["tool"]
    if not isinstance(tool, str) or not 1 <= len(tool) <= MAX_NAME_CHARACTERS or "\0" in tool:
        yield f"tool: Expected 1 to {MAX_NAME_CHARACTERS} characters."
    yield from timeout_problems(config["timeout_seconds"])


def server_of(url: str, headers: Mapping[str, str], secrets: Mapping[str, str]) -> Server:
    """Return the server with the values of secrets. All secrets exist. Raises ToolError."""

    def value(placeholder: Placeholder) -> str:
        return secrets[placeholder.name]

    try:
        template = parse_url(url)
        path = template.fill(value)
    except UrlError as error:
        # A row that was written by other means, or by a version with other rules.
        raise ToolError("bad_request", f"The URL of the server is not valid: {error}") from None
    except InvalidValueError:
        message = "A secret cannot be part of the path of the URL."
        raise ToolError("bad_request", message) from None
    filled = [
        (name.lower(), SECRET.sub(lambda match: secrets[match[1]], text))
        for name, text in headers.items()
    ]
    return Server(template.origin, path, filled)
