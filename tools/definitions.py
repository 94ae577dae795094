"""Validation of a tool across its fields: kind, parameters, configuration and secrets."""

import re

from tools import schemas
from tools.invokers import INVOKERS, ConfigError, invoker
from tools.models import Tool

MAX_SECRETS = 20
MAX_CHANGED_SECRETS = 2 * MAX_SECRETS
MAX_SECRET_CHARACTERS = 4_096

_SECRET_NAME = re.compile("[A-Za-z0-9_-]{1,64}")
_SECRET_VALUE = re.compile(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?")

ONLY_CALLABLE = 'Allowed only when kind is "http" or "mcp".'

Errors = dict[str, list[str]]


def secret_errors(secrets: object) -> list[str]:
    """The errors of a value for the field `secrets`."""
    if not isinstance(secrets, dict):
        return ["Expected an object of names and values."]
    if len(secrets) > MAX_CHANGED_SECRETS:
        return [f"A request can set and remove at most {MAX_CHANGED_SECRETS} secrets."]
    if not all(_SECRET_NAME.fullmatch(name) for name in secrets):
        return ["The name of a secret must have 1 to 64 letters, digits, hyphens or underscores."]
    return [
        f"The value of {name} must be null, or 1 to {MAX_SECRET_CHARACTERS} characters of "
        "printable ASCII without blanks around them."
        for name, value in secrets.items()
        if value is not None and not _is_secret(value)
    ]


def _is_secret(value: object) -> bool:
    return (
        isinstance(value, str)
        and len(value) <= MAX_SECRET_CHARACTERS
        and _SECRET_VALUE.fullmatch(value) is not None
    )


def tool_errors(tool: Tool) -> Errors:
    """The errors of a tool before it is saved. Fills in the defaults of its `config`."""
    if errors := schemas.schema_errors(tool.parameters):
        return {"parameters": errors}
    return cross_field_errors(tool)


def cross_field_errors(tool: Tool) -> Errors:
    """The errors of a tool whose `parameters` are valid. Fills in the defaults of its `config`."""
    errors: Errors = {}
    if len(tool.secret_names) > MAX_SECRETS:
        errors["secrets"] = [f"A tool can have at most {MAX_SECRETS} secrets."]
    if config_errors := _config_errors(tool):
        errors["config"] = config_errors
    return errors


def _config_errors(tool: Tool) -> list[str]:
    if tool.kind not in INVOKERS:
        has_any = tool.config is not None or tool.secret_names
        return [ONLY_CALLABLE] if has_any else []
    if tool.config is None:
        return [f'Required when kind is "{tool.kind}".']
    try:
        tool.config = invoker(tool.kind).validate_config(tool.config)
    except ConfigError as error:
        return error.problems
    return invoker(tool.kind).cross_field_errors(tool.config, tool.parameters, tool.secret_names)
