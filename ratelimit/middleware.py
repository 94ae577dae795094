"""The quota, before a run: takes a unit, or answers in the view's place. No other route comes here."""

from collections.abc import Callable
from typing import Any

from django.db import Error
from django.http import HttpRequest, HttpResponse

from map_project.api.errors import ServiceUnavailable, as_api_error
from map_project.tenants.authentication import Caller, resolve_caller
from ratelimit.errors import RateLimitExceeded
from ratelimit.limiter import Decision, LimiterUnavailable, take

# Methods and names of the routes that take a unit, a malformed id in them included.
LIMITED = frozenset({("POST", "agent-run"), ("POST", "tool-test")})


class RateLimitMiddleware:
    """Lets a run call pass (the decision's headers go on whatever the view answers), or answers 429;
    503 where Redis cannot decide: what cannot be counted is not run.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

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
            # Without a valid key it is the view that answers 401, and nothing is taken.
            return self._refusal(request, caller) if caller else None
        except Error as error:
            return as_api_error(error).response()

    def _refusal(self, request: HttpRequest, caller: Caller) -> HttpResponse | None:
        try:
            decision = take(
                caller.tenant_id,
                limit=caller.rate_limit_requests,
                window_seconds=caller.rate_limit_window_seconds,
            )
        except LimiterUnavailable:
            return ServiceUnavailable(reason="redis_unavailable").response()
        request.rate_limit_decision = decision  # type: ignore[attr-defined]
        return None if decision.allowed else RateLimitExceeded.of(decision).response()


def headers(decision: Decision) -> dict[str, str]:
    """What a client may steer by: the usual names, and those of the IETF draft
    (draft-ietf-httpapi-ratelimit-headers).
    """
    return {
        "X-RateLimit-Limit": str(decision.limit),
        "X-RateLimit-Remaining": str(decision.remaining),
        "X-RateLimit-Reset": str(decision.reset_epoch_seconds),
        "RateLimit-Policy": f'"default";q={decision.limit};w={decision.window_seconds}',
        "RateLimit": f'"default";r={decision.remaining};t={decision.reset_after_seconds}',
    }
