"""An agent as JSON, out and in."""

from typing import TYPE_CHECKING, Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from agents.models import MAX_STEPS, Agent
from map_project.api.fields import NameField, StrictSerializer, TextField, UUIDListField


class PriceField(serializers.DecimalField):
    """A decimal number as a string, without trailing zeros; null where it is not known."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(None, None, allow_null=True, normalize_output=True, **kwargs)


class WholeNumberField(serializers.IntegerField):
    """A JSON number without a fraction; no text and no boolean is taken for one."""

    def to_internal_value(self, data: Any) -> int:
        if type(data) is not int:
            self.fail("invalid")
        return super().to_internal_value(data)


_SETTINGS: dict[str, Any] = {
    "temperature": {"type": "number", "minimum": 0, "maximum": 2},
    "max_output_tokens": {"type": "integer", "minimum": 1, "maximum": 1_000_000},
}
if TYPE_CHECKING:
    _Settings = serializers.Field[dict[str, Any], Any, dict[str, Any], Any]
else:
    _Settings = serializers.Field


@extend_schema_field(
    {"type": "object", "properties": _SETTINGS, "additionalProperties": False, "default": {}}
)
class SettingsField(_Settings):
    """How a model is asked: `temperature`, `max_output_tokens`, and nothing else."""

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        if not isinstance(data, dict):
            raise serializers.ValidationError("Expected an object.")
        if problems := [problem for name in data if (problem := _problem(name, data[name]))]:
            raise serializers.ValidationError(problems)
        return data

    def to_representation(self, value: dict[str, Any]) -> dict[str, Any]:
        return value


def _problem(name: str, value: Any) -> str:
    if name not in _SETTINGS:
        return f"{name} is not known here."
    bounds = _SETTINGS[name]
    kinds: tuple[type, ...] = (int, float) if bounds["type"] == "number" else (int,)
    lowest, highest = bounds["minimum"], bounds["maximum"]
    if type(value) in kinds and lowest <= value <= highest:
        return ""
    kind = "a number" if bounds["type"] == "number" else "a whole number"
    return f"{name} must be {kind} from {lowest} to {highest}."


class ToolOfAgentSerializer(serializers.Serializer[Any]):
    """A tool as an agent shows it."""

    id = serializers.UUIDField()
    name = serializers.CharField()
    description = serializers.CharField()


class AgentSerializer(serializers.Serializer[Agent]):
    """An agent as it is answered; its tools are ordered by name."""

    id = serializers.UUIDField()
    name = serializers.CharField()
    role = serializers.CharField()
    description = serializers.CharField()
    tools = ToolOfAgentSerializer(many=True, source="tools_by_name")
    model = serializers.CharField(allow_null=True, help_text="Of runs that name none.")
    max_steps = serializers.IntegerField(help_text="How often a run asks the model, at most.")
    settings = SettingsField()
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()


class LanguageModelSerializer(serializers.Serializer[Any]):
    """A model as tenants see it. Prices are decimal numbers in strings, so that none is rounded."""

    name = serializers.CharField(help_text="What a run names it by.")
    provider = serializers.CharField()
    input_price_per_million = PriceField(help_text="USD for a million tokens; null: not known.")
    output_price_per_million = PriceField(help_text="USD for a million tokens; null: not known.")


class AgentBody(StrictSerializer):
    """An agent as it is sent."""

    name = NameField(help_text="Unique among your agents; blanks around it are dropped.")
    role = TextField(max_length=100, help_text="What it is: a researcher, a translator…")
    description = TextField(max_length=1000, help_text="What it is for.")
    tool_ids = UUIDListField(
        required=False, help_text="Its tools, all of them; left out, they stay as they are."
    )
    model = TextField(
        required=False,
        allow_null=True,
        allow_blank=True,
        help_text="One of `GET /models`, of runs that name none; null: each run has to.",
    )
    max_steps = WholeNumberField(
        min_value=1,
        max_value=MAX_STEPS,
        required=False,
        help_text="How often a run asks the model, at most; 8 where nothing is said.",
    )
    settings = SettingsField(
        required=False, help_text="What is left out of it is left to the model; all are replaced."
    )
