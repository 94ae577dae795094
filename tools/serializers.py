"""Serializers of tools."""

from typing import Any

from django.db.models import Case, When
from django.db.models.functions import Cast
from drf_spectacular.utils import extend_schema_field, extend_schema_serializer
from rest_framework import serializers

from map_project.api.fields import (
    NameField,
    ObjectField,
    StrictSerializer,
    TextField,
    TrueFalseField,
    WholeNumberField,
)
from map_project.api.json_text import JSONText
from tools import definitions, schemas, services
from tools.invokers import ConfigError, invoker
from tools.invokers.http_arguments import STYLES
from tools.invokers.http_config import ARGUMENTS_IN, LOCATIONS, MAX_WIRE_NAME_CHARACTERS
from tools.models import Tool


@extend_schema_serializer(component_name="ArgumentLocation")
class LocationSerializer(serializers.Serializer[Any]):
    """Where an `http` tool sends one argument."""

    name = serializers.CharField(
        max_length=MAX_WIRE_NAME_CHARACTERS,
        required=False,
        help_text="Name of the query parameter or header. Defaults to the name of the argument.",
    )

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        """Return the fields, with two whose names are those of a keyword and of an attribute."""
        place = serializers.ChoiceField(
            choices=LOCATIONS,
            help_text="`query`, `header`, `body` (the argument is the whole JSON body) or `form` (the "
            "argument is an object, and the whole form).",
        )
        style = serializers.ChoiceField(
            choices=STYLES,
            required=False,
            help_text="How a list or an object is written in a query or a form. `repeat` (default): a list "
            "repeats the name, an object is sent as JSON. `comma`, `space`, `pipe`: one value with this "
            "delimiter. `deep`: `name[key]=value`. `properties`: the properties of an object are the "
            "parameters. `json`: as JSON.",
        )
        return {"in": place, **super().get_fields(), "style": style}


# The least and the greatest, 30 days.
APPROVAL_TIMEOUT_SECONDS = (60, 30 * 24 * 3600)


# Documents `http`; `tools.invokers.http_config` validates it.
@extend_schema_serializer(component_name="HttpConfig")
class HttpSerializer(serializers.Serializer[Any]):
    """The HTTP request that a call of the tool makes."""

    method = serializers.ChoiceField(
        choices=["GET", "POST", "PUT", "PATCH", "DELETE"], help_text="HTTP method of the request."
    )
    url = serializers.CharField(
        max_length=2_000,
        help_text="URL of the request. In the path and the query, `{name}` is replaced by an argument and "
        "`{{secret.name}}` by a secret. Both are percent-encoded.",
    )
    arguments_in = serializers.ChoiceField(
        choices=ARGUMENTS_IN,
        required=False,
        help_text="Where to send the arguments that are not part of the URL: in the query, in a JSON body, "
        "or in a form (`application/x-www-form-urlencoded`). Defaults to the query for GET and "
        "DELETE, and to the JSON body for other methods.",
    )
    locations = serializers.DictField(
        child=LocationSerializer(),
        required=False,
        help_text="Arguments that are sent elsewhere than `arguments_in` says, by name. Up to 100.",
    )
    headers = serializers.DictField(
        child=serializers.CharField(),
        required=False,
        help_text="Headers of the request. Values may contain `{{secret.name}}`.",
    )
    timeout_seconds = serializers.IntegerField(
        min_value=1,
        max_value=60,
        required=False,
        help_text="Timeout of the whole call. Defaults to 10.",
    )


# Documents `mcp`; `tools.invokers.mcp.config` validates it.
@extend_schema_serializer(component_name="McpConfig")
class McpSerializer(serializers.Serializer[Any]):
    """The tool of an MCP server that a call of the tool calls."""

    url = serializers.CharField(
        max_length=2_000,
        help_text="URL of the server (Streamable HTTP). In the path and the query, `{{secret.name}}` is "
        "replaced by a secret.",
    )
    tool = serializers.CharField(max_length=128, help_text="Name of the tool on the server.")
    headers = serializers.DictField(
        child=serializers.CharField(),
        required=False,
        help_text="Headers of the requests. Values may contain `{{secret.name}}`.",
    )
    timeout_seconds = serializers.IntegerField(
        min_value=1,
        max_value=60,
        required=False,
        help_text="Timeout of the whole call. Defaults to 10.",
    )


@extend_schema_field({"type": "string", "enum": Tool.Kind.values})
class KindField(TextField):
    """One of the kinds."""

    def to_internal_value(self, data: Any) -> Any:
        if data not in Tool.Kind.values:
            raise serializers.ValidationError(f"Expected one of {', '.join(Tool.Kind.values)}.")
        return super().to_internal_value(data)


@extend_schema_field({"type": "string", "enum": Tool.Approval.values})
class ApprovalField(TextField):
    """Whether calls have to be approved."""

    def to_internal_value(self, data: Any) -> Any:
        if data not in Tool.Approval.values:
            raise serializers.ValidationError(f"Expected one of {', '.join(Tool.Approval.values)}.")
        return super().to_internal_value(data)


class SchemaField(ObjectField):
    """A JSON Schema, within the limits of `tools.schemas`."""

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        if errors := schemas.schema_errors(data):
            raise serializers.ValidationError(errors)
        return super().to_internal_value(data)


class ConfigField(ObjectField):
    """The configuration of a kind of callable tool, which is the name of the field."""

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        try:
            return invoker(str(self.field_name)).validate_config(data)
        except ConfigError as error:
            raise serializers.ValidationError(error.problems) from None


@extend_schema_field(HttpSerializer)
class HttpField(ConfigField):
    """The configuration of a tool of the kind `http`."""


@extend_schema_field(McpSerializer)
class McpField(ConfigField):
    """The configuration of a tool of the kind `mcp`."""


@extend_schema_field({"type": "object", "additionalProperties": {"type": ["string", "null"]}})
class SecretsField(ObjectField):
    """Names and values of secrets; null removes one."""

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        if errors := definitions.secret_errors(data):
            raise serializers.ValidationError(errors)
        return super().to_internal_value(data)


class ToolSerializer(StrictSerializer):
    """A tool: a function that agents can use."""

    row_expressions = {
        "parameters": Cast("parameters", JSONText()),
        **{
            kind: Case(When(kind=kind, then=Cast("config", JSONText()))) for kind in ("http", "mcp")
        },
    }

    hints = {
        "function": "Send the name, description and parameters of the function as fields of the tool.",
        "type": "Did you mean kind?",
        **dict.fromkeys(("input_schema", "inputSchema", "schema"), "Did you mean parameters?"),
        **dict.fromkeys(
            ("url", "method", "headers", "arguments_in", "locations"), "Send it as a field of http."
        ),
        **dict.fromkeys(("require_approval", "requires_approval"), "Did you mean approval?"),
    }

    id = serializers.UUIDField(read_only=True, help_text="ID of the tool.")
    name = NameField(
        help_text="Unique within your tenant. Leading and trailing whitespace is removed."
    )
    description = TextField(
        max_length=1000, help_text="What the tool does. The description is sent to the model."
    )
    kind = KindField(
        required=False,
        help_text="`declared` (default): described to the model but never called. `http`: called with an "
        "HTTP request. `mcp`: called at an MCP server.",
    )
    parameters = SchemaField(
        required=False,
        help_text="JSON Schema of the arguments, draft 2020-12 by default. If omitted, any arguments are "
        "accepted.",
    )
    http = HttpField(
        required=False,
        allow_null=True,
        help_text="The HTTP request. Required when `kind` is `http`, otherwise null.",
    )
    mcp = McpField(
        required=False,
        allow_null=True,
        help_text="The tool of an MCP server. Required when `kind` is `mcp`, otherwise null.",
    )
    state = serializers.ChoiceField(
        choices=Tool.State.values,
        read_only=True,
        help_text="`ready`, or `changed` if the definition on the MCP server differs from the one that was "
        "imported. A changed tool is not called until it is refreshed.",
    )
    idempotent = TrueFalseField(
        required=False,
        help_text="Whether a call may be repeated if its result was lost, for example because a process "
        "ended. Defaults to true for GET, otherwise to false. The default applies again when `http.method` "
        "changes.",
    )
    approval = ApprovalField(
        required=False,
        help_text="`always`: a run that requests a call waits until a person approves it "
        "(`/approvals`). `never` (default): calls are made at once.",
    )
    approval_timeout_seconds = WholeNumberField(
        required=False,
        min_value=APPROVAL_TIMEOUT_SECONDS[0],
        max_value=APPROVAL_TIMEOUT_SECONDS[1],
        help_text="How long a call waits for its approval. After this time, its run ends. Defaults to 86400, "
        "a day.",
    )
    secrets = SecretsField(
        required=False,
        write_only=True,
        help_text="Secrets to set, by name; null removes one. Secrets not listed are unchanged.",
    )
    secret_names = serializers.ListField(
        child=serializers.CharField(),
        read_only=True,
        help_text="Names of the secrets, sorted. The values are never returned.",
    )
    created_at = serializers.DateTimeField(read_only=True, help_text="When the tool was created.")
    updated_at = serializers.DateTimeField(
        read_only=True, help_text="When the tool was last changed."
    )

    def create(self, validated_data: dict[str, Any]) -> Tool:
        return services.create_tool(**validated_data)

    def update(self, instance: Tool, validated_data: dict[str, Any]) -> Tool:
        return services.update_tool(tool=instance, fields=validated_data)


class ToolTestSerializer(StrictSerializer):
    """A test call of a tool."""

    arguments = ObjectField(
        required=False,
        write_only=True,
        help_text="Arguments for the tool, as a model would send them.",
    )
    ok = serializers.BooleanField(read_only=True, help_text="Whether the call succeeded.")
    error = serializers.CharField(
        read_only=True,
        allow_null=True,
        help_text="Error code, for example `bad_arguments`, `timeout` or `http_500`. Null if the call "
        "succeeded.",
    )
    result = serializers.CharField(read_only=True, help_text="The text that a model would receive.")
    latency_ms = serializers.IntegerField(read_only=True, help_text="Duration of the call.")
