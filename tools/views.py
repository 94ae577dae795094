"""Tools of a tenant: list, make, change, delete; and one called alone, to see what it does."""

import time
from operator import itemgetter

import orjson
from django.db import IntegrityError
from rest_framework.exceptions import APIException
from rest_framework.request import Request
from rest_framework.response import Response

from map_project.api.errors import ApiError
from map_project.api.renderers import Answer
from map_project.serving.turns import waiting
from map_project.tenants.viewsets import TenantViewSet
from tools import openapi, queries, services
from tools.invokers import INVOKERS, CallableTool, call
from tools.models import Tool
from tools.serializers import ToolBody, ToolSerializer, ToolTestBody

# Beyond every timeout that a tool may have.
_TEST_SECONDS = 65


@openapi.documented
class ToolViewSet(TenantViewSet[Tool]):
    """The tenant's tools."""

    model = Tool
    resource = "tool"
    serializer_class = ToolSerializer
    body_class = ToolBody
    one = queries.ONE

    def list(self, request: Request) -> Answer:
        agent_name = request.query_params.get("agent_name")
        if agent_name is not None:
            return self.page(queries.OF_AGENT, name=agent_name)
        return self.page(queries.ALL)

    def create(self, request: Request) -> Answer:
        row = services.create_tool(tenant_id=self.caller.tenant_id, **self.validated_body())
        return Answer(row, status=201)

    def retrieve(self, request: Request, pk: str) -> Answer:
        return Answer(self.row())

    def update(self, request: Request, pk: str, *, partial: bool = False) -> Answer:
        try:
            fields = self.validated_body(partial=partial)
        except APIException:
            # What is wrong with the address is told before what is wrong with the body.
            self.row()
            raise
        row = (
            services.change_tool(tenant_id=self.caller.tenant_id, pk=self.named(), fields=fields)
            if fields
            else self.row()
        )
        if row is None:
            raise self.missing()
        return Answer(row)

    def partial_update(self, request: Request, pk: str) -> Answer:
        return self.update(request, pk, partial=True)

    def destroy(self, request: Request, pk: str) -> Response:
        if queries.REMOVE(tenant_id=self.caller.tenant_id, pk=self.named()) is None:
            raise self.missing()
        return Response(status=204)

    def conflict(self, constraint: str, error: IntegrityError) -> ApiError | None:
        if constraint == "tool_name_unique":
            name = self.sent["name"]
            message = "There is a tool with this name."
            return ApiError(400, "DUPLICATE_TOOL_NAME", message, {"name": name})
        if constraint.startswith("agents_agenttool_tool_id"):
            return self._in_use()
        return None

    def _in_use(self) -> ApiError:
        agents = Tool(pk=self.kwargs["pk"]).agents.filter(tenant_id=self.caller.tenant_id)
        dependent = sorted(agents.values("id", "name"), key=itemgetter("name"))
        message = "Agents use this tool; take it from them first."
        return ApiError(400, "TOOL_IN_USE", message, {"dependent_agents": dependent})


@openapi.test_documented
class ToolTestViewSet(TenantViewSet[Tool]):
    """A tool called without a model. The quota has been seen to by `ratelimit.middleware`."""

    model = Tool
    resource = "tool"
    body_class = ToolTestBody
    one = queries.CALLABLE

    def create(self, request: Request, pk: str) -> Answer:
        tool = CallableTool.of(self.row())
        if tool.kind not in INVOKERS:
            message = "This tool is declared only: there is nothing to call."
            details = {"tool_id": str(tool.id), "kind": tool.kind}
            raise ApiError(400, "TOOL_NOT_CALLABLE", message, details)
        arguments = orjson.dumps(self.validated_body().get("arguments", {})).decode()
        with waiting():
            result = call(tool, arguments, deadline=time.monotonic() + _TEST_SECONDS)
        return Answer(
            {
                "ok": result.error is None,
                "error": result.error,
                "result": result.text,
                "latency_ms": result.latency_ms,
            }
        )
