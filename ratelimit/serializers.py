"""The serializer of the caller's own account."""

from typing import Any

from rest_framework import serializers

from map_project.tenants.scopes import SCOPES


class MyTenantSerializer(serializers.Serializer[Any]):
    """The tenant of the API key."""

    id = serializers.UUIDField(help_text="ID of the tenant.")
    name = serializers.CharField(help_text="Name of the tenant.")


class MyKeySerializer(serializers.Serializer[Any]):
    """The API key of the request."""

    id = serializers.UUIDField(help_text="ID of the key.")
    prefix = serializers.CharField(help_text="First 12 characters of the key.")
    name = serializers.CharField(help_text="Empty if the key has no name.")
    created_at = serializers.DateTimeField(help_text="When the key was created.")
    expires_at = serializers.DateTimeField(
        allow_null=True, help_text="When the key expires. Null if it does not expire."
    )


class MyRateLimitSerializer(serializers.Serializer[Any]):
    """The rate limit of the tenant. All its keys share it."""

    limit = serializers.IntegerField(help_text="Maximum runs per window.")
    window_seconds = serializers.IntegerField(help_text="Length of the window.")
    remaining = serializers.IntegerField(
        allow_null=True, help_text="Runs that can start now. Null while Redis is unavailable."
    )
    reset_after_seconds = serializers.IntegerField(
        allow_null=True,
        help_text="Seconds until the oldest used slot becomes available again. 0 if no run was made in the "
        "window. Null while Redis is unavailable.",
    )


class MyBudgetSerializer(serializers.Serializer[Any]):
    """A budget of the tenant in its current period."""

    period = serializers.ChoiceField(
        choices=("day", "month"), source="name", help_text="A day or a month in UTC."
    )
    limit_usd = serializers.DecimalField(
        None, None, normalize_output=True, help_text="Maximum cost of the runs in USD."
    )
    spent_usd = serializers.DecimalField(
        None, None, normalize_output=True, help_text="Cost of the runs so far in USD."
    )
    resets_at = serializers.DateTimeField(help_text="When the next period begins.")


class MeSerializer(serializers.Serializer[Any]):
    """The API key of the request, its tenant and its rate limit."""

    tenant = MyTenantSerializer(help_text="The tenant of the API key.")
    api_key = MyKeySerializer(help_text="The API key of the request.")
    scopes = serializers.ListField(
        child=serializers.ChoiceField(choices=SCOPES), help_text="What the key allows."
    )
    rate_limit = MyRateLimitSerializer(help_text="The rate limit of the tenant.")
    budgets = MyBudgetSerializer(
        many=True, help_text="The budgets of the tenant. Empty if it has none."
    )
