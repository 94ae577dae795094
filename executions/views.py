"""The API of runs and history."""

import uuid
from collections.abc import Mapping
from typing import Any

from django.db.models import QuerySet
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.urls import reverse
from rest_framework.decorators import action
from rest_framework.exceptions import ErrorDetail, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer
from rest_framework.viewsets import ReadOnlyModelViewSet

from agents.errors import AgentNotFound
from agents.models import Agent
from executions import openapi
from executions.approvals.serializers import ApprovalSerializer
from executions.endings import cancel
from executions.errors import ExecutionNotFound
from executions.events.stream import (
    event_number,
    numbered_frame,
    open_stream,
    stream_execution,
    stream_run,
)
from executions.history.cursors import Cursor
from executions.history.export import CONTENT_TYPE, export
from executions.history.filters import FILTER_NAMES, HistoryFilter
from executions.history.pagination import HistoryPagination, with_steps
from executions.history.search import terms
from executions.models import Execution
from executions.replays import await_response, repeated_execution
from executions.results import Run
from executions.run_serializers import RunSerializer
from executions.serializers import ExecutionDetailSerializer, ExecutionSerializer, StepSerializer
from executions.services import MODEL_REQUIRED, run_agent
from executions.stop_reasons import StopReason
from map_project.api import request_id
from map_project.api.errors import ApiError
from map_project.api.pagination import StrictPagination
from map_project.api.texts import plain_amount
from map_project.tenants.scopes import ACTION_SCOPES, READ, RUN
from map_project.tenants.viewsets import TenantViewSet
from ratelimit.idempotency import REPLAYED
from ratelimit.middleware import keyed_request, repeated_request
from ratelimit.models import IdempotentRequest

# The actions that return a whole execution.
_WHOLE = {"retrieve", "cancel"}
LIST_PARAMETERS = ["cursor", *FILTER_NAMES]
_NO_TOOLS = "The agent has no tools."
_NO_TEXT = "The response is empty. Some models return only their reasoning."
_WAITS = "The run waits for approvals. Decide about its tool calls, and read the execution."
_INCOMPLETE = {
    StopReason.MAX_STEPS: "The run stopped after max_steps model calls. The model requested more tool calls.",
    StopReason.MAX_TOOL_CALLS: "The run stopped after max_tool_calls tool calls. The model requested more.",
    StopReason.MAX_RUN_BYTES: "The run stopped because its text reached the maximum size for a run.",
    StopReason.MAX_RESPONSE_BYTES: "The response was truncated at 1 MiB.",
    StopReason.BUDGET_EXCEEDED: "The run stopped because the budget was exhausted.",
    StopReason.RUN_TIMEOUT: "The run stopped at its time limit. The model had not finished.",
    StopReason.MAX_OUTPUT_TOKENS: "The response was truncated at the model's output token limit.",
    StopReason.CANCELLED_BY_CALLER: "The run was cancelled.",
    StopReason.CANCELLED_BY_OPERATOR: "An operator cancelled the run.",
    StopReason.APPROVAL_EXPIRED: "The run stopped because a tool call was not approved in time.",
    StopReason.CONTENT_FILTER: "The content filter of the model provider blocked the prompt or the response.",
}


@openapi.run_documented
class RunViewSet(TenantViewSet[Agent]):
    """Runs of the tenant's agents. `ratelimit.middleware` has taken a unit of the quota before."""

    queryset = Agent.objects.all()
    scopes = {"create": RUN}
    serializer_class = RunSerializer
    resource = "agent"
    not_found = AgentNotFound

    def create(self, request: Request, pk: str) -> HttpResponseBase:
        if stored := repeated_request(request):
            return self._repeat(stored)
        agent_id = self.get_pk()
        try:
            serializer = self.get_serializer(data=request.data)
            serializer.is_valid(raise_exception=True)
        except (ApiError, ValidationError) as error:
            # Errors of the agent have precedence over errors of the body.
            agent = self.get_object()
            if isinstance(error, ValidationError) and agent.model is None:
                _add_missing_model(error, request.data)
            raise
        body = serializer.validated_data
        if not body["stream"]:
            run = self._run(agent_id, body)
            return _accepted(run) if body["background"] else Response(_result(run))
        with open_stream() as closing:
            run = self._run(agent_id, body)
            return stream_run(request, run, closing, numbered_frame)

    def _run(self, agent_id: uuid.UUID, body: Mapping[str, Any]) -> Run:
        return run_agent(
            caller=self.caller,
            agent_id=agent_id,
            prompt=body["prompt"],
            model=body.get("model"),
            request_id=request_id.current(),
            background=body["background"],
            stream=body["stream"],
            metadata=body.get("metadata"),
            previous_execution_id=body.get("previous_execution_id"),
            conversation_id=body.get("conversation_id"),
            output_schema=body.get("output_schema"),
            keyed_request=keyed_request(self.request),
        )

    def _repeat(self, stored: IdempotentRequest) -> HttpResponseBase:
        """Return the response to a call that repeats an idempotency key."""
        execution = repeated_execution(stored)
        response: HttpResponseBase
        if _is_stream(self.request.data):
            with open_stream() as closing:
                response = stream_execution(execution.pk, -1, closing, numbered_frame)
        elif execution.background:
            response = _accepted(Run.of_execution(execution))
        else:
            found = await_response(stored)
            if isinstance(found, HttpResponse):
                return found
            response = Response(_result(Run.of_execution(found)))
        response[REPLAYED] = "true"
        return response


def _is_stream(body: Any) -> bool:
    return isinstance(body, dict) and body.get("stream") is True


def _add_missing_model(error: ValidationError, data: Any) -> None:
    """Report a missing `model` with the other errors: only some agents require it."""
    if isinstance(error.detail, dict) and "model" not in data:
        error.detail["model"] = [ErrorDetail(MODEL_REQUIRED)]


def _accepted(run: Run) -> Response:
    location = reverse("execution-detail", args=[run.id])
    return Response(_queued(run), status=202, headers={"Location": location})


def _queued(run: Run) -> dict[str, Any]:
    return {
        "execution_id": run.id,
        "agent_id": run.agent_id,
        "agent_name": run.agent_name,
        "model": run.model,
        "prompt": run.prompt,
        "status": run.status,
        "created_at": run.created_at,
        "request_id": run.request_id,
    }


def _result(run: Run) -> dict[str, Any]:
    cost = run.cost_usd
    result = {
        "execution_id": run.id,
        "agent_id": run.agent_id,
        "agent_name": run.agent_name,
        "model": run.model,
        "prompt": run.prompt,
        "response": run.response,
        "output": run.output,
        "tools_available": run.tool_names,
        "executed_at": run.created_at,
        "status": run.status,
        "stop_reason": run.stop_reason or None,
        "usage": {
            "input_tokens": run.input_tokens,
            "output_tokens": run.output_tokens,
            "cost_usd": None if cost is None else plain_amount(cost),
        },
        "latency_ms": run.latency_ms,
        "previous_execution_id": run.previous_execution_id,
        "conversation_id": run.conversation_id,
        "dropped_exchanges": run.dropped_exchanges,
        "request_id": run.request_id,
    }
    if run.approvals:
        result["approvals"] = [ApprovalSerializer(each).data for each in run.approvals]
    warning = _warning(run)
    return {**result, "warning": warning} if warning else result


def _warning(run: Run) -> str:
    if run.status in Execution.UNFINISHED:
        return _WAITS
    if run.status != Execution.Status.SUCCEEDED:
        return _INCOMPLETE[StopReason(run.stop_reason)]
    if not run.response.strip():
        return _NO_TEXT
    return "" if run.tool_names else _NO_TOOLS


@openapi.history_documented
class HistoryViewSet(TenantViewSet[Execution], ReadOnlyModelViewSet[Execution]):
    """The tenant's executions, the newest first."""

    queryset = Execution.objects.all()
    rows = ExecutionSerializer.rows(Execution.objects.all())
    row_actions = ("list",)
    scopes = {**ACTION_SCOPES, "steps": READ, "events": READ, "cancel": RUN, "export": READ}
    paginated_actions = ("list", "steps")
    query_parameters = {
        "events": ["starting_after"],
        "list": LIST_PARAMETERS,
        "export": LIST_PARAMETERS,
    }
    serializer_class = ExecutionSerializer
    filter_backends = (HistoryFilter,)
    pagination_class = HistoryPagination
    resource = "execution"
    not_found = ExecutionNotFound

    def get_queryset(self) -> QuerySet[Execution, Any]:
        executions = super().get_queryset()
        return with_steps(executions) if self.action in _WHOLE else executions

    @action(detail=False)
    def export(self, request: Request) -> HttpResponseBase:
        """Stream the executions, the oldest first."""
        executions = self.filter_queryset(self.get_queryset())
        cursor = request.query_params.get("cursor")
        after = None if cursor is None else Cursor.parse(cursor)
        searched = terms(request)
        if request.method == "HEAD":
            return HttpResponse(content_type=CONTENT_TYPE)
        with open_stream() as closing:
            return export(executions, searched, after, closing)

    @action(detail=True, pagination_class=StrictPagination, filter_backends=())
    def steps(self, request: Request, pk: str) -> Response:
        """List the steps of an execution."""
        steps: QuerySet[Any] = self.get_object().steps.order_by("position")
        page = self.get_serializer(self.paginate_queryset(steps), many=True)
        return self.get_paginated_response(page.data)

    @action(detail=True, methods=["post"])
    def cancel(self, request: Request, pk: str) -> Response:
        """Cancel an execution that has not ended."""
        execution = self.get_object()
        cancel(execution.pk, StopReason.CANCELLED_BY_CALLER)
        return Response(self.get_serializer(self.get_object()).data)

    @action(detail=True)
    def events(self, request: Request, pk: str) -> HttpResponseBase:
        """Stream the events of an execution."""
        execution = self.get_object()
        after = event_number(request.query_params.get("starting_after"), "starting_after")
        if after is None:
            after = event_number(request.headers.get("Last-Event-ID"), "Last-Event-ID")
        with open_stream() as closing:
            number = -1 if after is None else after
            return stream_execution(execution.pk, number, closing, numbered_frame)

    def get_serializer_class(self) -> type[BaseSerializer[Any]]:
        if self.action == "steps":
            return StepSerializer
        return ExecutionDetailSerializer if self.action in _WHOLE else ExecutionSerializer
