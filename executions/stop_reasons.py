"""Why runs end."""

from enum import StrEnum


class StopReason(StrEnum):
    """The reason why a run ended: the first group with the status `succeeded`, the others with `incomplete`,
    `failed` and `cancelled`.
    """

    COMPLETED = "completed"

    MAX_STEPS = "max_steps"
    MAX_TOOL_CALLS = "max_tool_calls"
    MAX_RUN_BYTES = "max_run_bytes"
    MAX_RESPONSE_BYTES = "max_response_bytes"
    BUDGET_EXCEEDED = "budget_exceeded"  # `failed` if it stopped before the first response
    MAX_OUTPUT_TOKENS = "max_output_tokens"
    RUN_TIMEOUT = "run_timeout"
    APPROVAL_EXPIRED = "approval_expired"
    CONTENT_FILTER = "content_filter"

    MODEL_ERROR = "model_error"
    MODEL_TIMEOUT = "model_timeout"
    OUTPUT_INVALID = "output_invalid"
    INTERNAL_ERROR = "internal_error"
    NOT_RUNNABLE = "not_runnable"  # when it started, its agent or model did not exist any more
    WORKER_LOST = "worker_lost"
    LOST = "lost"  # of earlier releases

    CANCELLED_BY_CALLER = "cancelled_by_caller"
    CANCELLED_BY_OPERATOR = "cancelled_by_operator"
