"""A tool as JSON, out and in."""

from typing import TYPE_CHECKING, Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from map_project.api.fields import NameField, StrictSerializer, TextField
from tools import definitions, schemas
from tools.invokers import ConfigError, invoker
from tools.models import Tool

if TYPE_CHECKING:
    _Object = serializers.Field[dict[str, Any], Any, dict[str, Any], Any]
else:
    _Object = serializers.Field

_OBJECT = {"type": "object", "additionalProperties": True}


class HttpSerializer(StrictSerializer):
    """How a tool of the kind `http` is called."""

    method = serializers.ChoiceField(choices=["GET", "POST", "PUT", "PATCH", "DELETE"])
    url = serializers.CharField(
        max_length=2_000,
        help_text="`{name}` in path and query stands for an argument, `{{secret.name}}` for a secret; "
        "both are percent-encoded.",
    )
    arguments_in = serializers.ChoiceField(
        choices=["query", "body"],
        required=False,
        help_text="Where the arguments go that have no place in the URL: its query, or a JSON body. "
        "Left out, it is the query for GET and DELETE, else the body.",
    )
    headers = serializers.DictField(
        child=serializers.CharField(),
        required=False,
        help_text="Values may hold `{{secret.name}}`.",
    )
    timeout_seconds = serializers.IntegerField(
        min_value=1, max_value=60, required=False, help_text="10, if left out."
    )


@extend_schema_field(_OBJECT)
class _Answered(serializers.DictField):
    """An object as it is, in a document without further promises."""

    def to_representation(self, value: Any) -> Any:
        return value


class ToolSerializer(serializers.Serializer[Tool]):
    """A tool as it is answered."""

    id = serializers.UUIDField()
    name = serializers.CharField()
    description = serializers.CharField()
    kind = serializers.ChoiceField(choices=Tool.Kind.choices)
    parameters = _Answered(help_text="A JSON Schema, draft 2020-12.")
    http = _Answered(allow_null=True, help_text="Of the kind `http` alone, else null.")
    secret_names = serializers.ListField(
        child=serializers.CharField(), help_text="By name; their values are never told."
    )
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()


class KindField(TextField):
    """One of the kinds."""

    def to_internal_value(self, data: Any) -> Any:
        if data not in Tool.Kind.values:
            raise serializers.ValidationError(f"Expected one of {', '.join(Tool.Kind.values)}.")
        return super().to_internal_value(data)


@extend_schema_field(_OBJECT)
class ParametersField(_Object):
    """A JSON Schema for arguments."""

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        if problems := schemas.problems(data):
            raise serializers.ValidationError(problems)
        found: dict[str, Any] = data
        return found

    def to_representation(self, value: dict[str, Any]) -> dict[str, Any]:
        return value


@extend_schema_field(HttpSerializer)
class HttpField(_Object):
    """What the kind `http` wants to know; it is checked where the call is made."""

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        try:
            return invoker("http").validate_config(data)
        except ConfigError as error:
            raise serializers.ValidationError(error.problems) from None

    def to_representation(self, value: dict[str, Any]) -> dict[str, Any]:
        return value


@extend_schema_field({"type": "object", "additionalProperties": {"type": ["string", "null"]}})
class SecretsField(_Object):
    """Names and values; it is never answered."""

    def to_internal_value(self, data: Any) -> dict[str, str | None]:
        if problems := definitions.secrets_problems(data):
            raise serializers.ValidationError(problems)
        found: dict[str, str | None] = data
        return found

    def to_representation(self, value: dict[str, Any]) -> dict[str, Any]:
        return dict.fromkeys(value)


class ToolBody(StrictSerializer):
    """A tool as it is sent."""

    name = NameField(help_text="Unique among your tools; blanks around it are dropped.")
    description = TextField(max_length=1000, help_text="What it does; the model reads this.")
    kind = KindField(
        required=False,
        help_text="`declared`: the model is told of it, and nothing is called. `http`: a call is an "
        "HTTP request.",
    )
    parameters = ParametersField(
        required=False,
        help_text="A JSON Schema (draft 2020-12) of the arguments; left out, it takes any.",
    )
    http = HttpField(required=False, allow_null=True)
    secrets = SecretsField(
        required=False,
        write_only=True,
        help_text="What is named here is set, or with null removed; the others stay.",
    )


@extend_schema_field(_OBJECT)
class ArgumentsField(_Object):
    """Any object."""

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        if not isinstance(data, dict):
            raise serializers.ValidationError("Expected an object.")
        return data

    def to_representation(self, value: dict[str, Any]) -> dict[str, Any]:
        return value


class ToolTestBody(StrictSerializer):
    """A call of a tool, without a model."""

    arguments = ArgumentsField(required=False, help_text="What a model would send.")


class ToolTestSerializer(serializers.Serializer[Any]):
    """What came of the call, as a model would see it."""

    ok = serializers.BooleanField()
    error = serializers.CharField(
        allow_null=True, help_text="Null, or a code: `bad_arguments`, `timeout`, `http_500`…"
    )
    result = serializers.CharField()
    latency_ms = serializers.IntegerField()
