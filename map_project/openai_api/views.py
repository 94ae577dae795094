"""The API at `/v1`."""

import uuid
from collections.abc import Mapping
from typing import Any

from django.http import HttpResponse
from django.http.response import HttpResponseBase
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from agents.models import Agent
from executions.endings import cancel
from executions.events.stream import (
    Framing,
    event_number,
    open_stream,
    plain_frame,
    stream_execution,
    stream_run,
)
from executions.models import Execution
from executions.records import recorded_steps, requests
from executions.replays import await_response, repeated_execution
from executions.responses import id_of, output_items, response_id, response_object
from executions.services import run_agent
from executions.stop_reasons import StopReason
from map_project.api import request_id
from map_project.openai_api import chat, openapi
from map_project.openai_api.agents import MAX_LISTED, find_agent, model_object
from map_project.openai_api.decisions import await_stop, decide_all
from map_project.openai_api.errors import AgentWithoutModel, ModelNotFound, ResponseNotFound
from map_project.openai_api.items import input_page
from map_project.openai_api.serializers import (
    NewChatCompletionSerializer,
    NewResponseSerializer,
    NewRunSerializer,
)
from map_project.tenants.scopes import ACTION_SCOPES, READ, RUN
from map_project.tenants.viewsets import TenantViewSet
from ratelimit import leases
from ratelimit.idempotency import REPLAYED
from ratelimit.middleware import keyed_request, repeated_request, take_lease
from ratelimit.models import IdempotentRequest

# How long OpenAI's clients wait between two requests for a response that is not complete.
POLL_HEADER, POLL_MS = "openai-poll-after-ms", "1000"


@openapi.models_documented
class ModelViewSet(TenantViewSet[Agent]):
    """The tenant's agents that can be run here: those with a default model."""

    ignores_unknown_parameters = True
    scopes = {"models": READ, "retrieve": READ}
    queryset = Agent.objects.filter(model__isnull=False).select_related("tenant")
    resource = "agent"
    not_found = ModelNotFound

    # Not `list`: the document would describe the pages of /api/v1.
    @action(detail=False)
    def models(self, request: Request) -> Response:
        """List the models."""
        agents = self.get_queryset().order_by("created_at", "id")[:MAX_LISTED]
        return Response({"object": "list", "data": [model_object(agent) for agent in agents]})

    def retrieve(self, request: Request, name: str) -> Response:
        return Response(model_object(find_agent(self.get_queryset(), name)))


class RunViewSet(TenantViewSet[Agent]):
    """Requests for runs. `ratelimit.middleware` has taken a unit of the quota before."""

    ignores_unknown_parameters = True
    scopes = {"create": RUN}
    queryset = Agent.objects.all()
    resource = "agent"
    not_found = ModelNotFound

    def body_of(self, execution: Execution) -> dict[str, Any]:
        """Return the body of the response. Raises ApiError."""
        raise NotImplementedError

    def framing(self, serializer: Any) -> Framing:
        """Return what makes the frames of a stream."""
        raise NotImplementedError

    def create(self, request: Request) -> HttpResponseBase:
        serializer: NewRunSerializer = self.get_serializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        if serializer.decisions:
            return self._continue(serializer)
        stored = repeated_request(request)
        if serializer.validated_data.get("stream"):
            response = self._stream(serializer, stored)
        else:
            response = self._whole(serializer, stored)
        if stored:
            response[REPLAYED] = "true"
        return response

    def _continue(self, serializer: NewRunSerializer) -> HttpResponseBase:
        """Decide about the tool calls for which a response waits, and return it as it continues."""
        body = serializer.validated_data
        find_agent(self.get_queryset(), body["model"])
        execution_id = decide_all(
            serializer.decisions,
            self.caller,
            previous_execution_id=self._previous(body.get("previous_response_id")),
            conversation_id=body.get("conversation"),
        ).pk
        # The worker takes a slot of its own.
        if lease := take_lease(self.request):
            leases.release(lease)
        if body.get("stream"):
            with open_stream() as closing:
                framing = self.framing(serializer)
                return stream_execution(execution_id, -1, closing, framing)
        if not body.get("background"):
            await_stop(execution_id)
        execution = Execution.objects.get(pk=execution_id)
        return Response(self.body_of(execution), headers=_poll_headers(execution))

    def _stream(
        self, serializer: NewRunSerializer, stored: IdempotentRequest | None
    ) -> HttpResponseBase:
        framing = self.framing(serializer)
        with open_stream() as closing:
            if stored:
                return stream_execution(repeated_execution(stored).pk, -1, closing, framing)
            return stream_run(self.request, self._run(serializer), closing, framing)

    def _whole(
        self, serializer: NewRunSerializer, stored: IdempotentRequest | None
    ) -> HttpResponseBase:
        if stored is None:
            execution = Execution.objects.get(pk=self._run(serializer).id)
        elif serializer.validated_data.get("background"):
            execution = repeated_execution(stored)
        else:
            found = await_response(stored)
            if isinstance(found, HttpResponse):
                return found
            execution = found
        return Response(self.body_of(execution), headers=_poll_headers(execution))

    def _run(self, serializer: NewRunSerializer) -> Any:
        body = serializer.validated_data
        agent = find_agent(self.get_queryset(), body["model"])
        if agent.model is None:
            raise AgentWithoutModel.of(agent.name)
        try:
            return run_agent(
                caller=self.caller,
                agent_id=agent.pk,
                prompt=serializer.prompt,
                model=None,
                request_id=request_id.current(),
                background=bool(body.get("background")),
                stream=bool(body.get("stream")),
                metadata=body.get("metadata"),
                previous_execution_id=self._previous(body.get("previous_response_id")),
                conversation_id=body.get("conversation"),
                options=serializer.run_options(),
                output_schema=serializer.format.schema,
                keyed_request=keyed_request(self.request),
            )
        except Agent.DoesNotExist:
            raise ModelNotFound.of(body["model"]) from None

    def _previous(self, execution_id: uuid.UUID | None) -> uuid.UUID | None:
        """Return the execution to continue. Raises ResponseNotFound if it does not exist here."""
        if execution_id is not None:
            own = Execution.objects.filter(tenant_id=self.caller.tenant_id, is_hidden=False)
            if not own.filter(pk=execution_id).exists():
                raise ResponseNotFound(
                    response_id=response_id(execution_id), param="previous_response_id"
                )
        return execution_id


@openapi.response_created
class ResponseRunViewSet(RunViewSet):
    """Requests for responses."""

    serializer_class = NewResponseSerializer

    def body_of(self, execution: Execution) -> dict[str, Any]:
        return whole_response(execution)

    def framing(self, serializer: Any) -> Framing:
        return plain_frame


@openapi.chat_completion_created
class ChatCompletionViewSet(RunViewSet):
    """Requests for chat completions."""

    serializer_class = NewChatCompletionSerializer

    def body_of(self, execution: Execution) -> dict[str, Any]:
        return chat.completion(whole_response(execution))

    def framing(self, serializer: NewChatCompletionSerializer) -> Framing:
        return chat.chunk_frames(includes_usage=serializer.includes_usage)


@openapi.responses_documented
class ResponseViewSet(TenantViewSet[Execution]):
    """The tenant's executions, as responses."""

    ignores_unknown_parameters = True
    scopes = {**ACTION_SCOPES, "cancel": RUN, "input_items": READ}
    queryset = Execution.objects.filter(is_hidden=False)
    resource = "response"
    not_found = ResponseNotFound

    def get_pk(self) -> uuid.UUID:
        pk = id_of("resp", self.kwargs["pk"])
        if pk is None:
            raise ResponseNotFound(response_id=self.kwargs["pk"])
        return pk

    def retrieve(self, request: Request, pk: str) -> HttpResponseBase:
        execution = self.get_object()
        if request.query_params.get("stream") != "true":
            return Response(whole_response(execution), headers=_poll_headers(execution))
        after = event_number(request.query_params.get("starting_after"), "starting_after")
        number = -1 if after is None else after
        with open_stream() as closing:
            return stream_execution(execution.pk, number, closing, plain_frame)

    def destroy(self, request: Request, pk: str) -> Response:
        execution = self.get_object()
        self.get_queryset().filter(pk=execution.pk).update(is_hidden=True)
        return Response({"id": pk, "object": "response", "deleted": True})

    @action(detail=True, methods=["post"])
    def cancel(self, request: Request, pk: str) -> Response:
        """Cancel a response that is not complete."""
        cancel(self.get_object().pk, StopReason.CANCELLED_BY_CALLER)
        return Response(whole_response(self.get_object()))

    @action(detail=True)
    def input_items(self, request: Request, pk: str) -> Response:
        """List the messages of the request."""
        return Response(input_page(self.get_object(), request.query_params))


def whole_response(execution: Execution) -> dict[str, Any]:
    """Return the Response object of an execution, with its present output."""
    steps = recorded_steps(execution.pk, with_running=True)
    return response_object(execution, output_items(execution, steps, requests(execution.pk, steps)))


def _poll_headers(execution: Execution) -> Mapping[str, str]:
    return {POLL_HEADER: POLL_MS} if execution.status in Execution.ACTIVE else {}
