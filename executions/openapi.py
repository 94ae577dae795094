"""The OpenAPI operations of runs and history."""

from drf_spectacular.utils import OpenApiParameter, extend_schema_view

from agents.errors import AgentNotFound, InvalidModel
from executions.errors import (
    BudgetExceeded,
    ContextTooLong,
    ConversationBusy,
    ConversationNotFound,
    ExecutionNotFound,
    ModelFailed,
    ModelTimedOut,
    OutputInvalid,
    PreviousExecutionNotFinished,
    PromptTooLong,
    QueueFull,
    RunInterrupted,
    TooManyStreams,
)
from executions.history.openapi import export_operation
from executions.run_serializers import QueuedRunSerializer, RunResultSerializer, RunSerializer
from executions.serializers import (
    ExecutionDetailSerializer,
    ExecutionSerializer,
    StepSerializer,
)
from map_project.api.errors import BadRequest, InvalidPagination
from map_project.tenants.errors import TenantIsolationViolation
from map_project.tenants.openapi import tenant_operation as operation
from ratelimit.errors import ConcurrencyLimitExceeded, IdempotencyInProgress, IdempotencyKeyReused

# Of all endpoints that run an agent.
ERRORS_OF_RUNS = (
    TenantIsolationViolation,
    PromptTooLong,
    InvalidModel,
    ContextTooLong,
    ModelFailed,
    ModelTimedOut,
    OutputInvalid,
    BudgetExceeded,
    RunInterrupted,
    TooManyStreams,
    ConcurrencyLimitExceeded,
    IdempotencyInProgress,
    IdempotencyKeyReused,
)
_BODY = {"prompt": "What changed in the third quarter?", "model": "gpt-4o"}
_SCHEMA = {
    "type": "object",
    "properties": {"summary": {"type": "string"}, "growth_percent": {"type": "number"}},
    "required": ["summary", "growth_percent"],
    "additionalProperties": False,
}
_RECORD = {
    "agent_id": "0197a3c1-0c55-7d0e-8a41-6a1f7c8e2b90",
    "agent_name": "Researcher",
    **_BODY,
    "response": "[Mock Response] Agent Researcher (research analyst), with the tools web_search, was "
    'asked on gpt-4o: "What changed in the third quarter?" [digest 0c4f3e8b6f1d2a97]',
}
_TIME = "2026-11-22T10:00:00.123456Z"
_ID = "0197a3c2-77aa-7f3b-b6a0-51c3a9d1e004"
_CONVERSATION = "0197a3c4-5be2-7d18-9a03-2f7b6c1e8d55"
_REQUEST_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
_EXECUTION = {
    "id": _ID,
    **_RECORD,
    "status": "succeeded",
    "created_at": _TIME,
    "request_id": _REQUEST_ID,
}
_CONTEXT = {
    "previous_execution_id": "0197a3c2-5f1e-7c20-9d44-8e2a6b0c7f19",
    "conversation_id": None,
    "dropped_exchanges": 0,
}
_STEP = {
    "kind": "model",
    "name": "gpt-4o",
    "input": '[{"role":"user","content":"What changed in the third quarter?"}]',
    "output": "",
    "tool_calls": [{"id": "call_1", "name": "web_search", "arguments": '{"q":"third quarter"}'}],
    "input_tokens": 180,
    "output_tokens": 21,
    "latency_ms": 1120,
    "error": None,
    "approval_id": None,
    "is_running": False,
}
_EXECUTION_DETAIL = {
    **_EXECUTION,
    "response": '{"summary": "Sales grew.", "growth_percent": 4}',
    "stop_reason": "completed",
    "error_code": None,
    "error_reason": None,
    "provider_error": None,
    "provider": "openai",
    "input_tokens": 412,
    "output_tokens": 58,
    "cost_usd": "0.00161",
    "latency_ms": 2840,
    "background": False,
    "attempt": 1,
    "started_at": _TIME,
    "finished_at": "2026-11-22T10:00:02.963456Z",
    "metadata": {"ticket": "4711"},
    "idempotency_key": None,
    **_CONTEXT,
    "output_schema": _SCHEMA,
    "output": {"summary": "Sales grew.", "growth_percent": 4},
    "output_errors": None,
    "system_prompt": "You are Researcher, research analyst.\n\nFinds and summarizes sources.",
    "steps": [
        _STEP,
        {
            "kind": "tool",
            "name": "web_search",
            "input": '{"q":"third quarter"}',
            "output": "Sales: +4 %",
            "tool_calls": [],
            "input_tokens": None,
            "output_tokens": None,
            "latency_ms": 310,
            "error": None,
            "approval_id": None,
            "is_running": False,
        },
        {
            "kind": "model",
            "name": "gpt-4o",
            "input": '[{"role":"tool","content":"Sales: +4 %","tool_call_id":"call_1"}]',
            "output": '{"summary": "Sales grew.", "growth_percent": 4}',
            "tool_calls": [],
            "input_tokens": 232,
            "output_tokens": 37,
            "latency_ms": 1390,
            "error": None,
            "approval_id": None,
            "is_running": False,
        },
    ],
}
_RESULT = {
    "execution_id": _ID,
    **_RECORD,
    "output": None,
    "tools_available": ["web_search"],
    "executed_at": _TIME,
    "status": "succeeded",
    "stop_reason": "completed",
    "usage": {"input_tokens": 412, "output_tokens": 58, "cost_usd": "0.00161"},
    "latency_ms": 2840,
    **_CONTEXT,
    "request_id": _REQUEST_ID,
}

# A frame of a stream. OpenAPI 3.1 has no schema for the items of a stream.
_FRAME = {
    "type": "object",
    "description": "A frame of the stream.",
    "required": ["data"],
    "properties": {
        "id": {"type": "string", "description": "The `sequence_number` of the event."},
        "event": {"type": "string", "description": "The `type` of the event."},
        "data": {
            "type": "string",
            "description": "The event as JSON. `[DONE]` in the last frame.",
        },
    },
}
_FRAME_EXAMPLE = {
    "id": "4",
    "event": "response.output_text.delta",
    "data": '{"type":"response.output_text.delta","sequence_number":4,'
    '"item_id":"msg_0197a3c277aa7f3bb6a051c3a9d1e004000","output_index":0,"content_index":0,'
    '"delta":"Sales ","logprobs":[]}',
}
_STREAM = (200, "text/event-stream")
_QUEUED = {
    "execution_id": _ID,
    "agent_id": _RECORD["agent_id"],
    "agent_name": _RECORD["agent_name"],
    **_BODY,
    "status": "queued",
    "created_at": _TIME,
    "request_id": _REQUEST_ID,
}


run_documented = extend_schema_view(
    create=operation(
        "Run an agent",
        description="Runs an agent on a prompt. Counts as one run against the rate limit, even if it fails. "
        "Rejected runs (429) do not count. Returns after the execution has been recorded. With `background`, "
        "the response is a 202, and a worker runs the agent: read the execution to follow it. With `stream`, "
        "the response is the stream of its events (see `GET /history/{id}/events`). With an output "
        "schema, the response of the model is validated, and requested again once. If the client "
        "disconnects, the run continues.",
        id_of="agent",
        operation_id="agents_run",
        tags=["agents"],
        headers={
            "Idempotency-Key": "1 to 255 visible ASCII characters. If a request with the same key and body "
            "was received in the last 24 hours, the agent does not run again: the response is that of the "
            "first request, with the header `Idempotent-Replayed: true`."
        },
        request=RunSerializer,
        responses={200: RunResultSerializer, _STREAM: _FRAME, 202: QueuedRunSerializer},
        errors=[
            *ERRORS_OF_RUNS,
            AgentNotFound,
            ExecutionNotFound,
            PreviousExecutionNotFinished,
            ConversationNotFound,
            ConversationBusy,
            QueueFull,
        ],
        body={
            "Run": _BODY,
            "Run in the background": {**_BODY, "background": True},
            "Stream": {**_BODY, "stream": True},
            "Continue an execution": {**_BODY, "previous_execution_id": _ID},
            "Continue a conversation": {**_BODY, "conversation_id": _CONVERSATION},
            "Structured output": {**_BODY, "output_schema": _SCHEMA},
        },
        example=_RESULT,
        example_of={202: _QUEUED, _STREAM: _FRAME_EXAMPLE},
    )
)

history_documented = extend_schema_view(
    list=operation(
        "List executions",
        description="Returns your executions, newest first (by `created_at`, then `id`). Prompts and "
        "responses are truncated at 16 KiB. Read a single execution to get the whole text. Filters can be "
        "combined. To read a long list, continue at `next_cursor`: pages with `cursor` are fast at any "
        "position, and new executions do not move them.",
        responses={200: ExecutionSerializer(many=True)},
        errors=[InvalidPagination, BadRequest],
        example={**_EXECUTION, "prompt_truncated": False, "response_truncated": False},
    ),
    export=export_operation(_EXECUTION_DETAIL),
    retrieve=operation(
        "Read an execution",
        description="Returns an execution with its first 100 steps.",
        id_of="execution",
        responses={200: ExecutionDetailSerializer},
        errors=[ExecutionNotFound, TenantIsolationViolation],
        example=_EXECUTION_DETAIL,
    ),
    cancel=operation(
        "Cancel an execution",
        description="Cancels an execution that is queued or running, and returns it. An execution that has "
        "ended is returned unchanged. A model call in progress is cut. A tool call in progress is not "
        "interrupted, but its result is discarded. Does not count as a run.",
        id_of="execution",
        request=None,
        responses={200: ExecutionDetailSerializer},
        errors=[ExecutionNotFound, TenantIsolationViolation],
        example={
            **_EXECUTION_DETAIL,
            "status": "cancelled",
            "stop_reason": "cancelled_by_caller",
            "response": "",
            "output": None,
        },
    ),
    events=operation(
        "Stream the events of an execution",
        description="Returns the events of an execution as server-sent events: those so far, and then each "
        "one as it happens, to the end. The last frame is `data: [DONE]`. The events are those of the Open "
        "Responses specification. To continue an interrupted stream, send the number of the last event in "
        "`starting_after`, or in the header `Last-Event-ID`.",
        id_of="execution",
        parameters=[
            OpenApiParameter(
                "starting_after",
                {"type": "integer", "minimum": 0, "maximum": 999_999_999},
                description="Return the events after the one with this `sequence_number`.",
            )
        ],
        headers={"Last-Event-ID": "As `starting_after`. Browsers send it when they reconnect."},
        responses={_STREAM: _FRAME},
        errors=[ExecutionNotFound, TenantIsolationViolation, BadRequest, TooManyStreams],
        example=_FRAME_EXAMPLE,
    ),
    steps=operation(
        "List the steps of an execution",
        description="Returns the steps of an execution, in the order of the calls.",
        id_of="execution",
        responses={200: StepSerializer(many=True)},
        errors=[ExecutionNotFound, TenantIsolationViolation, InvalidPagination],
        example=_STEP,
    ),
)
