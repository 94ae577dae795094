"""Errors of runs and history."""

import uuid
from typing import Self

from map_project.api.errors import ApiError
from map_project.api.texts import plain_amount, utc_text
from map_project.usage.budgets import Period


class ExecutionNotFound(ApiError):
    """404."""

    status_code = 404
    error_code = "EXECUTION_NOT_FOUND"
    message = "The execution does not exist."
    example_details = {"execution_id": "0197a3c2-77aa-7f3b-b6a0-51c3a9d1e004"}


class ApprovalNotFound(ApiError):
    """404."""

    status_code = 404
    error_code = "APPROVAL_NOT_FOUND"
    message = "The approval does not exist."
    example_details = {"approval_id": "0197a3c6-2d4b-7e08-b1c7-6f0a9d3e5b21"}


class ApprovalDecided(ApiError):
    """409. The decision was the other one."""

    status_code = 409
    error_code = "APPROVAL_DECIDED"
    message = "The call was approved before. A decision cannot be changed."
    example_details = {
        "approval_id": "0197a3c6-2d4b-7e08-b1c7-6f0a9d3e5b21",
        "status": "approved",
    }

    @classmethod
    def of(cls, approval_id: uuid.UUID, status: str) -> Self:
        """Return the error of an approval with this status."""
        return cls(
            f"The call was {status} before. A decision cannot be changed.",
            # OpenAI's SDKs repeat requests after a 409.
            headers={"x-should-retry": "false"},
            approval_id=str(approval_id),
            status=status,
        )


class ApprovalExpired(ApiError):
    """410."""

    status_code = 410
    error_code = "APPROVAL_EXPIRED"
    message = "The approval has expired, or its run has ended. The call is not made."
    example_details = {"approval_id": "0197a3c6-2d4b-7e08-b1c7-6f0a9d3e5b21"}


class PromptTooLong(ApiError):
    """400."""

    status_code = 400
    error_code = "PROMPT_TOO_LONG"
    message = "The prompt is too long: 10,001 characters (maximum 10,000)."
    example_details = {"provided_length": 10001, "max_length": 10000}


class ConversationNotFound(ApiError):
    """404."""

    status_code = 404
    error_code = "CONVERSATION_NOT_FOUND"
    message = "The conversation does not exist."
    example_details = {"conversation_id": "0197a3c4-5be2-7d18-9a03-2f7b6c1e8d55"}


class ConversationBusy(ApiError):
    """409. A conversation has one run at a time."""

    status_code = 409
    error_code = "CONVERSATION_BUSY"
    message = "A run of this conversation is in progress. Retry when it has ended, or cancel it."
    example_details = {
        "conversation_id": "0197a3c4-5be2-7d18-9a03-2f7b6c1e8d55",
        "execution_id": "0197a3c2-77aa-7f3b-b6a0-51c3a9d1e004",
    }

    @classmethod
    def of(cls, conversation_id: uuid.UUID | None, execution_id: uuid.UUID | None) -> Self:
        """Return the error. `execution_id` is the run in progress, or None if it is not known."""
        return cls(
            headers={"Retry-After": "1"},
            conversation_id=str(conversation_id),
            execution_id=str(execution_id) if execution_id else None,
        )


class PreviousExecutionNotFinished(ApiError):
    """400."""

    status_code = 400
    error_code = "PREVIOUS_EXECUTION_NOT_FINISHED"
    message = "The previous execution has not ended. Continue it when it has, or cancel it."
    example_details = {
        "execution_id": "0197a3c2-77aa-7f3b-b6a0-51c3a9d1e004",
        "status": "running",
    }


class ContextTooLong(ApiError):
    """400. The last exchange alone is too long, or exchanges must not be dropped."""

    status_code = 400
    error_code = "CONTEXT_TOO_LONG"
    message = (
        "The messages to continue are too long: 240,000 characters (maximum 200,000). Set the agent's "
        "max_context_characters, or continue an earlier execution."
    )
    example_details = {"provided_length": 240_000, "max_length": 200_000}

    @classmethod
    def of(cls, length: int, max_length: int) -> Self:
        """Return the error of messages with this number of characters."""
        return cls(
            f"The messages to continue are too long: {length:,} characters (maximum {max_length:,}). "
            "Set the agent's max_context_characters, or continue an earlier execution.",
            provided_length=length,
            max_length=max_length,
        )


class QueueFull(ApiError):
    """429."""

    status_code = 429
    error_code = "QUEUE_FULL"
    message = "The queue is full: 1,000 background runs are waiting. Retry in 5 seconds."
    example_details = {"limit": 1000}

    @classmethod
    def of(cls, limit: int) -> Self:
        """Return the error of a tenant with this number of queued runs."""
        return cls(
            f"The queue is full: {limit:,} background runs are waiting. Retry in 5 seconds.",
            headers={"Retry-After": "5"},
            limit=limit,
        )


class BudgetExceeded(ApiError):
    """429. Amounts are strings, as all costs in USD are."""

    status_code = 429
    error_code = "BUDGET_EXCEEDED"
    message = "The budget of 10 USD per day is exhausted. It is reset at 2026-11-28T00:00:00Z."
    example_details = {
        "limit_usd": "10",
        "spent_usd": "10.00214",
        "resets_at": "2026-11-28T00:00:00Z",
    }

    @classmethod
    def of(cls, period: Period) -> Self:
        """Return the error of an exhausted budget."""
        return cls(
            f"The budget of {plain_amount(period.limit_usd)} USD per {period.name} is exhausted. "
            f"It is reset at {utc_text(period.resets_at)}.",
            headers={"x-should-retry": "false"},
            **period.details(),
        )

    @classmethod
    def reserved(cls, period: Period) -> Self:
        """Return the error of a budget whose rest was reserved by other runs for too long."""
        return cls(
            f"The rest of the budget of {plain_amount(period.limit_usd)} USD per {period.name} is "
            "reserved by runs in progress. Retry in 1 second.",
            headers={"Retry-After": "1"},
            **period.details(),
        )


class TooManyStreams(ApiError):
    """503. This process has MAX_OPEN_STREAMS open streams."""

    status_code = 503
    error_code = "SERVICE_UNAVAILABLE"
    message = "Too many streams are open. Try again shortly."
    example_details = {"reason": "too_many_streams"}

    def __init__(self) -> None:
        super().__init__(headers={"Retry-After": "1"}, reason="too_many_streams")


class RunInterrupted(ApiError):
    """502."""

    status_code = 502
    error_code = "RUN_INTERRUPTED"
    message = "The run failed, and its error was not stored. Read the execution for its state."
    example_details = {"execution_id": "0197a3c2-77aa-7f3b-b6a0-51c3a9d1e004"}


class ModelFailed(ApiError):
    """502. `status` is the HTTP status of the provider's response, or null.

    `provider_code`, `provider_type` and `provider_param` are the provider's own, if it sent them.
    `provider_tool` is the name of the tool that it refused.
    """

    status_code = 502
    error_code = "MODEL_ERROR"
    message = "The model provider failed."
    example_details = {
        "execution_id": "0197a3c2-77aa-7f3b-b6a0-51c3a9d1e004",
        "provider": "openai",
        "status": 429,
        "retryable": True,
        "reason": "rate_limited",
        "provider_code": "rate_limit_exceeded",
    }


class OutputInvalid(ApiError):
    """502. `errors` are sentences about the last response of the model, at most five."""

    status_code = 502
    error_code = "OUTPUT_INVALID"
    message = "The response of the model is not valid by the output schema."
    example_details = {
        "execution_id": "0197a3c2-77aa-7f3b-b6a0-51c3a9d1e004",
        "errors": ['"city" is a required property.'],
    }


class ModelTimedOut(ApiError):
    """504."""

    status_code = 504
    error_code = "MODEL_TIMEOUT"
    message = "The model provider timed out."
    example_details = {
        "execution_id": "0197a3c2-77aa-7f3b-b6a0-51c3a9d1e004",
        "provider": "openai",
        "status": None,
        "retryable": True,
        "reason": "model_timeout",
    }
