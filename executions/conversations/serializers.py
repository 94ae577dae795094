"""Serializers of conversations."""

from typing import Any

from rest_framework import serializers

from executions.conversations import services
from executions.models import Conversation
from executions.serializers import MetadataField
from map_project.api.fields import StrictSerializer


class ConversationSerializer(StrictSerializer):
    """Runs that continue one another, one at a time."""

    id = serializers.UUIDField(read_only=True, help_text="ID of the conversation.")
    metadata = MetadataField(
        required=False,
        allow_null=True,
        help_text="Your own data: at most 16 pairs of a key (1 to 64 characters) and a text (at most 512).",
    )
    latest_execution_id = serializers.UUIDField(
        read_only=True,
        allow_null=True,
        help_text="The last execution, which the next run continues. Null before the first run.",
    )
    created_at = serializers.DateTimeField(
        read_only=True, help_text="When the conversation was created."
    )

    def create(self, validated_data: dict[str, Any]) -> Conversation:
        return services.create_conversation(**validated_data)


class ItemSerializer(serializers.Serializer[Any]):
    """A message or a tool call. Long texts are truncated."""

    execution_id = serializers.UUIDField(help_text="The execution that the item belongs to.")
    position = serializers.IntegerField(help_text="Number of the item in its execution, from 0.")
    type = serializers.ChoiceField(choices=["message", "tool_call"], help_text="Kind of the item.")
    role = serializers.ChoiceField(
        choices=["user", "assistant"], allow_null=True, help_text="Author of a message."
    )
    text = serializers.CharField(
        allow_null=True, help_text="Text of a message, truncated at 16 KiB."
    )
    name = serializers.CharField(allow_null=True, help_text="Name of the called tool.")
    arguments = serializers.CharField(
        allow_null=True, help_text="Arguments of a call, truncated at 16 KiB."
    )
    output = serializers.CharField(
        allow_null=True,
        help_text="Result of a call, truncated at 16 KiB. Null while the call is in progress.",
    )
    error = serializers.CharField(
        allow_null=True,
        help_text="Error code of a tool call that failed, or of a model call that ended within its text.",
    )
    is_truncated = serializers.BooleanField(help_text="Whether a text was truncated.")
    created_at = serializers.DateTimeField(
        help_text="When the run was requested, or the response or result was stored."
    )
