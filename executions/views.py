"""Running an agent, and the history of runs."""

from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from agents.models import Agent
from executions import openapi
from executions.models import Execution
from executions.serializers import ExecutionSerializer, RunBody
from executions.services import run_agent
from map_project.api import request_id
from map_project.tenants.viewsets import TenantViewSet

_NO_TOOLS = "This agent has no tools; the model answered from the prompt alone."


@openapi.run_documented
class RunViewSet(TenantViewSet[Agent]):
    """Runs of the tenant's agents. The quota has been seen to by `ratelimit.middleware`."""

    model = Agent
    resource = "agent"
    body_class = RunBody

    def create(self, request: Request, pk: str) -> Response:
        agent = self.find(self.get_queryset().prefetch_related("tools"))
        body = self.validated_body()
        execution = run_agent(agent=agent, **body, request_id=request_id.current())
        return Response(_answer(execution, agent))


def _answer(execution: Execution, agent: Agent) -> dict[str, Any]:
    answer = {
        "execution_id": execution.id,
        "agent_id": execution.agent_id,
        "agent_name": execution.agent_name,
        "model": execution.model,
        "prompt": execution.prompt,
        "response": execution.response,
        "tools_available": [tool.name for tool in agent.tools_by_name()],
        "executed_at": execution.created_at,
    }
    return answer if answer["tools_available"] else {**answer, "warning": _NO_TOOLS}


@openapi.history_documented
class HistoryViewSet(TenantViewSet[Execution]):
    """The tenant's executions; they can be read and nothing else."""

    model = Execution
    resource = "execution"
    serializer_class = ExecutionSerializer

    def list(self, request: Request) -> Response:
        return self.page(self.get_queryset())

    def retrieve(self, request: Request, pk: str) -> Response:
        return Response(ExecutionSerializer(self.get_object()).data)
