"""Serializers of webhooks."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from map_project.api.fields import StrictSerializer, TextField, TrueFalseField
from map_project.webhooks import services
from map_project.webhooks.models import (
    ALL_EVENTS,
    MAX_URL_CHARACTERS,
    WebhookDelivery,
    WebhookEndpoint,
)
from tools.invokers.url import UrlError, parse_url

EVENT_TYPES = (
    *("execution.succeeded", "execution.incomplete", "execution.failed", "execution.cancelled"),
    "execution.requires_action",
    "budget.warning",
    ALL_EVENTS,
)


@extend_schema_field({"type": "string", "format": "uri", "maxLength": MAX_URL_CHARACTERS})
class UrlField(TextField):
    """A URL without placeholders."""

    def to_internal_value(self, data: Any) -> str:
        text = super().to_internal_value(data)
        try:
            placeholders = [*parse_url(text).placeholders()]
        except UrlError as error:
            raise serializers.ValidationError(str(error)) from None
        if placeholders:
            raise serializers.ValidationError("The URL of a webhook has no placeholders.")
        return text


@extend_schema_field(
    {"type": "array", "items": {"type": "string", "enum": EVENT_TYPES}, "minItems": 1}
)
class EventTypesField(serializers.Field[Any, Any, Any, Any]):
    """A list of event types, without duplicates."""

    default_error_messages = {
        "not_a_list": "Expected a list of event types, at least one.",
        "unknown": f"Each item must be one of {', '.join(EVENT_TYPES)}.",
    }

    def to_internal_value(self, data: Any) -> list[str]:
        if not isinstance(data, list) or not data:
            self.fail("not_a_list")
        if not all(isinstance(item, str) and item in EVENT_TYPES for item in data):
            self.fail("unknown")
        return [*dict.fromkeys(data)]

    def to_representation(self, value: list[str]) -> list[str]:
        return value


class WebhookSerializer(StrictSerializer):
    """A URL that receives a request when a run ends, or waits for approvals."""

    id = serializers.UUIDField(read_only=True, help_text="ID of the webhook.")
    url = UrlField(
        max_length=MAX_URL_CHARACTERS,
        help_text="URL that receives the requests. Private and reserved addresses are not allowed.",
    )
    event_types = EventTypesField(
        help_text="The events to receive. `*` stands for all, also those of later releases."
    )
    is_active = TrueFalseField(
        required=False,
        help_text="Whether events are delivered. Set to false after three days of failures, or after a 410.",
    )
    created_at = serializers.DateTimeField(
        read_only=True, help_text="When the webhook was created."
    )

    def create(self, validated_data: dict[str, Any]) -> WebhookEndpoint:
        endpoint, secret = services.create_endpoint(**validated_data)
        endpoint.secret = secret  # type: ignore[attr-defined]
        return endpoint

    def update(self, instance: WebhookEndpoint, validated_data: dict[str, Any]) -> WebhookEndpoint:
        return services.update_endpoint(endpoint=instance, fields=validated_data)


class NewWebhookSerializer(WebhookSerializer):
    """A webhook with its secret."""

    secret = serializers.CharField(
        read_only=True,
        help_text="Secret that signs the requests (Standard Webhooks). It is not shown again.",
    )


class DeliverySerializer(serializers.Serializer[WebhookDelivery]):
    """A delivery of an event to a webhook."""

    id = serializers.UUIDField(help_text="ID of the delivery, which is the header `webhook-id`.")
    event_type = serializers.CharField(help_text="Type of the event.")
    execution_id = serializers.UUIDField(
        allow_null=True,
        help_text="The execution that has ended or waits. Null for a test and for `budget.warning`.",
    )
    status = serializers.ChoiceField(
        choices=WebhookDelivery.Status.choices, help_text="Status of the delivery."
    )
    attempts = serializers.IntegerField(help_text="Number of attempts so far.")
    response_status = serializers.IntegerField(
        allow_null=True, help_text="HTTP status of the last response. Null without a response."
    )
    error = serializers.SerializerMethodField(
        help_text="Error code of the last attempt, for example `timeout` or `http_500`. Null if it succeeded."
    )
    created_at = serializers.DateTimeField(help_text="When the event happened.")
    next_attempt_at = serializers.DateTimeField(
        allow_null=True, help_text="When the next attempt is due. Null if there is none."
    )
    finished_at = serializers.DateTimeField(
        allow_null=True, help_text="When the delivery succeeded or failed. Null before."
    )

    def get_error(self, delivery: WebhookDelivery) -> str | None:
        return delivery.error or None
