"""An execution as JSON, and the body of a run."""

from typing import Any

from rest_framework import serializers

from executions.models import Execution
from map_project.api.fields import StrictSerializer, TextField


class ExecutionSerializer(serializers.Serializer[Execution]):
    """An execution as the history shows it."""

    id = serializers.UUIDField()
    agent_id = serializers.UUIDField(help_text="It may be deleted by now.")
    agent_name = serializers.CharField(help_text="As it was at the run.")
    prompt = serializers.CharField()
    model = serializers.CharField()
    response = serializers.CharField()
    status = serializers.ChoiceField(choices=Execution.Status.choices)
    created_at = serializers.DateTimeField()


class ModelField(TextField):
    """Any text, here: one that names no model is told so by its own error."""

    def __init__(self) -> None:
        super().__init__(allow_blank=True, help_text="One of `GET /models`.")


class RunBody(StrictSerializer):
    """What a run is asked. The other bounds are told by `services`, once all fields are well formed."""

    prompt = TextField(
        help_text="Kept byte for byte; 10,000 characters, where nothing else is set."
    )
    model = ModelField()


class RunSerializer(serializers.Serializer[Any]):
    """What a run answers."""

    execution_id = serializers.UUIDField()
    agent_id = serializers.UUIDField()
    agent_name = serializers.CharField()
    model = serializers.CharField()
    prompt = serializers.CharField()
    response = serializers.CharField()
    tools_available = serializers.ListField(child=serializers.CharField(), help_text="By name.")
    executed_at = serializers.DateTimeField(help_text="The record's `created_at`.")
    warning = serializers.CharField(required=False, help_text="Only where the agent has no tools.")
