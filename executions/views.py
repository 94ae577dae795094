"""Running an agent, and the history of runs."""

from typing import Any, cast

from rest_framework.exceptions import APIException, ValidationError
from rest_framework.request import Request

from agents.models import Agent
from executions import history, openapi
from executions.models import Execution
from executions.serializers import ExecutionSerializer, RunBody
from executions.services import NO_MODEL, Run, run_agent
from map_project.api import request_id
from map_project.api.renderers import Answer
from map_project.tenants.viewsets import TenantViewSet

_NO_TOOLS = "This agent has no tools; the model answered from the prompt alone."
_INCOMPLETE = {
    "max_steps": "The run ended at the agent's max_steps, while the model still asked for calls.",
    "run_timeout": "The run ended when its time was up, before the model was done.",
    "max_output_tokens": "The answer ends where the model had no tokens left.",
    "content_filter": "The model's provider held the answer back, or a part of it.",
}


@openapi.run_documented
class RunViewSet(TenantViewSet[Agent]):
    """Runs of the tenant's agents. The quota has been seen to by `ratelimit.middleware`."""

    model = Agent
    resource = "agent"
    body_class = RunBody

    def create(self, request: Request, pk: str) -> Answer:
        try:
            body = self.validated_body()
        except APIException as error:
            # What is wrong with the agent is told before what is wrong with the body.
            agent = self.get_object()
            if isinstance(error, ValidationError) and agent.model is None:
                _tell_of_missing_model(error, request)
            raise
        run = run_agent(
            caller=self.caller,
            agent_id=self.named(),
            prompt=body["prompt"],
            model=body.get("model"),
            request_id=request_id.current(),
        )
        return Answer(_answer(run))


def _tell_of_missing_model(error: ValidationError, request: Request) -> None:
    """With all the others that are wrong: only its agent tells whether a run has to name a model."""
    if "model" not in request.data:
        cast(dict[str, Any], error.detail)["model"] = [NO_MODEL]


def _answer(run: Run) -> dict[str, Any]:
    agent = run.asked.agent
    answer = {
        "execution_id": run.id,
        "agent_id": agent.agent_id,
        "agent_name": agent.name,
        "model": run.asked.model.name,
        "prompt": run.asked.prompt,
        "response": run.response,
        "tools_available": agent.tools,
        "executed_at": run.created_at,
    }
    if run.status != Execution.Status.SUCCEEDED:
        ended = {"status": run.status, "stop_reason": run.stop_reason}
        return {**answer, **ended, "warning": _INCOMPLETE[run.stop_reason]}
    return answer if agent.tools else {**answer, "warning": _NO_TOOLS}


@openapi.history_documented
class HistoryViewSet(TenantViewSet[Execution]):
    """The tenant's executions; they can be read and nothing else."""

    model = Execution
    resource = "execution"
    serializer_class = ExecutionSerializer
    one = history.ONE

    def list(self, request: Request) -> Answer:
        return self.page(history.History)

    def retrieve(self, request: Request, pk: str) -> Answer:
        return Answer(self.row())
