"""Tools of a tenant: list, make, change, delete."""

from operator import itemgetter

from django.db import IntegrityError
from django.db.models import ProtectedError, QuerySet
from django.db.models.functions import Now
from rest_framework.request import Request
from rest_framework.response import Response

from map_project.api.errors import ApiError
from map_project.tenants.viewsets import TenantViewSet
from tools import openapi
from tools.models import Tool
from tools.serializers import ToolBody, ToolSerializer


@openapi.documented
class ToolViewSet(TenantViewSet[Tool]):
    """The tenant's tools."""

    model = Tool
    resource = "tool"
    serializer_class = ToolSerializer
    body_class = ToolBody

    def list(self, request: Request) -> Response:
        return self.page(self._filtered(self.get_queryset()))

    def create(self, request: Request) -> Response:
        tool = Tool.objects.create(tenant_id=self.caller.tenant_id, **self.validated_body())
        return Response(ToolSerializer(tool).data, status=201)

    def retrieve(self, request: Request, pk: str) -> Response:
        return Response(ToolSerializer(self.get_object()).data)

    def update(self, request: Request, pk: str, *, partial: bool = False) -> Response:
        tool = self.get_object()
        if changes := self.validated_body(partial=partial):
            self.get_queryset().filter(pk=tool.pk).update(**changes, updated_at=Now())
            tool = self.get_object()
        return Response(ToolSerializer(tool).data)

    def partial_update(self, request: Request, pk: str) -> Response:
        return self.update(request, pk, partial=True)

    def destroy(self, request: Request, pk: str) -> Response:
        self.get_object().delete()
        return Response(status=204)

    def conflict(self, constraint: str, error: IntegrityError) -> ApiError | None:
        if constraint == "tool_name_unique":
            name = self.sent["name"]
            message = "There is a tool with this name."
            return ApiError(400, "DUPLICATE_TOOL_NAME", message, {"name": name})
        # Found in the way by Django, or by the foreign key when both happened at one moment.
        if isinstance(error, ProtectedError) or constraint.startswith("agents_agenttool_tool_id"):
            return self._in_use()
        return None

    def _in_use(self) -> ApiError:
        agents = Tool(pk=self.kwargs["pk"]).agents.filter(tenant_id=self.caller.tenant_id)
        dependent = sorted(agents.values("id", "name"), key=itemgetter("name"))
        message = "Agents use this tool; take it from them first."
        return ApiError(400, "TOOL_IN_USE", message, {"dependent_agents": dependent})

    def _filtered(self, tools: QuerySet[Tool]) -> QuerySet[Tool]:
        agent_name = self.request.query_params.get("agent_name")
        return tools if agent_name is None else tools.filter(agents__name=agent_name)
