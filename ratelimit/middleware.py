"""Middleware that applies the rate limit to run calls."""

from collections.abc import Callable
from typing import Any

from django.db import Error
from django.http import HttpRequest, HttpResponse

from map_project.api.errors import ServiceUnavailable, as_api_error
from map_project.tenants.authentication import resolve_caller
from ratelimit.errors import RateLimitExceeded
from ratelimit.limiter import Decision, LimiterUnavailable, default_limiter

# Method and URL name of the calls that take a unit. The routes match malformed ids as well.
LIMITED = frozenset({("POST", "agent-run"), ("POST", "tool-test")})


class RateLimitMiddleware:
    """Takes one unit of the tenant's quota for each run call.

    Responds with 429 if no unit is free, and with 503 if Redis is unavailable: a call that cannot be
    counted is not run. Adds the rate limit headers to every response of a call that was checked.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response
        self.limiter = default_limiter()

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        decision: Decision | None = getattr(request, "rate_limit_decision", None)
        if decision is not None:
            for name, value in headers(decision).items():
                response[name] = value
        return response

    def process_view(
        self, request: HttpRequest, view: object, args: list[Any], kwargs: dict[str, Any]
    ) -> HttpResponse | None:
        match = request.resolver_match
        if match is None or (request.method, match.url_name) not in LIMITED:
            return None
        try:
            caller = resolve_caller(request)
        except Error as error:
            return as_api_error(error).response()
        if caller is None:
            # The view responds with 401, and no unit is taken.
            return None
        try:
            decision = self.limiter.take(
                caller.tenant_id,
                limit=caller.rate_limit_requests,
                window_seconds=caller.rate_limit_window_seconds,
            )
        except LimiterUnavailable:
            return ServiceUnavailable(reason="redis_unavailable").response()
        request.rate_limit_decision = decision  # type: ignore[attr-defined]
        return None if decision.allowed else RateLimitExceeded.of(decision).response()


def headers(decision: Decision) -> dict[str, str]:
    """Return the common `X-` headers and those of draft-ietf-httpapi-ratelimit-headers."""
    return {
        "X-RateLimit-Limit": str(decision.limit),
        "X-RateLimit-Remaining": str(decision.remaining),
        "X-RateLimit-Reset": str(decision.reset_epoch_seconds),
        "RateLimit-Policy": f'"default";q={decision.limit};w={decision.window_seconds}',
        "RateLimit": f'"default";r={decision.remaining};t={decision.reset_after_seconds}',
    }
