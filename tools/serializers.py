"""A tool as JSON, out and in."""

from rest_framework import serializers

from map_project.api.fields import NameField, StrictSerializer, TextField
from tools.models import Tool


class ToolSerializer(serializers.Serializer[Tool]):
    """A tool as it is answered."""

    id = serializers.UUIDField()
    name = serializers.CharField()
    description = serializers.CharField()
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()


class ToolBody(StrictSerializer):
    """A tool as it is sent."""

    name = NameField(help_text="Unique among your tools; blanks around it are dropped.")
    description = TextField(max_length=1000, help_text="What it does; the model reads this.")
