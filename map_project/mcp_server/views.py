"""The MCP server."""

from collections.abc import Callable, Mapping
from typing import Any

from django.http import HttpResponse
from django.http.response import HttpResponseBase
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from agents.errors import AgentNotFound
from agents.models import Agent
from executions.replays import await_response
from executions.results import Run
from executions.services import run_agent
from map_project.api import request_id
from map_project.api.errors import InternalError
from map_project.api.fields import StrictSerializer, TextField
from map_project.mcp_server.errors import InvalidParams, MethodNotFound, RpcError
from map_project.mcp_server.messages import (
    Message,
    error_message,
    id_of,
    message_of,
    result_message,
)
from map_project.mcp_server.results import tool_result
from map_project.mcp_server.revisions import (
    OLD,
    SERVER_INFO,
    SUPPORTED,
    as_result,
    check_revision,
)
from map_project.mcp_server.tools import CACHING, find_agent, tool_page
from map_project.tenants.scopes import READ, RUN
from map_project.tenants.viewsets import TenantViewSet
from ratelimit.middleware import MCP_RUN, is_admitted, keyed_request, repeated_request

_CAPABILITIES: Mapping[str, Any] = {"tools": {}}
_INSTRUCTIONS = "Each tool is an agent, which answers a prompt. It remembers no earlier call."


class ArgumentsSerializer(StrictSerializer):
    """The arguments of a tool."""

    prompt = TextField()


# It is described by its protocol: `server/discover` and `tools/list`.
@extend_schema(exclude=True)
class McpViewSet(TenantViewSet[Agent]):
    """Messages of MCP. `ratelimit.middleware` has taken a unit of the quota for each `tools/call`."""

    ignores_unknown_parameters = True
    # Of `tools/call`. `ratelimit.middleware` checks it before it takes a unit.
    scopes = {"create": RUN}
    queryset = Agent.objects.filter(model__isnull=False)
    resource = "agent"
    not_found = AgentNotFound
    serializer_class = ArgumentsSerializer

    @property
    def required_scope(self) -> str:
        data = self.request.data
        is_run = isinstance(data, dict) and data.get("method") == MCP_RUN
        return super().required_scope if is_run else READ

    def create(self, request: Request) -> HttpResponseBase:
        is_modern = True
        try:
            message = message_of(request.data)
            is_modern = check_revision(message, request.headers)
            if message.is_notification:
                return Response(status=202)
            method = (_MODERN_METHODS if is_modern else _OLD_METHODS).get(message.method)
            if method is None:
                raise MethodNotFound(f"There is no method {message.method[:100]}.")
            result = method(self, message)
        except RpcError as error:
            status = error.status if is_modern else error.old_status
            body = error_message(id_of(request.data), error.body())
            return Response(body, status=status)
        if isinstance(result, HttpResponse):
            return result  # of the request that this one repeats
        return Response(result_message(message.id, as_result(result, is_modern=is_modern)))

    def _discover(self, message: Message) -> dict[str, Any]:
        return {
            "supportedVersions": [*SUPPORTED],
            "capabilities": _CAPABILITIES,
            "instructions": _INSTRUCTIONS,
            **CACHING,
        }

    def _initialize(self, message: Message) -> dict[str, Any]:
        requested = message.params.get("protocolVersion")
        return {
            "protocolVersion": requested if requested in OLD else OLD[0],
            "capabilities": _CAPABILITIES,
            "serverInfo": SERVER_INFO,
            "instructions": _INSTRUCTIONS,
        }

    def _ping(self, message: Message) -> dict[str, Any]:
        return {}

    def _list_tools(self, message: Message) -> dict[str, Any]:
        return tool_page(self.get_queryset(), message.params.get("cursor"))

    def _call_tool(self, message: Message) -> dict[str, Any] | HttpResponse:
        if not is_admitted(self.request):
            # The limiter reads the body as well. If it ever reads another method, nothing is run.
            raise InternalError
        agent = find_agent(self.get_queryset(), message.params.get("name"))
        arguments = message.params.get("arguments", {})
        if not isinstance(arguments, dict):
            raise InvalidParams("The arguments must be an object.")
        serializer = ArgumentsSerializer(data=arguments)
        serializer.is_valid(raise_exception=True)
        run = self._run(agent, serializer.validated_data["prompt"])
        if isinstance(run, HttpResponse):
            return run
        return tool_result(run, has_schema=agent.output_schema is not None)

    def _run(self, agent: Agent, prompt: str) -> Run | HttpResponse:
        if stored := repeated_request(self.request):
            found = await_response(stored)
            return found if isinstance(found, HttpResponse) else Run.of_execution(found)
        try:
            return run_agent(
                caller=self.caller,
                agent_id=agent.pk,
                prompt=prompt,
                model=None,
                request_id=request_id.current(),
                keyed_request=keyed_request(self.request),
            )
        except Agent.DoesNotExist:
            raise InvalidParams("The agent has been deleted.") from None


_Method = Callable[[McpViewSet, Message], dict[str, Any] | HttpResponse]
_COMMON_METHODS: Mapping[str, _Method] = {
    "tools/list": McpViewSet._list_tools,
    "tools/call": McpViewSet._call_tool,
}
_MODERN_METHODS = {"server/discover": McpViewSet._discover, **_COMMON_METHODS}
_OLD_METHODS = {"initialize": McpViewSet._initialize, "ping": McpViewSet._ping, **_COMMON_METHODS}
