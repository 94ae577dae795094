"""Serializers of approvals."""

from typing import Any

from rest_framework import serializers

from executions.models import Approval
from executions.serializers import MAX_LISTED_BYTES, NullableCodeField
from executions.texts import first_bytes
from map_project.api.fields import StrictSerializer, TextField, TrueFalseField

MAX_REASON_CHARACTERS = 1_000


class ApprovalSerializer(serializers.Serializer[Approval]):
    """A tool call that a person decides about."""

    id = serializers.UUIDField(help_text="ID of the approval.")
    execution_id = serializers.UUIDField(help_text="The execution that requests the call.")
    position = serializers.IntegerField(
        help_text="The position of the call in the steps of the execution, from 0."
    )
    tool_id = serializers.UUIDField(help_text="ID of the tool, which may have been deleted.")
    tool_name = serializers.CharField(help_text="Name of the tool at the time of the request.")
    arguments = serializers.CharField(
        help_text="The arguments, as the model wrote them. If the call is approved, it is made with these."
    )
    arguments_sha256 = serializers.CharField(help_text="SHA-256 of `arguments` in UTF-8, in hex.")
    status = serializers.ChoiceField(
        choices=Approval.Status.choices,
        help_text="`pending`, `approved`, `declined`, or `expired` if there was no decision in time, or the "
        "run ended before.",
    )
    reason = NullableCodeField(help_text="The reason of the decision. Null if there is none.")
    decided_by = NullableCodeField(
        help_text="The prefix of the API key with which the decision was made, or `operator`. Null without a "
        "decision."
    )
    decided_at = serializers.DateTimeField(
        allow_null=True, help_text="When the decision was made. Null before."
    )
    created_at = serializers.DateTimeField(help_text="When the run requested the call.")
    expires_at = serializers.DateTimeField(
        help_text="Until when a decision is possible. After this time, the run ends."
    )


class ListedApprovalSerializer(ApprovalSerializer):
    """An approval in a list. Long arguments are truncated.

    Rows have `arguments_start`: one character more than `MAX_LISTED_BYTES` shows that there is more.
    """

    arguments = serializers.CharField(
        help_text="The arguments, as the model wrote them, truncated at 16 KiB."
    )
    arguments_truncated = serializers.BooleanField(
        help_text="Whether the arguments were truncated."
    )

    def to_representation(self, instance: Any) -> Any:
        instance.arguments, instance.arguments_truncated = first_bytes(
            instance.arguments_start, MAX_LISTED_BYTES
        )
        return super().to_representation(instance)


class DecisionSerializer(StrictSerializer):
    """A decision about a tool call."""

    hints = {
        **dict.fromkeys(("approved", "decision", "status"), "Did you mean approve?"),
        **dict.fromkeys(("comment", "message", "note"), "Did you mean reason?"),
        "arguments": "The call is made with the arguments that were requested.",
    }

    approve = TrueFalseField(help_text="Whether the call may be made.")
    reason = TextField(
        required=False,
        allow_blank=True,
        default="",
        max_length=MAX_REASON_CHARACTERS,
        help_text="The reason. If the call is declined, the model receives it.",
    )
