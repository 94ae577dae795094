"""The import from an MCP server."""

import time
from collections.abc import Mapping
from typing import Any

from rest_framework import serializers

from map_project.api.fields import ObjectField, TextField
from tools.errors import ToolServerError
from tools.imports.base import MAX_IMPORTED_TOOLS, MAX_READ_SECONDS, Candidate, Outcome
from tools.imports.serializers import ImportSerializer
from tools.invokers import ToolError, decrypt_secrets
from tools.invokers.http_config import secret_problems
from tools.invokers.mcp import Definition, definitions, server_problems
from tools.models import Tool
from tools.redaction import SecretRedactor
from tools.serializers import ToolSerializer
from tools.services import update_tool

MAX_DESCRIPTION_CHARACTERS = 1_000


class ToolNamesField(serializers.ListField):
    """Names of tools on a server."""

    child = TextField(max_length=128)


class McpImportSerializer(ImportSerializer):
    """An import of the tools of an MCP server."""

    kind = serializers.ChoiceField(choices=["mcp"], help_text="The kind of the source.")
    url = TextField(
        max_length=2_000,
        help_text="URL of the server (Streamable HTTP), as in `mcp.url` of a tool.",
    )
    headers = ObjectField(
        required=False,
        help_text="Headers of the requests, as in `mcp.headers` of a tool. Values may contain "
        "`{{secret.name}}`.",
    )
    tools = ToolNamesField(
        required=False,
        allow_null=True,
        max_length=MAX_IMPORTED_TOOLS,
        help_text="Names of the tools to import, as on the server. If omitted or null, all.",
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        errors: dict[str, list[str]] = {}
        headers = attrs.get("headers", {})
        for problem in server_problems(attrs["url"], headers):
            field, _, text = problem.partition(": ")
            errors.setdefault(field, []).append(text)
        if not errors:
            config = {"url": attrs["url"], "headers": headers}
            if problems := secret_problems(config, _values(attrs.get("secrets"))):
                errors["secrets"] = problems
        if errors:
            raise serializers.ValidationError(errors)
        return attrs

    def candidates(self) -> tuple[list[Candidate], list[Outcome]]:
        """Read the tools of the server. See `ImportSerializer`."""
        found = read_definitions(
            self.validated_data["url"],
            self.validated_data.get("headers", {}),
            _values(self.validated_data.get("secrets")),
        )
        names = self.validated_data.get("tools")
        wanted = found if names is None else [each for each in found if each.name in names]
        missing = set(names or ()) - {each.name for each in found}
        left = [
            Outcome(name, name, reason="The server has no such tool.") for name in sorted(missing)
        ]
        return [self._candidate(definition) for definition in wanted], left

    def _candidate(self, definition: Definition) -> Candidate:
        data = self.validated_data
        fields = {
            "name": data.get("prefix", "") + definition.name,
            "kind": Tool.Kind.MCP.value,
            "mcp": {
                "url": data["url"],
                "tool": definition.name,
                "headers": data.get("headers", {}),
            },
            "secrets": data.get("secrets", {}),
            **described(definition, _values(data.get("secrets"))),
        }
        return Candidate(definition.name, fields, pinned(definition))


def read_definitions(
    url: str, headers: Mapping[str, str], secrets: Mapping[str, str]
) -> list[Definition]:
    """Return the tools of a server. Raises ToolServerError."""
    try:
        return definitions(url, headers, secrets, deadline=time.monotonic() + MAX_READ_SECONDS)
    except ToolError as error:
        raise ToolServerError(reason=error.code, text=error.text) from None


def described(definition: Definition, secrets: Mapping[str, str]) -> dict[str, Any]:
    """Return the fields of a tool that its definition sets. A long description is cut.

    Some servers repeat what they receive, so secrets are removed.
    """
    description = SecretRedactor(secrets.values()).redact(definition.description).strip()
    description = description or definition.name
    if len(description) > MAX_DESCRIPTION_CHARACTERS:
        description = description[: MAX_DESCRIPTION_CHARACTERS - 1] + "…"
    return {"description": description, "parameters": definition.schema}


def pinned(definition: Definition) -> dict[str, Any]:
    """Return the columns of a tool that pin its definition."""
    return {"definition_hash": definition.fingerprint(), "state": Tool.State.READY}


def _values(secrets: Mapping[str, str | None] | None) -> dict[str, str]:
    return {name: value for name, value in (secrets or {}).items() if value is not None}


def current_fields(tool: Tool) -> dict[str, Any]:
    """Return the fields of an `mcp` tool by its current definition on the server. Raises ToolServerError."""
    config = tool.config or {}
    try:
        secrets = decrypt_secrets(tool.pk, tool.secrets_token)
    except ToolError as error:
        raise ToolServerError(reason=error.code, text=error.text) from None
    for definition in read_definitions(config["url"], config["headers"], secrets):
        if definition.name == config["tool"]:
            return {**described(definition, secrets), **pinned(definition)}
    raise ToolServerError(reason="unknown_tool", text="The server has no such tool.")


def refresh_tool(*, tool: Tool, fields: Mapping[str, Any]) -> Tool:
    """Set the fields of `current_fields`. Raises ValidationError, and ValidationFailed as `update_tool`."""
    described_fields = {name: fields[name] for name in ("description", "parameters")}
    serializer = ToolSerializer(instance=tool, data=described_fields, partial=True)
    serializer.is_valid(raise_exception=True)
    return update_tool(tool=tool, fields={**fields, **serializer.validated_data})
