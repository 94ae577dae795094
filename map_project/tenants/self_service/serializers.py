"""Serializers of API keys."""

from collections.abc import Sequence
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from map_project.api.fields import StrictSerializer, TextField, TimeField, WholeNumberField
from map_project.tenants.keys import scopes_of
from map_project.tenants.models import ApiKey
from map_project.tenants.scopes import SCOPES, ordered

MAX_GRACE_SECONDS = 30 * 24 * 3600


@extend_schema_field(
    {
        "type": "array",
        "items": {"type": "string", "enum": SCOPES},
        "minItems": 1,
        "description": "What the key allows. If omitted: all scopes except `keys`.",
    }
)
class ScopesField(serializers.Field[Any, Any, Any, Any]):
    """A list of scopes, at least one, without duplicates."""

    default_error_messages = {
        "not_a_list": "Expected a list of scopes, at least one.",
        "unknown": f"Each item must be one of {', '.join(SCOPES)}.",
    }

    def get_attribute(self, instance: ApiKey) -> Sequence[str]:
        return scopes_of(instance)

    def to_internal_value(self, data: Any) -> list[str]:
        if not isinstance(data, list) or not data:
            self.fail("not_a_list")
        if not all(isinstance(item, str) and item in SCOPES for item in data):
            self.fail("unknown")
        return ordered(data)

    def to_representation(self, value: Sequence[str]) -> list[str]:
        return [*value]


class KeySerializer(StrictSerializer):
    """An API key, without the key itself, which is not stored."""

    id = serializers.UUIDField(read_only=True, help_text="ID of the key.")
    prefix = serializers.CharField(read_only=True, help_text="First 12 characters of the key.")
    name = TextField(
        max_length=100,
        allow_blank=True,
        default="",
        help_text="Purpose of the key. Empty if it has no name.",
    )
    scopes = ScopesField(required=False)
    created_by = serializers.SerializerMethodField(
        help_text="Prefix of the key that created this one. Null if an operator of the platform created it."
    )
    created_at = serializers.DateTimeField(read_only=True, help_text="When the key was created.")
    last_used_at = serializers.DateTimeField(
        read_only=True,
        allow_null=True,
        help_text="When the key was last used, updated every 15 seconds. Null if it was never used.",
    )
    expires_at = TimeField(
        allow_null=True,
        required=False,
        help_text="When the key expires. Null if it does not expire. If null or omitted in a request, the "
        "key expires with the key of the request.",
    )
    revoked_at = serializers.DateTimeField(
        read_only=True, allow_null=True, help_text="When the key was revoked. Null if it was not."
    )

    def get_created_by(self, key: ApiKey) -> str | None:
        return key.created_by_key or None


class NewKeySerializer(KeySerializer):
    """A new API key, with the key itself."""

    key = serializers.CharField(read_only=True, help_text="The API key. It is not shown again.")


class RotationSerializer(StrictSerializer):
    """How an API key is replaced."""

    grace_seconds = WholeNumberField(
        min_value=0,
        max_value=MAX_GRACE_SECONDS,
        default=0,
        help_text="How long the old key stays valid. 0: it is revoked.",
    )
