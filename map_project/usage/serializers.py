"""The serializers that describe a report in the OpenAPI document. `formats` makes the bodies."""

from typing import Any

from rest_framework import serializers

from map_project.usage.reports import COLUMNS


class AmountsSerializer(serializers.Serializer[Any]):
    """What runs add up to."""

    runs = serializers.IntegerField(help_text="Runs that ended in the range, with any status.")
    failures = serializers.IntegerField(help_text="Runs that ended with the status `failed`.")
    input_tokens = serializers.IntegerField(
        help_text="Input tokens. Unknown numbers of tokens count as 0."
    )
    output_tokens = serializers.IntegerField(
        help_text="Output tokens. Unknown numbers of tokens count as 0."
    )
    total_tokens = serializers.IntegerField(help_text="Input and output tokens.")
    cost_usd = serializers.CharField(
        help_text="Cost in US dollars, exact. Unknown costs count as 0."
    )
    tool_calls = serializers.IntegerField(help_text="Tool calls that were made.")
    failed_tool_calls = serializers.IntegerField(
        help_text="Tool calls that were made and returned an error, or were interrupted."
    )


class UsedAgentSerializer(serializers.Serializer[Any]):
    """An agent whose runs were counted."""

    id = serializers.UUIDField(help_text="ID of the agent, which may have been deleted.")
    name = serializers.CharField(help_text="The last name that the agent had in the range.")


class UsedKeySerializer(serializers.Serializer[Any]):
    """An API key with which runs were started."""

    id = serializers.UUIDField(
        allow_null=True, help_text="ID of the key. Null if the key does not exist any more."
    )
    name = serializers.CharField(
        allow_null=True,
        help_text="Name of the key, empty if it has none. Null if the key does not exist any more.",
    )
    prefix = serializers.CharField(
        allow_null=True,
        help_text="First 12 characters of the key. Null for runs of releases that did not record it.",
    )


class UsageGroupSerializer(AmountsSerializer):
    """The usage of one group. It has the fields that `group_by` names."""

    day = serializers.DateField(required=False, help_text="A day in the time zone.")
    model = serializers.CharField(required=False, help_text="Name of the model.")
    agent = UsedAgentSerializer(required=False, help_text="The agent.")
    key = UsedKeySerializer(required=False, help_text="The API key.")
    status = serializers.CharField(
        required=False, help_text="The status with which the runs ended."
    )


class UsageReportSerializer(serializers.Serializer[Any]):
    """The usage of the tenant in a time range."""

    to = serializers.DateTimeField(help_text="End of the range, which is not part of it.")
    timezone = serializers.CharField(help_text="Time zone of the days.")
    group_by = serializers.ListField(
        child=serializers.ChoiceField(choices=[*COLUMNS]),
        help_text="The `group_by` of the request.",
    )
    totals = AmountsSerializer(help_text="The sum of all groups.")
    items = UsageGroupSerializer(
        many=True,
        help_text="The groups that have runs, sorted by what they are grouped by. Empty without "
        "`group_by`.",
    )

    def get_fields(self) -> dict[str, Any]:
        """Add `from`, which is a keyword of Python."""
        begin = serializers.DateTimeField(help_text="Beginning of the range, which is part of it.")
        return {"from": begin, **super().get_fields()}
