"""Executions as Response objects of the Open Responses specification (release 2026-04-24).

Events of streams contain them, and `/v1` returns them. IDs of the specification are those of this platform
without hyphens and with a prefix, so each can be turned into the other.
"""

import re
import uuid
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, Literal

from executions.models import Approval, Execution
from executions.output import is_output, without_code_block
from executions.steps import Step

STATUSES: Mapping[str, str] = {
    Execution.Status.QUEUED: "queued",
    Execution.Status.RUNNING: "in_progress",
    # The client has to answer the requests in its output.
    Execution.Status.REQUIRES_ACTION: "completed",
    Execution.Status.SUCCEEDED: "completed",
    Execution.Status.INCOMPLETE: "incomplete",
    Execution.Status.FAILED: "failed",
    Execution.Status.CANCELLED: "cancelled",
}
# Whether a message is the answer. Clients parse no other message as structured output.
Phase = Literal["commentary", "final_answer"]
# The label that clients show for the tools of agents.
SERVER_LABEL = "map"
APPROVAL_REQUEST = "mcp_approval_request"
# The item ends where a limit of its length, or a filter, has ended it.
_CUT = {"length", "content_filter", "truncated"}
_ERROR_MESSAGES = {
    "MODEL_ERROR": "The model provider failed.",
    "MODEL_TIMEOUT": "The model provider timed out.",
    "WORKER_LOST": "The process of the run ended, and the run could not be continued.",
    "AGENT_NOT_FOUND": "The agent does not exist any more.",
    "INVALID_MODEL": "The model does not exist any more.",
    "BUDGET_EXCEEDED": "The budget was exhausted before the run could start.",
    "OUTPUT_INVALID": "The response of the model is not valid by the output schema.",
}


def response_id(execution_id: uuid.UUID) -> str:
    """Return the ID of an execution as a response."""
    return f"resp_{execution_id.hex}"


def conversation_id(pk: uuid.UUID) -> str:
    """Return the ID of a conversation at `/v1`."""
    return f"conv_{pk.hex}"


def id_of(prefix: str, text: str) -> uuid.UUID | None:
    """Return the ID of the row that has this ID in the specification, or None if it is malformed."""
    match = re.fullmatch(f"{prefix}_([0-9a-f]{{32}})", text)
    return uuid.UUID(match[1]) if match else None


def response_object(
    execution: Execution, items: Iterable[Mapping[str, Any]] = (), *, status: str = ""
) -> dict[str, Any]:
    """Return the Response object of an execution with these output items.

    With `status`, it is the object as it was when the execution had this status, and not at its end.
    """
    status = status or STATUSES[execution.status]
    has_ended = status not in {"queued", "in_progress"}
    options: dict[str, Any] = execution.options or {}
    conversation = execution.conversation_id
    previous = execution.previous_execution_id
    temperature = options.get("temperature")
    return {
        "id": response_id(execution.pk),
        "object": "response",
        "created_at": _seconds(execution.created_at),
        "completed_at": _seconds(execution.finished_at) if status == "completed" else None,
        "status": status,
        "incomplete_details": (
            {"reason": execution.stop_reason} if status == "incomplete" else None
        ),
        "model": options.get("model") or execution.agent_name,
        "previous_response_id": (
            response_id(previous) if previous and conversation is None else None
        ),
        "conversation": {"id": conversation_id(conversation)} if conversation else None,
        "instructions": options.get("instructions") or None,
        "output": list(items),
        "error": error_object(execution) if status == "failed" else None,
        "tools": [],
        "tool_choice": "auto",
        "truncation": options.get("truncation") or "auto",
        "parallel_tool_calls": False,
        "text": {"format": _text_format(execution)},
        "top_p": 1,
        "presence_penalty": 0,
        "frequency_penalty": 0,
        "top_logprobs": 0,
        "temperature": 1 if temperature is None else temperature,
        "reasoning": None,
        "user": None,
        "usage": _usage(execution) if has_ended else None,
        "max_output_tokens": options.get("max_output_tokens"),
        "max_tool_calls": None,
        "store": True,
        "background": execution.background,
        "service_tier": "default",
        "metadata": execution.metadata or {},
        "safety_identifier": None,
        "prompt_cache_key": None,
    }


def output_items(
    execution: Execution, steps: Iterable[Step], approvals: Iterable[Approval]
) -> list[dict[str, Any]]:
    """Return the output items of an execution, in order: messages, requests for approval and tool calls."""
    return [*_items(execution, output_parts(local_steps(execution, [*steps]), approvals))]


def output_parts(steps: Iterable[Step], approvals: Iterable[Approval]) -> Iterator[Step | Approval]:
    """Yield steps, and the approvals that the run has requested after each. Both are in order."""
    requests = deque(approvals)
    for position, step in enumerate(steps):
        yield step
        # Those of all calls of a response follow it.
        while requests and requests[0].position <= position + len(step.tool_calls):
            yield requests.popleft()


def _items(execution: Execution, parts: Iterable[Step | Approval]) -> Iterator[dict[str, Any]]:
    index = 0
    for part in parts:
        if isinstance(part, Approval):
            yield request_item(part)
        elif part.kind == "tool" or has_message(part):
            yield step_item(execution.pk, index, part, execution.output_schema)
            index += 1


def local_steps(execution: Execution, steps: list[Step]) -> list[Step]:
    """Return the steps, or for a run without remote calls, which has none, its response as a step."""
    if steps or execution.status != Execution.Status.SUCCEEDED:
        return steps
    return [Step("model", execution.model, "", execution.response, 0, finish_reason="stop")]


def has_message(step: Step) -> bool:
    """Return whether a call of the model is an item: it has text, or it is the last one.

    The text of a failed call is as long as it arrived.
    """
    return bool(step.output or not (step.tool_calls or step.error))


def step_item(
    execution_id: uuid.UUID, index: int, step: Step, schema: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Return the output item of a step. `schema` is the output schema of the run."""
    if step.kind == "tool":
        return call_item(execution_id, index, step)
    is_cut = step.error or step.finish_reason in _CUT
    status = "incomplete" if is_cut else "completed"
    is_answer = not step.tool_calls and is_output(step.output, schema)
    phase: Phase = "final_answer" if is_answer else "commentary"
    has_block = schema is not None and is_answer and not begins_as_json(step.output)
    text = without_code_block(step.output) if has_block else step.output
    return message_item(execution_id, index, status, [text_part(text)], phase)


def begins_as_json(text: str) -> bool:
    """Return whether a text may be an output as it is, without a code block."""
    return text.lstrip().startswith("{")


def message_item(
    execution_id: uuid.UUID,
    index: int,
    status: str,
    content: list[dict[str, Any]],
    phase: Phase | None = None,
) -> dict[str, Any]:
    """Return a message of the model. Its phase is None while it is unknown."""
    return {
        "id": f"msg_{execution_id.hex}{index:03x}",
        "type": "message",
        "status": status,
        "role": "assistant",
        "content": content,
        "phase": phase,
    }


def text_part(text: str) -> dict[str, Any]:
    """Return the content of a message."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def call_item(execution_id: uuid.UUID, index: int, step: Step) -> dict[str, Any]:
    """Return a tool call. It is an `mcp_call`, because clients make calls of the type `function_call`."""
    failure = {
        "type": "mcp_tool_execution_error",
        "content": [{"type": "text", "text": step.output}],
    }
    is_over = not (step.is_running or step.error)
    return {
        "id": f"mcp_{execution_id.hex}{index:03x}",
        "type": "mcp_call",
        "status": "in_progress" if step.is_running else "failed" if step.error else "completed",
        "name": step.name,
        "server_label": SERVER_LABEL,
        "arguments": step.input,
        "output": step.output if is_over else None,
        "error": failure if step.error else None,
        "approval_request_id": request_id(step.approval_id) if step.approval_id else None,
    }


def request_id(approval_id: uuid.UUID) -> str:
    """Return the ID of an approval as the item that requests it."""
    return f"mcpr_{approval_id.hex}"


def request_item(approval: Approval) -> dict[str, Any]:
    """Return the request for the decision about a tool call."""
    return {
        "id": request_id(approval.pk),
        "type": APPROVAL_REQUEST,
        "name": approval.tool_name,
        "server_label": SERVER_LABEL,
        "arguments": approval.arguments,
    }


def error_object(execution: Execution) -> dict[str, Any]:
    """Return why a run failed."""
    code = execution.error_code
    message = _ERROR_MESSAGES.get(code, "The run failed.")
    sentences = [message, *(execution.output_errors or ())]
    return {"code": code.lower(), "message": " ".join(sentences)}


def _text_format(execution: Execution) -> dict[str, Any]:
    if execution.output_schema is None:
        return {"type": "text"}
    return {
        "type": "json_schema",
        "name": (execution.options or {}).get("schema_name") or "output",
        "description": None,
        "schema": execution.output_schema,
        "strict": True,
    }


def _usage(execution: Execution) -> dict[str, Any]:
    """Return the tokens of all model calls. Unknown ones are 0: the specification has no unknown."""
    input_tokens, output_tokens = execution.input_tokens or 0, execution.output_tokens or 0
    return {
        "input_tokens": input_tokens,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": output_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": input_tokens + output_tokens,
    }


def _seconds(time: datetime | None) -> int | None:
    return None if time is None else int(time.timestamp())
