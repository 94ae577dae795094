"""Serializers of runs: their requests and their results."""

from typing import Any

from rest_framework import serializers

from agents.serializers import MAX_TOKENS_NAMES, SCHEMA_NAMES, PriceField
from executions.approvals.serializers import ApprovalSerializer
from executions.models import Execution
from executions.serializers import (
    ConversationField,
    DroppedExchangesField,
    MetadataField,
    OutputField,
    PreviousExecutionField,
    StopReasonField,
)
from map_project.api.fields import IdField, StrictSerializer, TextField, TrueFalseField
from tools.serializers import SchemaField


class RunSerializer(StrictSerializer):
    """The prompt and the model of a run."""

    hints = {
        **dict.fromkeys(
            ("messages", "message", "input", "inputs", "query", "question", "text", "content"),
            "Did you mean prompt?",
        ),
        **dict.fromkeys(("temperature", *MAX_TOKENS_NAMES), "Set it in the settings of the agent."),
        **dict.fromkeys(
            ("previous_response_id", "previous_id", "parent_id", "previous_run_id"),
            "Did you mean previous_execution_id?",
        ),
        **dict.fromkeys(
            ("conversation", "thread_id", "session_id", "chat_id"), "Did you mean conversation_id?"
        ),
        **dict.fromkeys(SCHEMA_NAMES, "Did you mean output_schema?"),
    }

    prompt = TextField(
        help_text="The prompt. At most 10,000 characters by default. Stored unchanged."
    )
    model = TextField(
        allow_blank=True,
        required=False,
        help_text="Name of the model (see `GET /models`). Defaults to the agent's model.",
    )
    stream = TrueFalseField(
        default=False,
        help_text="Whether to respond with the events of the run, as they happen (`text/event-stream`).",
    )
    background = TrueFalseField(
        default=False,
        help_text="Whether to run in the background: the response is a 202 with the ID of the execution, or "
        "its events with `stream`.",
    )
    previous_execution_id = IdField(
        required=False,
        allow_null=True,
        help_text="Continue this execution: its messages, and those before it, precede the prompt. Several "
        "runs may continue the same one.",
    )
    conversation_id = IdField(
        required=False,
        allow_null=True,
        help_text="Continue this conversation (`POST /conversations`), which has one run at a time. Excludes "
        "`previous_execution_id`.",
    )
    output_schema = SchemaField(
        required=False,
        allow_null=True,
        help_text="JSON Schema of the response, with the limits of a tool's `parameters`. Defaults to the "
        "agent's `output_schema`.",
    )
    metadata = MetadataField(
        required=False,
        allow_null=True,
        help_text="Your own data: at most 16 pairs of a key (1 to 64 characters) and a text (at most 512). "
        "Stored with the execution.",
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        names = ("previous_execution_id", "conversation_id")
        if all(attrs.get(name) for name in names):
            raise serializers.ValidationError({names[1]: [f"Excludes {names[0]}."]})
        return attrs


class QueuedRunSerializer(serializers.Serializer[Any]):
    """A run in the background. Read the execution to follow it."""

    execution_id = serializers.UUIDField(help_text="ID of the execution in the history.")
    agent_id = serializers.UUIDField(help_text="ID of the agent.")
    agent_name = serializers.CharField(help_text="Name of the agent.")
    model = serializers.CharField(help_text="Name of the model.")
    prompt = serializers.CharField(help_text="The prompt of the run.")
    status = serializers.ChoiceField(
        choices=Execution.Status.choices, help_text="Status of the run."
    )
    created_at = serializers.DateTimeField(help_text="When the request was made.")
    request_id = serializers.CharField(help_text="Request ID (`X-Request-ID`) of the request.")


class UsageSerializer(serializers.Serializer[Any]):
    """Tokens and cost of a run."""

    input_tokens = serializers.IntegerField(
        allow_null=True, help_text="Input tokens of all model calls. Null if unknown."
    )
    output_tokens = serializers.IntegerField(
        allow_null=True, help_text="Output tokens of all model calls. Null if unknown."
    )
    cost_usd = PriceField(help_text="Cost in USD. Null if unknown.")


class RunResultSerializer(serializers.Serializer[Any]):
    """The result of a run."""

    execution_id = serializers.UUIDField(help_text="ID of the execution in the history.")
    agent_id = serializers.UUIDField(help_text="ID of the agent.")
    agent_name = serializers.CharField(help_text="Name of the agent.")
    model = serializers.CharField(help_text="Name of the model.")
    prompt = serializers.CharField(help_text="The prompt of the run.")
    response = serializers.CharField(help_text="The last text of the model.")
    output = OutputField()
    tools_available = serializers.ListField(
        child=serializers.CharField(), help_text="Names of the agent's tools, sorted."
    )
    executed_at = serializers.DateTimeField(
        help_text="When the run started; the `created_at` of the execution."
    )
    status = serializers.ChoiceField(
        choices=Execution.Status.choices,
        help_text="`succeeded`, `incomplete` if a limit or a content filter ended the run, or "
        "`requires_action` if it waits for approvals.",
    )
    stop_reason = StopReasonField(
        allow_null=True, help_text="Why the run ended. Null if it waits for approvals."
    )
    usage = UsageSerializer(help_text="Tokens and cost of the run.")
    latency_ms = serializers.IntegerField(help_text="Duration of the run.")
    previous_execution_id = PreviousExecutionField()
    conversation_id = ConversationField()
    dropped_exchanges = DroppedExchangesField()
    request_id = serializers.CharField(help_text="Request ID (`X-Request-ID`) of the request.")
    approvals = ApprovalSerializer(
        many=True,
        required=False,
        help_text="The tool calls to decide about (`POST /approvals/{id}`). Present if the run waits for "
        "approvals.",
    )
    warning = serializers.CharField(
        required=False,
        help_text="Present if the run is incomplete or waits, the response is empty, or the agent has no "
        "tools.",
    )
