"""The error of a quota that is used up."""

from typing import Self

from map_project.api.errors import ApiError
from ratelimit.limiter import Decision


class RateLimitExceeded(ApiError):
    """429."""

    status_code = 429
    error_code = "RATE_LIMIT_EXCEEDED"
    message = "The quota of 100 requests in 60 seconds is used up."
    example_details = {"limit": 100, "window_seconds": 60, "retry_after_seconds": 12}

    @classmethod
    def of(cls, decision: Decision) -> Self:
        """Return the error of a denied call."""
        return cls(
            f"The quota of {decision.limit} requests in {decision.window_seconds} seconds is used up.",
            headers={"Retry-After": str(decision.retry_after_seconds)},
            limit=decision.limit,
            window_seconds=decision.window_seconds,
            retry_after_seconds=decision.retry_after_seconds,
        )
