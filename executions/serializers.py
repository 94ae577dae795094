"""Serializers of executions."""

from functools import cache
from typing import Any

from django.db.models.functions import Left
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from agents.serializers import PriceField
from executions.history.cursors import Cursor
from executions.models import Execution, Step
from executions.stop_reasons import StopReason
from executions.texts import first_bytes
from map_project.api.fields import ObjectField, RowSerializer


class NullableCodeField(serializers.CharField):
    """A code that is stored as an empty string where there is none; null in the API."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(allow_null=True, **kwargs)

    def to_representation(self, value: Any) -> Any:
        return value or None


class StopReasonField(serializers.ChoiceField):
    """A `StopReason`, or null while the run has not ended."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(choices=[reason.value for reason in StopReason], **kwargs)

    def to_representation(self, value: Any) -> Any:
        return value or None


# Of a prompt or a response in a list: a page has at most 100 executions, and at most 3.2 MiB of text.
MAX_LISTED_BYTES = 16 * 1024


class BaseExecutionSerializer(RowSerializer):
    """The fields that the list and a single execution have."""

    id = serializers.UUIDField(help_text="ID of the execution.")
    agent_id = serializers.UUIDField(help_text="ID of the agent, which may have been deleted.")
    agent_name = serializers.CharField(help_text="Name of the agent at the time of the run.")
    prompt = serializers.CharField(help_text="The prompt of the run.")
    model = serializers.CharField(help_text="Name of the model.")
    response = serializers.CharField(help_text="The last text of the model.")
    status = serializers.ChoiceField(
        choices=Execution.Status.choices, help_text="Status of the run."
    )
    created_at = serializers.DateTimeField(help_text="When the run started.")
    request_id = serializers.CharField(help_text="Request ID (`X-Request-ID`) of the run.")


class ExecutionSerializer(BaseExecutionSerializer):
    """An execution in a list. Long prompts and responses are truncated."""

    # One character more than MAX_LISTED_BYTES shows that there is more.
    row_expressions = {name: Left(name, MAX_LISTED_BYTES + 1) for name in ("prompt", "response")}

    prompt = serializers.CharField(help_text="The prompt, truncated at 16 KiB.")
    prompt_truncated = serializers.BooleanField(help_text="Whether the prompt was truncated.")
    response = serializers.CharField(help_text="The response, truncated at 16 KiB.")
    response_truncated = serializers.BooleanField(help_text="Whether the response was truncated.")

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


@extend_schema_field({"type": "object", "additionalProperties": {"type": "string"}})
class MetadataField(ObjectField):
    """Up to 16 pairs of a key and a text."""

    default_error_messages = {
        "too_many": "Expected at most 16 pairs.",
        "bad_key": "Each key must have 1 to 64 characters.",
        "bad_value": "Each value must be a string of at most 512 characters.",
        "nul": "NUL (U+0000) is not allowed.",
    }

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        pairs = super().to_internal_value(data)
        if len(pairs) > 16:
            self.fail("too_many")
        for key, value in pairs.items():
            if not 1 <= len(key) <= 64:
                self.fail("bad_key")
            if not isinstance(value, str) or len(value) > 512:
                self.fail("bad_value")
            if "\0" in key + value:
                self.fail("nul")
        return pairs


class PreviousExecutionField(serializers.UUIDField):
    """The execution that a run continues."""

    def __init__(self) -> None:
        super().__init__(
            allow_null=True,
            help_text="The execution that the run continues; in a conversation, the one before. Null if "
            "there is none.",
        )


class ConversationField(serializers.UUIDField):
    """The conversation of a run."""

    def __init__(self) -> None:
        super().__init__(
            allow_null=True,
            help_text="The conversation of the run, which may have been deleted. Null if there is none.",
        )


class DroppedExchangesField(serializers.IntegerField):
    """How much of the earlier messages the model did not receive."""

    def __init__(self) -> None:
        super().__init__(
            help_text="How many of the oldest exchanges (a prompt, and all that followed it) the model did "
            "not receive, because the earlier messages exceeded the agent's `max_context_characters`.",
        )


class OutputField(ObjectField):
    """The value of the response of a run with an output schema."""

    def __init__(self) -> None:
        super().__init__(
            allow_null=True,
            help_text="The response as JSON, which is valid by the output schema. Null without a schema, and "
            "unless the run succeeded.",
        )


class RequestedCallSerializer(serializers.Serializer[Any]):
    """A tool call that the model requested."""

    id = serializers.CharField(help_text="ID of the call, as sent by the model.")
    name = serializers.CharField(help_text="Name of the function, as sent by the model.")
    arguments = serializers.CharField(help_text="The arguments, as sent by the model.")

    def to_representation(self, instance: Any) -> Any:
        return instance  # from a JSON column


class StepSerializer(serializers.Serializer[Step]):
    """A model call or a tool call of a run."""

    kind = serializers.ChoiceField(
        choices=Step.Kind.choices, help_text="The kind of call: `model` or `tool`."
    )
    name = serializers.CharField(help_text="Name of the model or the tool.")
    input = serializers.CharField(
        help_text="For model steps: the new messages, as JSON. For tool steps: the arguments."
    )
    output = serializers.CharField(
        help_text="For model steps: the text. For tool steps: the result."
    )
    tool_calls = RequestedCallSerializer(
        many=True, help_text="For model steps: the requested calls. For tool steps: empty."
    )
    input_tokens = serializers.IntegerField(
        allow_null=True, help_text="Input tokens of the model call. Null if unknown."
    )
    output_tokens = serializers.IntegerField(
        allow_null=True, help_text="Output tokens of the model call. Null if unknown."
    )
    latency_ms = serializers.IntegerField(help_text="Duration of the call.")
    error = NullableCodeField(help_text="Error code. Null if the call succeeded.")
    approval_id = serializers.UUIDField(
        allow_null=True,
        help_text="For tool steps: the approval of the call. Null if it needed none.",
    )
    is_running = serializers.BooleanField(
        help_text="Whether the call has begun and has no result yet."
    )


class ProviderErrorSerializer(serializers.Serializer[Any]):
    """The error that a model provider reported."""

    status = serializers.IntegerField(
        allow_null=True,
        help_text="HTTP status of the provider's response. Null if there was no response.",
    )
    code = serializers.CharField(required=False, help_text="The provider's error code.")
    type = serializers.CharField(required=False, help_text="The provider's error type.")
    param = serializers.CharField(
        required=False, help_text="The part of the request to which the error refers."
    )
    tool = serializers.CharField(required=False, help_text="The tool that the provider refused.")

    def to_representation(self, instance: Any) -> Any:
        return instance  # from a JSON column


class ExecutionDetailSerializer(BaseExecutionSerializer):
    """An execution with its steps."""

    stop_reason = StopReasonField(allow_null=True, help_text="Why the run ended. Null before.")
    error_code = NullableCodeField(help_text="Error code of the run. Null unless the run failed.")
    error_reason = NullableCodeField(
        help_text="Why the model failed, for example `auth`, `rate_limited`, `context_length` or "
        "`unreachable`. Null unless the model failed."
    )
    provider_error = ProviderErrorSerializer(
        allow_null=True,
        help_text="The error of the model provider. Null unless the model failed.",
    )
    provider = serializers.CharField(help_text="`mock`, or the protocol of the model provider.")
    input_tokens = serializers.IntegerField(
        allow_null=True, help_text="Input tokens of all model calls. Null if unknown."
    )
    output_tokens = serializers.IntegerField(
        allow_null=True, help_text="Output tokens of all model calls. Null if unknown."
    )
    cost_usd = PriceField(
        help_text="Cost in USD, calculated with the prices at the time of the run. Null if unknown."
    )
    latency_ms = serializers.IntegerField(
        help_text="Duration of the run, without the time in which it waits for approvals."
    )
    background = serializers.BooleanField(
        help_text="Whether a worker runs it. Otherwise the request that started it does."
    )
    attempt = serializers.IntegerField(
        help_text="How many times a process has started the run. More than 1 after an interruption."
    )
    started_at = serializers.DateTimeField(
        allow_null=True, help_text="When a process first started the run. Null while it is queued."
    )
    finished_at = serializers.DateTimeField(
        allow_null=True, help_text="When the run ended. Null before."
    )
    metadata = MetadataField(allow_null=True, help_text="The metadata of the request.")
    idempotency_key = NullableCodeField(help_text="The `Idempotency-Key` of the request.")
    previous_execution_id = PreviousExecutionField()
    conversation_id = ConversationField()
    dropped_exchanges = DroppedExchangesField()
    output_schema = ObjectField(
        allow_null=True, help_text="The JSON Schema of the response. Null if it is any text."
    )
    output = OutputField()
    output_errors = serializers.ListField(
        child=serializers.CharField(),
        allow_null=True,
        help_text="Why the response is not valid by the output schema, in at most five messages. Null unless "
        "the run failed because of that.",
    )
    system_prompt = serializers.CharField(help_text="The system prompt that the model received.")
    steps = StepSerializer(
        many=True,
        help_text="The first 100 steps. Empty for mock runs without tool calls and without an output "
        "schema.",
    )


class ExportedExecutionSerializer(ExecutionDetailSerializer):
    """A line of the export: an execution with all of its steps."""

    steps = StepSerializer(many=True, help_text="All steps.")
    cursor = serializers.SerializerMethodField(
        help_text="Continues an interrupted export after this execution."
    )

    def get_cursor(self, execution: Execution) -> str:
        return str(Cursor(execution.created_at, execution.pk))
