"""The API of conversations at `/v1`."""

import uuid
from typing import Any

from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from executions.conversations.items import ItemList
from executions.conversations.services import create_conversation, delete_conversation
from executions.errors import ConversationNotFound
from executions.models import Conversation
from executions.responses import conversation_id, id_of
from map_project.openai_api import openapi
from map_project.openai_api.items import conversation_page
from map_project.openai_api.serializers import NewConversationSerializer
from map_project.tenants.scopes import ACTION_SCOPES, READ, RUN
from map_project.tenants.viewsets import TenantViewSet


@openapi.conversations_documented
class ConversationViewSet(TenantViewSet[Conversation]):
    """The tenant's conversations."""

    ignores_unknown_parameters = True
    scopes = {**ACTION_SCOPES, "create": RUN, "items": READ}
    queryset = Conversation.objects.all()
    serializer_class = NewConversationSerializer
    resource = "conversation"
    not_found = ConversationNotFound

    def get_pk(self) -> uuid.UUID:
        pk = id_of("conv", self.kwargs["pk"])
        if pk is None:
            raise ConversationNotFound(conversation_id=self.kwargs["pk"])
        return pk

    def create(self, request: Request) -> Response:
        serializer = self.get_serializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        metadata = serializer.validated_data.get("metadata")
        created = create_conversation(tenant_id=self.caller.tenant_id, metadata=metadata)
        return Response(_conversation_object(created))

    def retrieve(self, request: Request, pk: str) -> Response:
        return Response(_conversation_object(self.get_object()))

    def destroy(self, request: Request, pk: str) -> Response:
        delete_conversation(self.get_object())
        return Response({"id": pk, "object": "conversation.deleted", "deleted": True})

    @action(detail=True)
    def items(self, request: Request, pk: str) -> Response:
        """List the items of the conversation."""
        return Response(conversation_page(ItemList(self.get_object()), request.query_params))


def _conversation_object(conversation: Conversation) -> dict[str, Any]:
    return {
        "id": conversation_id(conversation.pk),
        "object": "conversation",
        "created_at": int(conversation.created_at.timestamp()),
        "metadata": conversation.metadata or {},
    }
