"""Serializers of executions and runs."""

from functools import cache
from typing import Any

from django.db.models.functions import Left
from rest_framework import serializers

from agents.serializers import MAX_TOKENS_NAMES, PriceField
from executions.models import Execution, Step
from executions.stop_reasons import StopReason
from executions.texts import first_bytes
from map_project.api.fields import RowSerializer, StrictSerializer, TextField


class NullableCodeField(serializers.CharField):
    """A code that is stored as an empty string where there is none; null in the API."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(allow_null=True, **kwargs)

    def to_representation(self, value: Any) -> Any:
        return value or None


class StopReasonField(serializers.ChoiceField):
    """A `StopReason`, or null while the run is running."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(choices=[reason.value for reason in StopReason], **kwargs)

    def to_representation(self, value: Any) -> Any:
        return value or None


# Of a prompt or a response in a list: a page has at most 100 executions, and at most 3.2 MiB of text.
MAX_LISTED_BYTES = 16 * 1024


class BaseExecutionSerializer(RowSerializer):
    """The fields that the list and a single execution have."""

    id = serializers.UUIDField()
    agent_id = serializers.UUIDField(help_text="The agent may have been deleted since.")
    agent_name = serializers.CharField(help_text="The name at the time of the run.")
    prompt = serializers.CharField()
    model = serializers.CharField()
    response = serializers.CharField()
    status = serializers.ChoiceField(choices=Execution.Status.choices)
    created_at = serializers.DateTimeField()
    request_id = serializers.CharField(help_text="The `X-Request-ID` of the run.")


class ExecutionSerializer(BaseExecutionSerializer):
    """An execution in the list of the history, with the beginning of its prompt and response."""

    # One character more than MAX_LISTED_BYTES shows that there is more.
    row_expressions = {name: Left(name, MAX_LISTED_BYTES + 1) for name in ("prompt", "response")}

    prompt = serializers.CharField(help_text="At most the first 16 KiB.")
    prompt_truncated = serializers.BooleanField(help_text="Whether the prompt is longer.")
    response = serializers.CharField(help_text="At most the first 16 KiB.")
    response_truncated = serializers.BooleanField(help_text="Whether the response is longer.")

    @classmethod
    @cache
    def columns(cls) -> dict[str, str]:
        computed = ("prompt_truncated", "response_truncated")
        return {name: column for name, column in super().columns().items() if name not in computed}

    def to_representation(self, instance: Any) -> Any:
        row = super().to_representation(instance)
        for name in self.row_expressions:
            row[name], row[f"{name}_truncated"] = first_bytes(row[name], MAX_LISTED_BYTES)
        return row


class RequestedCallSerializer(serializers.Serializer[Any]):
    """A tool call as the model wrote it."""

    id = serializers.CharField()
    name = serializers.CharField(help_text="The function name, as the model wrote it.")
    arguments = serializers.CharField(help_text="JSON, as the model wrote it.")

    def to_representation(self, instance: Any) -> Any:
        return instance  # from a JSON column


class StepSerializer(serializers.Serializer[Step]):
    """A call of the model or of a tool."""

    kind = serializers.ChoiceField(choices=Step.Kind.choices)
    name = serializers.CharField(help_text="The name of the model or the tool.")
    input = serializers.CharField(
        help_text="The messages that were new to the model, as JSON; or the arguments of the tool."
    )
    output = serializers.CharField(help_text="The text of the model, or the result of the tool.")
    tool_calls = RequestedCallSerializer(
        many=True, help_text="The calls that the model requested. Empty for a tool."
    )
    input_tokens = serializers.IntegerField(allow_null=True)
    output_tokens = serializers.IntegerField(allow_null=True)
    latency_ms = serializers.IntegerField()
    error = NullableCodeField(help_text="An error code, or null.")


class ProviderErrorSerializer(serializers.Serializer[Any]):
    """The error that a model provider reported."""

    status = serializers.IntegerField(
        allow_null=True, help_text="The HTTP status. Null without a response."
    )
    code = serializers.CharField(required=False, help_text="The provider's code.")
    type = serializers.CharField(required=False, help_text="The provider's type.")
    param = serializers.CharField(
        required=False, help_text="The part of the request that the provider names."
    )
    tool = serializers.CharField(required=False, help_text="The tool that the provider refused.")

    def to_representation(self, instance: Any) -> Any:
        return instance  # from a JSON column


class ExecutionDetailSerializer(BaseExecutionSerializer):
    """An execution with its steps. Unknown values are null."""

    stop_reason = StopReasonField(
        allow_null=True, help_text="Why the run ended. Null while it is running."
    )
    error_code = NullableCodeField(help_text="Null unless the run failed.")
    error_reason = NullableCodeField(
        help_text="Why the model failed, for example `auth`, `rate_limited`, `context_length` or "
        "`unreachable`. Null unless it did."
    )
    provider_error = ProviderErrorSerializer(
        allow_null=True,
        help_text="The response of the model provider. Null unless the model failed.",
    )
    provider = serializers.CharField()
    input_tokens = serializers.IntegerField(allow_null=True, help_text="Of all model calls.")
    output_tokens = serializers.IntegerField(allow_null=True, help_text="Of all model calls.")
    cost_usd = PriceField(help_text="At the prices at the time of the run.")
    latency_ms = serializers.IntegerField()
    system_prompt = serializers.CharField()
    steps = StepSerializer(
        many=True,
        help_text="The first 100. Empty for runs of the mock model without tool calls.",
    )


class RunSerializer(StrictSerializer):
    """A run of an agent."""

    hints = {
        **dict.fromkeys(
            ("messages", "message", "input", "inputs", "query", "question", "text", "content"),
            "Did you mean prompt?",
        ),
        **dict.fromkeys(("temperature", *MAX_TOKENS_NAMES), "Set it in the settings of the agent."),
    }

    prompt = TextField(help_text="Stored byte for byte. At most 10,000 characters by default.")
    model = TextField(
        allow_blank=True,
        required=False,
        help_text="Name from `GET /models`. Defaults to the model of the agent.",
    )


class UsageSerializer(serializers.Serializer[Any]):
    """What a run used. Unknown values are null."""

    input_tokens = serializers.IntegerField(allow_null=True, help_text="Of all model calls.")
    output_tokens = serializers.IntegerField(allow_null=True, help_text="Of all model calls.")
    cost_usd = PriceField(help_text="At the model's present prices.")


class RunResultSerializer(serializers.Serializer[Any]):
    """The result of a run."""

    execution_id = serializers.UUIDField()
    agent_id = serializers.UUIDField()
    agent_name = serializers.CharField()
    model = serializers.CharField()
    prompt = serializers.CharField()
    response = serializers.CharField()
    tools_available = serializers.ListField(
        child=serializers.CharField(), help_text="Names of the agent's tools, sorted."
    )
    executed_at = serializers.DateTimeField(help_text="`created_at` of the execution.")
    status = serializers.ChoiceField(
        choices=Execution.Status.choices,
        help_text="`succeeded`, or `incomplete` if a limit or a content filter ended the run.",
    )
    stop_reason = StopReasonField(help_text="Why the run ended.")
    usage = UsageSerializer()
    latency_ms = serializers.IntegerField(help_text="Duration of the run in the service.")
    request_id = serializers.CharField(help_text="The `X-Request-ID` of the request.")
    warning = serializers.CharField(
        required=False,
        help_text="Present if the run is incomplete, the response is empty, or the agent has no tools.",
    )
