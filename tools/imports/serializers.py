"""Requests and results of `POST /tools/import`: one serializer for each kind of source."""

from abc import abstractmethod
from typing import Any

from rest_framework import serializers

from map_project.api.fields import StrictSerializer, TextField, TrueFalseField
from tools.imports.base import Candidate, Outcome
from tools.serializers import SecretsField


class ImportSerializer(StrictSerializer):
    """An import. The fields that all kinds have."""

    secrets = SecretsField(
        required=False,
        help_text="Secrets that the tools use, by name. They are stored with each tool.",
    )
    prefix = TextField(
        required=False,
        allow_blank=True,
        max_length=50,
        help_text="Text before the name of each tool.",
    )
    dry_run = TrueFalseField(
        required=False,
        help_text="Whether to return what would be done, without writing anything. Defaults to false.",
    )

    @abstractmethod
    def candidates(self) -> tuple[list[Candidate], list[Outcome]]:
        """Return the tools to import, and those that are left. Needs no database. Raises ApiError."""


class OutcomeSerializer(serializers.Serializer[Any]):
    """What an import did with one tool."""

    source_name = serializers.CharField(help_text="Name of the tool where it comes from.")
    name = serializers.CharField(help_text="Name of the tool.")
    id = serializers.UUIDField(
        allow_null=True, help_text="ID of the tool. Null if it does not exist."
    )
    reason = serializers.CharField(
        allow_null=True, help_text="Why the tool was left. Null if it was not."
    )
    definition = serializers.DictField(
        allow_null=True,
        help_text="In a dry run, the fields that the tool would have, without its secrets. Otherwise null.",
    )


class ImportResultSerializer(serializers.Serializer[Any]):
    """The tools of an import by what was done, or would be done in a dry run."""

    dry_run = serializers.BooleanField(help_text="Whether nothing was written.")
    created = OutcomeSerializer(many=True, help_text="Tools that did not exist.")
    changed = OutcomeSerializer(
        many=True, help_text="Tools of an earlier import, with the new definition."
    )
    unchanged = OutcomeSerializer(many=True, help_text="Tools of an earlier import.")
    left = OutcomeSerializer(many=True, help_text="Tools that were not imported, with the reason.")
