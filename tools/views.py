"""The API of tools."""

import time
from operator import itemgetter
from typing import Any

import orjson
from django.db import IntegrityError
from django.db.models import ProtectedError
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ModelViewSet

from map_project.api.filters import ExactFilter
from map_project.postgresql.connections import released_connection
from map_project.tenants.scopes import ACTION_SCOPES, WRITE
from map_project.tenants.viewsets import TenantViewSet
from tools import openapi
from tools.errors import ToolInUse, ToolNotCallable, ToolNotFound, ToolNotRefreshable
from tools.imports import import_serializer
from tools.imports.mcp import current_fields, refresh_tool
from tools.imports.serializers import ImportResultSerializer
from tools.imports.services import import_tools
from tools.invokers import INVOKERS, CallableTool, call
from tools.models import Tool
from tools.serializers import ToolSerializer, ToolTestSerializer

# Longer than any timeout of a tool.
_TEST_SECONDS = 65


@openapi.documented
class ToolViewSet(TenantViewSet[Tool], ModelViewSet[Tool]):
    """The tenant's tools."""

    queryset = Tool.objects.all()
    rows = ToolSerializer.rows(queryset)
    row_actions = ("list", "retrieve")
    # A test calls the tool with any arguments and without an agent, so `run` is not enough.
    scopes = {**ACTION_SCOPES, "import_tools": WRITE, "refresh": WRITE, "test": WRITE}
    serializer_class = ToolSerializer
    filter_backends = (ExactFilter,)
    exact_filters = {
        "agent_name": ("agents__name", "Returns only tools of the agent with this name.")
    }
    resource = "tool"
    not_found = ToolNotFound

    def perform_destroy(self, instance: Tool) -> None:
        try:
            deleted, _ = instance.delete()
        except (ProtectedError, IntegrityError):
            # The foreign key reports an agent that was given the tool at the same moment.
            agents = sorted(instance.agents.values("id", "name"), key=itemgetter("name"))
            raise ToolInUse(dependent_agents=agents) from None
        if not deleted:
            raise Tool.DoesNotExist

    def get_serializer_class(self) -> Any:
        if self.action == "import_tools":
            return import_serializer(self.request.data)
        return super().get_serializer_class()

    @action(detail=False, methods=["post"], url_path="import", url_name="import")
    def import_tools(self, request: Request) -> Response:
        """Import tools. `ratelimit.middleware` has taken a unit of the quota before."""
        serializer = self.get_serializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        with released_connection():
            candidates, left = serializer.candidates()
        result = import_tools(
            tenant_id=self.caller.tenant_id,
            candidates=candidates,
            left=left,
            dry_run=serializer.validated_data.get("dry_run", False),
        )
        return Response(ImportResultSerializer(result).data)

    @action(detail=True, methods=["post"], serializer_class=None)
    def refresh(self, request: Request, pk: str) -> Response:
        """Take the current definition of an `mcp` tool. `ratelimit.middleware` has taken a unit before."""
        tool = self.get_object()
        if tool.kind != Tool.Kind.MCP:
            raise ToolNotRefreshable(tool_id=str(tool.pk), kind=tool.kind)
        with released_connection():
            fields = current_fields(tool)
        return Response(ToolSerializer(refresh_tool(tool=tool, fields=fields)).data)

    @action(detail=True, methods=["post"], serializer_class=ToolTestSerializer)
    def test(self, request: Request, pk: str) -> Response:
        """Call a tool. `ratelimit.middleware` has taken a unit of the quota before."""
        tool = self.get_object()
        if tool.kind not in INVOKERS:
            raise ToolNotCallable(tool_id=str(tool.pk), kind=tool.kind)
        serializer = self.get_serializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        arguments = orjson.dumps(serializer.validated_data.get("arguments", {})).decode()
        with released_connection():
            result = call(
                CallableTool.of(tool), arguments, deadline=time.monotonic() + _TEST_SECONDS
            )
        return Response(
            {
                "ok": result.error is None,
                "error": result.error,
                "result": result.text,
                "latency_ms": result.latency_ms,
            }
        )
