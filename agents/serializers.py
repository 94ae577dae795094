"""An agent as JSON, out and in."""

from typing import Any

from rest_framework import serializers

from agents.models import Agent
from map_project.api.fields import NameField, StrictSerializer, TextField, UUIDListField


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


class AgentBody(StrictSerializer):
    """An agent as it is sent."""

    name = NameField(help_text="Unique among your agents; blanks around it are dropped.")
    role = TextField(max_length=100, help_text="What it is: a researcher, a translator…")
    description = TextField(max_length=1000, help_text="What it is for.")
    tool_ids = UUIDListField(
        required=False, help_text="Its tools, all of them; left out, they stay as they are."
    )
