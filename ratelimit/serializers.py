"""The serializer of the caller's own account."""

from typing import Any

from rest_framework import serializers

SCOPES = ("read", "write", "run")


class MyTenantSerializer(serializers.Serializer[Any]):
    """The tenant of the API key."""

    id = serializers.UUIDField()
    name = serializers.CharField()


class MyKeySerializer(serializers.Serializer[Any]):
    """The API key of the request."""

    prefix = serializers.CharField(help_text="The first 12 characters of the key.")
    name = serializers.CharField(help_text="Empty if the key has no name.")
    created_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField(
        allow_null=True, help_text="Null if the key does not expire."
    )


class MyRateLimitSerializer(serializers.Serializer[Any]):
    """The tenant's quota of runs, which all its keys share."""

    limit = serializers.IntegerField(help_text="Maximum number of runs per window.")
    window_seconds = serializers.IntegerField()
    remaining = serializers.IntegerField(
        allow_null=True, help_text="Runs that can start now. Null while Redis is unavailable."
    )
    reset_after_seconds = serializers.IntegerField(
        allow_null=True,
        help_text="Seconds until the next run becomes available; 0 if none was made in the window. "
        "Null while Redis is unavailable.",
    )


class MeSerializer(serializers.Serializer[Any]):
    """The API key of the request, its tenant and the quota."""

    tenant = MyTenantSerializer()
    api_key = MyKeySerializer()
    scopes = serializers.ListField(
        child=serializers.ChoiceField(choices=SCOPES), help_text="What the key may do."
    )
    rate_limit = MyRateLimitSerializer()
