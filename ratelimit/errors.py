"""Errors of the limits on runs, and of idempotency keys."""

import uuid
from typing import Self

from map_project.api.errors import ApiError
from ratelimit.limiter import Decision


class RateLimitExceeded(ApiError):
    """429."""

    status_code = 429
    error_code = "RATE_LIMIT_EXCEEDED"
    message = "Rate limit exceeded: 100 runs per 60 seconds. Retry in 12 seconds."
    example_details = {"limit": 100, "window_seconds": 60, "retry_after_seconds": 12}

    @classmethod
    def of(cls, decision: Decision) -> Self:
        """Return the error of a denied call."""
        return cls(
            f"Rate limit exceeded: {_count(decision.limit, 'run')} per "
            f"{_count(decision.window_seconds, 'second')}. "
            f"Retry in {_count(decision.retry_after_seconds, 'second')}.",
            headers={"Retry-After": str(decision.retry_after_seconds)},
            limit=decision.limit,
            window_seconds=decision.window_seconds,
            retry_after_seconds=decision.retry_after_seconds,
        )


class ConcurrencyLimitExceeded(ApiError):
    """429."""

    status_code = 429
    error_code = "CONCURRENCY_LIMIT_EXCEEDED"
    message = "Concurrency limit exceeded: 5 runs at the same time. Retry in 1 second."
    example_details = {"limit": 5}

    @classmethod
    def of(cls, limit: int) -> Self:
        """Return the error of a tenant that has this number of runs in progress."""
        return cls(
            f"Concurrency limit exceeded: {_count(limit, 'run')} at the same time. Retry in 1 second.",
            headers={"Retry-After": "1"},
            limit=limit,
        )


class IdempotencyInProgress(ApiError):
    """409."""

    status_code = 409
    error_code = "IDEMPOTENCY_IN_PROGRESS"
    message = "A request with this Idempotency-Key is in progress. Retry in 1 second."
    example_details = {"execution_id": "0197a3c2-77aa-7f3b-b6a0-51c3a9d1e004"}

    @classmethod
    def of(cls, execution_id: uuid.UUID | None) -> Self:
        """Return the error of a request with this execution, None if it has none yet."""
        shown = None if execution_id is None else str(execution_id)
        return cls(headers={"Retry-After": "1"}, execution_id=shown)


class IdempotencyKeyReused(ApiError):
    """422."""

    status_code = 422
    error_code = "IDEMPOTENCY_KEY_REUSED"
    message = "This Idempotency-Key was used for another request. Use a new key for each request."
    example_details = {}


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
