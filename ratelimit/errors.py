"""The error of a quota that is used up."""

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


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
