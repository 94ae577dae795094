"""Running an agent, and the history of runs."""

from typing import Any

from rest_framework.exceptions import APIException
from rest_framework.request import Request
from rest_framework.response import Response

from agents.models import Agent
from executions import history, openapi
from executions.models import Execution
from executions.serializers import ExecutionSerializer, RunBody
from executions.services import Run, run_agent
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
        try:
            run = run_agent(
                caller=self.caller,
                agent_id=self.named(),
                **self.validated_body(),
                request_id=request_id.current(),
            )
        except APIException as error:
            if error.status_code == 400:
                # What is wrong with the agent is told before what is wrong with the body.
                self.get_object()
            raise
        return Response(_answer(run))


def _answer(run: Run) -> dict[str, Any]:
    answer = {
        "execution_id": run.id,
        "agent_id": run.agent.agent_id,
        "agent_name": run.agent.name,
        "model": run.model,
        "prompt": run.prompt,
        "response": run.response,
        "tools_available": run.agent.tools,
        "executed_at": run.created_at,
    }
    return answer if run.agent.tools else {**answer, "warning": _NO_TOOLS}


@openapi.history_documented
class HistoryViewSet(TenantViewSet[Execution]):
    """The tenant's executions; they can be read and nothing else."""

    model = Execution
    resource = "execution"
    serializer_class = ExecutionSerializer
    one = history.ONE

    def list(self, request: Request) -> Response:
        return self.page(history.History)

    def retrieve(self, request: Request, pk: str) -> Response:
        return Response(self.row())
