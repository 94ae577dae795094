"""The API of webhooks."""

from typing import Any

from django.db.models.functions import Now
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer
from rest_framework.viewsets import ModelViewSet

from map_project.api.fields import parse_uuid
from map_project.tenants.scopes import ACTION_SCOPES, READ, WRITE
from map_project.tenants.viewsets import TenantViewSet
from map_project.webhooks import openapi, services
from map_project.webhooks.errors import DeliveryNotFound, WebhookNotFound
from map_project.webhooks.models import TEST_EVENT, WebhookDelivery, WebhookEndpoint
from map_project.webhooks.serializers import (
    DeliverySerializer,
    NewWebhookSerializer,
    WebhookSerializer,
)


@openapi.documented
class WebhookViewSet(TenantViewSet[WebhookEndpoint], ModelViewSet[WebhookEndpoint]):
    """The tenant's webhooks."""

    queryset = WebhookEndpoint.objects.all()
    serializer_class = WebhookSerializer
    resource = "webhook"
    not_found = WebhookNotFound
    scopes = {
        **ACTION_SCOPES,
        "rotate_secret": WRITE,
        "deliveries": READ,
        "test": WRITE,
        "retry": WRITE,
    }
    paginated_actions = ("list", "deliveries")

    def get_serializer_class(self) -> type[BaseSerializer[Any]]:
        return NewWebhookSerializer if self.action == "create" else super().get_serializer_class()

    @action(detail=True, methods=["post"], url_path="rotate-secret")
    def rotate_secret(self, request: Request, pk: str) -> Response:
        """Give the webhook a new secret."""
        endpoint = self.get_object()
        endpoint.secret = services.rotate_secret(endpoint)  # type: ignore[attr-defined]
        return Response(NewWebhookSerializer(endpoint).data)

    @action(detail=True)
    def deliveries(self, request: Request, pk: str) -> Response:
        """List the deliveries of the webhook, the newest first."""
        deliveries: Any = self.get_object().deliveries.order_by("-created_at", "-id")
        rows: Any = self.paginate_queryset(deliveries)
        page = DeliverySerializer(rows, many=True)
        return self.get_paginated_response(page.data)

    @action(detail=True, methods=["post"])
    def test(self, request: Request, pk: str) -> Response:
        """Deliver a test event."""
        endpoint = self.get_object()
        delivery = WebhookDelivery.objects.create(
            tenant_id=endpoint.tenant_id, endpoint=endpoint, event_type=TEST_EVENT
        )
        delivery.refresh_from_db()
        return Response(DeliverySerializer(delivery).data, status=202)

    @action(
        detail=True,
        methods=["post"],
        url_path="deliveries/<str:delivery_pk>/retry",
        url_name="retry",
    )
    def retry(self, request: Request, pk: str, delivery_pk: str) -> Response:
        """Repeat a delivery."""
        deliveries, delivery_id = self.get_object().deliveries, parse_uuid(delivery_pk)
        rows = deliveries.filter(pk=delivery_id) if delivery_id else deliveries.none()
        pending = WebhookDelivery.Status.PENDING
        if not rows.update(status=pending, attempts=0, finished_at=None, next_attempt_at=Now()):
            raise DeliveryNotFound(delivery_id=delivery_pk)
        return Response(DeliverySerializer(rows.get()).data, status=202)
