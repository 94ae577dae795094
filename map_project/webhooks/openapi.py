"""The OpenAPI operations of webhooks."""

from drf_spectacular.utils import extend_schema_view

from map_project.api.errors import InvalidPagination
from map_project.tenants.errors import TenantIsolationViolation
from map_project.tenants.openapi import tenant_operation as operation
from map_project.webhooks.errors import DeliveryNotFound, WebhookNotFound
from map_project.webhooks.serializers import (
    DeliverySerializer,
    NewWebhookSerializer,
    WebhookSerializer,
)

_BODY = {"url": "https://example.com/hooks/map", "event_types": ["execution.failed"]}
_EXAMPLE = {
    "id": "0197a3c3-11d0-7a52-8e9b-4a6c1f0b7d33",
    **_BODY,
    "is_active": True,
    "created_at": "2026-11-22T10:00:00.123456Z",
}
_NEW = {**_EXAMPLE, "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw3F2l1Wf0bTE="}
_DELIVERY = {
    "id": "0197a3c3-2f40-7c11-93d5-0b8e6a4c2d19",
    "event_type": "execution.failed",
    "execution_id": "0197a3c2-77aa-7f3b-b6a0-51c3a9d1e004",
    "status": "pending",
    "attempts": 1,
    "response_status": 500,
    "error": "http_500",
    "created_at": "2026-11-22T10:00:00.123456Z",
    "next_attempt_at": "2026-11-22T10:00:05.417331Z",
    "finished_at": None,
}
_ONE = (WebhookNotFound, TenantIsolationViolation)

documented = extend_schema_view(
    list=operation(
        "List webhooks",
        description="Returns your webhooks, sorted by `created_at`, then `id`.",
        responses={200: WebhookSerializer(many=True)},
        errors=[InvalidPagination],
        example=_EXAMPLE,
    ),
    create=operation(
        "Create a webhook",
        description="Creates a webhook: a URL that receives a signed request when a run ends, or waits for "
        "approvals (Standard Webhooks 1.0.0). The response contains the secret, which is not shown again.",
        responses={201: NewWebhookSerializer},
        body={"Webhook": _BODY},
        example=_NEW,
    ),
    retrieve=operation(
        "Read a webhook",
        description="Returns a webhook without its secret.",
        id_of="webhook",
        responses={200: WebhookSerializer},
        errors=_ONE,
        example=_EXAMPLE,
    ),
    update=operation(
        "Replace a webhook",
        description="`url` and `event_types` are required. `is_active` is unchanged if omitted.",
        id_of="webhook",
        responses={200: WebhookSerializer},
        errors=_ONE,
        body={"Webhook": _BODY},
        example=_EXAMPLE,
    ),
    partial_update=operation(
        "Update a webhook",
        description="Changes the fields that you send. Omitted fields are unchanged.",
        id_of="webhook",
        responses={200: WebhookSerializer},
        errors=_ONE,
        body={"Activate": {"is_active": True}},
        example=_EXAMPLE,
    ),
    destroy=operation(
        "Delete a webhook",
        description="Deletes a webhook and its deliveries.",
        id_of="webhook",
        responses={204: None},
        errors=_ONE,
    ),
    rotate_secret=operation(
        "Rotate the secret of a webhook",
        description="Returns the webhook with a new secret. For 24 hours, requests are signed with the "
        "previous secret as well.",
        id_of="webhook",
        request=None,
        responses={200: NewWebhookSerializer},
        errors=_ONE,
        example=_NEW,
    ),
    deliveries=operation(
        "List the deliveries of a webhook",
        description="Returns the deliveries of a webhook, newest first.",
        id_of="webhook",
        operation_id="webhooks_deliveries_list",
        responses={200: DeliverySerializer(many=True)},
        errors=[*_ONE, InvalidPagination],
        example=_DELIVERY,
    ),
    test=operation(
        "Test a webhook",
        description="Delivers an event of the type `webhook.test`, in one attempt. Read the deliveries for "
        "the result.",
        id_of="webhook",
        operation_id="webhooks_test",
        request=None,
        responses={202: DeliverySerializer},
        errors=_ONE,
        example={
            **_DELIVERY,
            "event_type": "webhook.test",
            "execution_id": None,
            "attempts": 0,
            "response_status": None,
            "error": None,
        },
    ),
    retry=operation(
        "Repeat a delivery",
        description="Delivers an event again, with the same `webhook-id` and all attempts.",
        id_of="webhook",
        other_ids={"delivery_pk": "delivery"},
        request=None,
        responses={202: DeliverySerializer},
        errors=[*_ONE, DeliveryNotFound],
        example={**_DELIVERY, "attempts": 0},
    ),
)
