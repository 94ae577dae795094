"""The API of approvals."""

from typing import Any

from django.db.models import QuerySet
from django.db.models.functions import Left
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer
from rest_framework.viewsets import ReadOnlyModelViewSet

from executions.approvals import openapi, services
from executions.approvals.serializers import (
    ApprovalSerializer,
    DecisionSerializer,
    ListedApprovalSerializer,
)
from executions.errors import ApprovalNotFound
from executions.models import Approval
from executions.serializers import MAX_LISTED_BYTES
from map_project.api.errors import BadRequest
from map_project.api.fields import parse_uuid
from map_project.tenants.scopes import ACTION_SCOPES, APPROVE
from map_project.tenants.viewsets import TenantViewSet


@openapi.documented
class ApprovalViewSet(TenantViewSet[Approval], ReadOnlyModelViewSet[Approval]):
    """The tenant's approvals, the newest first."""

    queryset = Approval.objects.all()
    serializer_class = ApprovalSerializer
    scopes = {**ACTION_SCOPES, "decide": APPROVE}
    resource = "approval"
    not_found = ApprovalNotFound
    query_parameters = {"list": ["status", "execution_id"]}

    def get_queryset(self) -> QuerySet[Approval, Any]:
        queryset = super().get_queryset()
        if self.action != "list":
            return queryset
        start = Left("arguments", MAX_LISTED_BYTES + 1)
        return queryset.defer("arguments").annotate(arguments_start=start)

    def filter_queryset(self, queryset: QuerySet[Approval, Any]) -> QuerySet[Approval, Any]:
        parameters = self.request.query_params
        if (status := parameters.get("status")) is not None:
            if status not in Approval.Status.values:
                raise BadRequest(f"status must be one of {', '.join(Approval.Status.values)}.")
            queryset = queryset.filter(status=status)
        if (text := parameters.get("execution_id")) is not None:
            if (execution_id := parse_uuid(text)) is None:
                raise BadRequest("execution_id must be a UUID.")
            queryset = queryset.filter(execution_id=execution_id)
        return queryset

    def get_serializer_class(self) -> type[BaseSerializer[Any]]:
        serializers = {"list": ListedApprovalSerializer, "decide": DecisionSerializer}
        return serializers.get(self.action, ApprovalSerializer)

    @action(detail=True, methods=["post"])
    def decide(self, request: Request, pk: str) -> Response:
        """Approve or decline the call."""
        approval = self.get_object()
        serializer = self.get_serializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        services.decide(
            approval=approval, **serializer.validated_data, decided_by=self.caller.key_prefix
        )
        return Response(ApprovalSerializer(approval).data)
