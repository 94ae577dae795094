"""Writing webhooks, and recording their events."""

import base64
import secrets as random
import uuid
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db.models.functions import Now

from map_project.api import secrets
from map_project.api.errors import ValidationFailed
from map_project.webhooks.models import ALL_EVENTS, WebhookDelivery, WebhookEndpoint

MAX_ENDPOINTS = 20
# How long the previous secret signs after a rotation.
OVERLAP = timedelta(hours=24)


def create_endpoint(*, tenant_id: uuid.UUID, **fields: Any) -> tuple[WebhookEndpoint, str]:
    """Create an endpoint. Return it and its secret. Raises ValidationFailed."""
    if WebhookEndpoint.objects.filter(tenant_id=tenant_id).count() >= MAX_ENDPOINTS:
        raise ValidationFailed(fields={"url": [f"You can have at most {MAX_ENDPOINTS} webhooks."]})
    secret = _new_secret()
    endpoint = WebhookEndpoint.objects.create(
        tenant_id=tenant_id, secret_token=_encrypted(secret), **fields
    )
    endpoint.refresh_from_db()
    return endpoint, secret


def update_endpoint(*, endpoint: WebhookEndpoint, fields: Mapping[str, Any]) -> WebhookEndpoint:
    """Change the given fields. An endpoint that becomes active starts without failures."""
    for name, value in fields.items():
        setattr(endpoint, name, value)
    if fields.get("is_active"):
        endpoint.failing_since, endpoint.disabled_reason = None, ""
    endpoint.updated_at = Now()
    endpoint.save(force_update=True)
    endpoint.refresh_from_db()
    return endpoint


def rotate_secret(endpoint: WebhookEndpoint) -> str:
    """Give the endpoint a new secret, and return it. The previous one also signs for `OVERLAP`."""
    secret = _new_secret()
    endpoint.previous_secret_token = endpoint.secret_token
    endpoint.secret_token = _encrypted(secret)
    endpoint.previous_secret_expires_at = Now() + OVERLAP
    endpoint.save(
        update_fields=["secret_token", "previous_secret_token", "previous_secret_expires_at"]
    )
    endpoint.refresh_from_db()
    return secret


def record_event(
    *,
    tenant_id: uuid.UUID,
    event_type: str,
    execution_id: uuid.UUID | None = None,
    data: Mapping[str, Any] | None = None,
) -> None:
    """Record a delivery for each endpoint of the tenant that receives the event.

    In the current transaction, which is that of the event. `data` are those of an event that is not about an
    execution.
    """
    endpoints = WebhookEndpoint.objects.filter(
        tenant_id=tenant_id, is_active=True, event_types__overlap=[ALL_EVENTS, event_type]
    )
    deliveries = [
        WebhookDelivery(
            tenant_id=tenant_id,
            endpoint_id=pk,
            execution_id=execution_id,
            event_type=event_type,
            data=data,
        )
        for pk in endpoints.values_list("pk", flat=True)
    ]
    if deliveries:
        WebhookDelivery.objects.bulk_create(deliveries)


def _new_secret() -> str:
    """Return a secret in the form of Standard Webhooks: `whsec_` and 32 bytes in base64."""
    return f"whsec_{base64.b64encode(random.token_bytes(32)).decode()}"


def _encrypted(secret: str) -> str:
    try:
        return secrets.encrypt(secret)
    except ImproperlyConfigured:
        text = "This server cannot store secrets: SECRETS_KEYS is not set."
        raise ValidationFailed(fields={"url": [text]}) from None
