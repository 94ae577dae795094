"""The API of conversations."""

from typing import Any

from rest_framework import mixins
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ReadOnlyModelViewSet

from executions.conversations import openapi, services
from executions.conversations.items import ItemList
from executions.conversations.serializers import ConversationSerializer, ItemSerializer
from executions.errors import ConversationNotFound
from executions.models import Conversation
from map_project.tenants.scopes import ACTION_SCOPES, READ, RUN
from map_project.tenants.viewsets import TenantViewSet


@openapi.documented
class ConversationViewSet(
    TenantViewSet[Conversation],
    mixins.CreateModelMixin,
    mixins.DestroyModelMixin,
    ReadOnlyModelViewSet[Conversation],
):
    """The tenant's conversations."""

    queryset = Conversation.objects.all()
    serializer_class = ConversationSerializer
    resource = "conversation"
    not_found = ConversationNotFound
    scopes = {**ACTION_SCOPES, "create": RUN, "items": READ}
    paginated_actions = ("list", "items")

    @action(detail=True)
    def items(self, request: Request, pk: str) -> Response:
        """List the items of the conversation, the oldest first."""
        items: Any = ItemList(self.get_object())
        page = ItemSerializer(self.paginate_queryset(items), many=True)
        return self.get_paginated_response(page.data)

    def perform_destroy(self, instance: Any) -> None:
        services.delete_conversation(instance)
