"""An agent as JSON, out and in."""

from typing import Any

from rest_framework import serializers

from agents.models import Agent
from map_project.api.fields import NameField, StrictSerializer, TextField, UUIDListField


class PriceField(serializers.DecimalField):
    """A decimal number as a string, without trailing zeros; null where it is not known."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(None, None, allow_null=True, normalize_output=True, **kwargs)


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
