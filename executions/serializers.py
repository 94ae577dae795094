"""An execution as JSON, and the body of a run."""

from typing import Any

from rest_framework import serializers

from agents.serializers import PriceField
from executions.models import Execution, Step
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


class StepSerializer(serializers.Serializer[Any]):
    """A call of the model or of a tool."""

    kind = serializers.ChoiceField(choices=Step.Kind.choices)
    name = serializers.CharField(help_text="Of the model or of the tool.")
    input = serializers.CharField(
        help_text="What the model was newly told, as JSON; the arguments that it wrote for the tool."
    )
    output = serializers.CharField(help_text="What the model wrote; what it was told of the call.")
    input_tokens = serializers.IntegerField(allow_null=True)
    output_tokens = serializers.IntegerField(allow_null=True)
    latency_ms = serializers.IntegerField()
    error = serializers.CharField(allow_null=True, help_text="A code of what went wrong.")


class WholeExecutionSerializer(ExecutionSerializer):
    """An execution with all that is known of it. What is null is not known."""

    stop_reason = serializers.CharField(allow_null=True, help_text="Null while it is running.")
    error_code = serializers.CharField(allow_null=True, help_text="Of a run that failed.")
    provider = serializers.CharField()
    input_tokens = serializers.IntegerField(allow_null=True, help_text="Of all its model calls.")
    output_tokens = serializers.IntegerField(allow_null=True, help_text="Of all its model calls.")
    cost_usd = PriceField(help_text="A decimal number in a string, at the prices of the run.")
    latency_ms = serializers.IntegerField()
    system_prompt = serializers.CharField(help_text="What the model was told it is.")
    steps = StepSerializer(many=True, help_text="None where the run stayed in the process.")


class ModelField(TextField):
    """Any text, here: one that names no model is told so by its own error."""

    def __init__(self) -> None:
        super().__init__(
            allow_blank=True,
            required=False,
            help_text="One of `GET /models`; left out, it is the agent's own.",
        )


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
    status = serializers.CharField(
        required=False, help_text="`incomplete`, only where a bound ended the run."
    )
    stop_reason = serializers.CharField(
        required=False,
        help_text="Which it was: `max_steps`, `run_timeout`, `max_output_tokens`, `content_filter`.",
    )
    warning = serializers.CharField(
        required=False, help_text="Only where a bound ended the run, or the agent has no tools."
    )
