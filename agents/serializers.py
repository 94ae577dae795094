"""Serializers of agents and language models."""

from itertools import islice
from typing import Any

from django.db.models.functions import Cast
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from agents import language_models, services
from agents.models import (
    MAX_CONTEXT_CHARACTERS,
    MAX_STEPS,
    MAX_TOOL_CALLS,
    MAX_TOOLS,
    MIN_CONTEXT_CHARACTERS,
    Agent,
    tools_json,
)
from map_project.api.fields import (
    MAX_UNKNOWN_NAMES,
    NameField,
    ObjectField,
    StrictSerializer,
    TextField,
    UUIDListField,
    WholeNumberField,
)
from map_project.api.json_text import JSONText
from tools.serializers import SchemaField

# The setting `max_output_tokens` in other APIs, and here.
MAX_TOKENS_NAMES = ("max_tokens", "max_completion_tokens", "max_output_tokens")
# The field `output_schema` in other APIs.
SCHEMA_NAMES = ("response_format", "response_schema", "output_format", "output_type", "json_schema")

MAX_TEMPERATURE, MAX_OUTPUT_TOKENS = 2, 1_000_000
_SETTINGS: dict[str, Any] = {
    "temperature": {"type": "number", "minimum": 0, "maximum": MAX_TEMPERATURE},
    "max_output_tokens": {"type": "integer", "minimum": 1, "maximum": MAX_OUTPUT_TOKENS},
}


class PriceField(serializers.DecimalField):
    """A decimal number as a string without trailing zeros, or null if it is unknown."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(None, None, allow_null=True, normalize_output=True, **kwargs)


@extend_schema_field(
    {"type": "object", "properties": _SETTINGS, "additionalProperties": False, "default": {}}
)
class SettingsField(ObjectField):
    """The model settings of an agent: `temperature` and `max_output_tokens`."""

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        settings = super().to_internal_value(data)
        errors = (error for name in settings if (error := _setting_error(name, settings[name])))
        if reported := list(islice(errors, MAX_UNKNOWN_NAMES)):
            raise serializers.ValidationError(reported)
        return settings


def _setting_error(name: str, value: Any) -> str:
    if name not in _SETTINGS:
        return f"Unknown setting: {name}."
    schema = _SETTINGS[name]
    types: tuple[type, ...] = (int, float) if schema["type"] == "number" else (int,)
    minimum, maximum = schema["minimum"], schema["maximum"]
    if type(value) in types and minimum <= value <= maximum:
        return ""
    kind = "a number" if schema["type"] == "number" else "an integer"
    return f"{name} must be {kind} from {minimum} to {maximum}."


class AgentToolSerializer(serializers.Serializer[Any]):
    """A tool of an agent."""

    id = serializers.UUIDField(help_text="ID of the tool.")
    name = serializers.CharField(help_text="Name of the tool.")
    description = serializers.CharField(help_text="What the tool does.")


class AgentSerializer(StrictSerializer):
    """An agent: a role with tools."""

    row_expressions = {
        "tools": tools_json(),
        "output_schema": Cast("output_schema", JSONText()),
    }

    hints = {
        **dict.fromkeys(("tools", "tool_names"), "Did you mean tool_ids?"),
        **dict.fromkeys(
            ("instructions", "system_prompt", "system", "prompt"),
            "The system prompt is built from the agent's name, role, description and tools.",
        ),
        **dict.fromkeys(("temperature", *MAX_TOKENS_NAMES), "Send it as a field of settings."),
        **dict.fromkeys(SCHEMA_NAMES, "Did you mean output_schema?"),
    }

    id = serializers.UUIDField(read_only=True, help_text="ID of the agent.")
    name = NameField(
        help_text="Unique within your tenant. Leading and trailing whitespace is removed."
    )
    role = TextField(max_length=100, help_text="For example `researcher` or `translator`.")
    description = TextField(
        max_length=1000, help_text="The purpose of the agent. It is sent to the model."
    )
    tools = serializers.SerializerMethodField(help_text="The tools of the agent, sorted by name.")
    tool_ids = UUIDListField(
        required=False,
        write_only=True,
        max_items=MAX_TOOLS,
        help_text="IDs of the agent's tools, at most 128. Replaces the whole list; omit to leave it "
        "unchanged.",
    )
    model = TextField(
        required=False,
        allow_null=True,
        allow_blank=True,
        help_text="Default model (see `GET /models`). If null, every run must specify a model.",
    )
    max_steps = WholeNumberField(
        min_value=1,
        max_value=MAX_STEPS,
        required=False,
        help_text="Maximum model calls per run. Defaults to 8.",
    )
    max_tool_calls = WholeNumberField(
        min_value=1,
        max_value=MAX_TOOL_CALLS,
        required=False,
        help_text="Maximum tool calls per run. Defaults to 100.",
    )
    max_context_characters = WholeNumberField(
        min_value=MIN_CONTEXT_CHARACTERS,
        max_value=MAX_CONTEXT_CHARACTERS,
        required=False,
        help_text="Maximum characters of the earlier messages that a run continues. Defaults to 200,000.",
    )
    settings = SettingsField(
        required=False,
        help_text="Model settings. Replaces all settings; omitted settings use the model's defaults.",
    )
    output_schema = SchemaField(
        required=False,
        allow_null=True,
        help_text="JSON Schema of the response, with the limits of a tool's `parameters`. If null, the "
        "response is any text.",
    )
    created_at = serializers.DateTimeField(read_only=True, help_text="When the agent was created.")
    updated_at = serializers.DateTimeField(
        read_only=True, help_text="When the agent was last changed."
    )

    @extend_schema_field(AgentToolSerializer(many=True))
    def get_tools(self, agent: Any) -> Any:
        # Annotated by `AgentQuerySet.with_tools`.
        return agent.tools_json

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Raise InvalidModel for a model that the tenant may not use, after all fields are valid."""
        if attrs.get("model") is not None:
            language_models.find(attrs["model"], self.context["request"].auth.allowed_models)
        return attrs

    def create(self, validated_data: dict[str, Any]) -> Agent:
        return services.create_agent(**validated_data)

    def update(self, instance: Agent, validated_data: dict[str, Any]) -> Agent:
        return services.update_agent(agent=instance, fields=validated_data)


class LanguageModelSerializer(serializers.Serializer[Any]):
    """A model that your runs can use."""

    name = serializers.CharField(
        help_text="Name of the model, as used in the `model` field of runs and agents."
    )
    provider = serializers.CharField(help_text="`mock`, or the protocol of the provider.")
    input_price_per_million = PriceField(
        help_text="USD per 1 million input tokens. Null if unknown."
    )
    output_price_per_million = PriceField(
        help_text="USD per 1 million output tokens. Null if unknown."
    )
