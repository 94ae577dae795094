"""Runs as results of tool calls."""

from typing import Any

from executions.models import Execution
from executions.output import without_code_block
from executions.results import Run

# The name in `_meta` under which a result names its run.
EXECUTION_KEY = "map/execution"
_WITH_TEXT = {Execution.Status.SUCCEEDED, Execution.Status.INCOMPLETE}


def tool_result(run: Run, *, has_schema: bool) -> dict[str, Any]:
    """Return the result of a call of an agent, whose output has a schema or not."""
    is_complete = run.status == Execution.Status.SUCCEEDED
    texts = []
    if run.status in _WITH_TEXT:
        texts.append(without_code_block(run.response) if has_schema else run.response)
    if not is_complete:
        texts.append(_ending(run))
    result: dict[str, Any] = {
        "content": [{"type": "text", "text": text} for text in texts],
        # With a schema, a result that is no error has to be structured.
        "isError": not is_complete and (has_schema or run.status not in _WITH_TEXT),
        "_meta": {EXECUTION_KEY: _execution(run)},
    }
    if run.output is not None:
        result["structuredContent"] = run.output
    return result


def _ending(run: Run) -> str:
    """Return a sentence about a run that has not succeeded."""
    match run.status:
        case Execution.Status.INCOMPLETE:
            return f"The run is incomplete: {run.stop_reason}."
        case Execution.Status.CANCELLED:
            return "The run was cancelled."
    names = ", ".join(dict.fromkeys(approval.tool_name for approval in run.approvals))
    return f"The run waits until a person has approved calls of: {names}. Its ID is {run.id}."


def _execution(run: Run) -> dict[str, Any]:
    approvals = {"approvals": [str(each.pk) for each in run.approvals]} if run.approvals else {}
    return {
        "id": str(run.id),
        "status": run.status,
        "stop_reason": run.stop_reason or None,
        **approvals,
    }
