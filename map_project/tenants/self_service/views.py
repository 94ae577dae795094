"""The API of keys."""

from datetime import timedelta
from typing import Any

from rest_framework.decorators import action
from rest_framework.mixins import DestroyModelMixin, ListModelMixin, RetrieveModelMixin
from rest_framework.request import Request
from rest_framework.response import Response

from map_project.tenants.models import ApiKey
from map_project.tenants.scopes import KEYS
from map_project.tenants.self_service import openapi, services
from map_project.tenants.self_service.errors import KeyNotFound
from map_project.tenants.self_service.serializers import (
    KeySerializer,
    NewKeySerializer,
    RotationSerializer,
)
from map_project.tenants.viewsets import TenantViewSet


@openapi.documented
class KeyViewSet(ListModelMixin, RetrieveModelMixin, DestroyModelMixin, TenantViewSet[ApiKey]):
    """The tenant's API keys."""

    queryset = ApiKey.objects.all()
    serializer_class = KeySerializer
    resource = "key"
    not_found = KeyNotFound
    scopes = dict.fromkeys(("list", "create", "retrieve", "destroy", "rotate"), KEYS)

    def create(self, request: Request) -> Response:
        """Create a key."""
        serializer = self.get_serializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        return _new_key(*services.create_key(caller=self.caller, **serializer.validated_data))

    def perform_destroy(self, instance: ApiKey) -> None:
        services.revoke_key(caller=self.caller, key=instance)

    @action(detail=True, methods=["post"])
    def rotate(self, request: Request, pk: str) -> Response:
        """Replace a key. The body is optional."""
        key = self.get_object()
        serializer = RotationSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        grace = timedelta(seconds=serializer.validated_data["grace_seconds"])
        return _new_key(*services.rotate_key(caller=self.caller, key=key, grace=grace))


def _new_key(row: ApiKey, text: str) -> Response:
    row.refresh_from_db()
    row.key = text  # type: ignore[attr-defined]
    data: Any = NewKeySerializer(row).data
    return Response(data, status=201, headers={"Cache-Control": "no-store"})
