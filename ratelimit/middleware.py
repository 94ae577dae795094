"""Middleware that applies the limits of a tenant, and its idempotency keys, to run calls."""

import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import orjson
from django.db import Error
from django.http import HttpRequest, HttpResponse
from rest_framework.request import Request

from map_project.api.errors import ApiError, ServiceUnavailable, as_api_error
from map_project.postgresql.connections import released_connection
from map_project.tenants.authentication import Caller, resolve_caller
from map_project.tenants.scopes import check_scopes, scope_of_call
from ratelimit import denials, leases
from ratelimit.errors import (
    ConcurrencyLimitExceeded,
    IdempotencyInProgress,
    RateLimitExceeded,
)
from ratelimit.idempotency import KeyedRequest, replayed
from ratelimit.limiter import Decision, Lease, LimiterUnavailable, default_limiter
from ratelimit.models import IdempotentRequest

# Method and URL name of the calls that run an agent, and of all calls that take a unit. The routes match
# malformed ids as well.
RUNS = frozenset(
    ("POST", name) for name in ("agent-run", "v1-responses", "v1-chat-completions", "mcp")
)
LIMITED = RUNS | {("POST", f"tool-{name}") for name in ("test", "import", "refresh")}
# The URL name of the MCP server, whose one route has all methods of the protocol, and the method that runs.
MCP, MCP_RUN = "mcp", "tools/call"
# How long a request waits for another one with its idempotency key, and how often it looks.
WAIT_SECONDS = 10.0
POLL_SECONDS = 0.1


class RateLimitMiddleware:
    """Takes one unit of the tenant's quota for each run call, and a slot if its runs are limited.

    Responds with 429 if there is none, and with 503 if Redis is unavailable: a call that cannot be
    counted is not run. Adds the rate limit headers to every response of a call that was checked. A call that
    repeats an idempotency key takes nothing: it gets the stored response, or the view continues with
    `repeated_request`.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response
        self.limiter = default_limiter()

    def __call__(self, request: HttpRequest) -> HttpResponse:
        try:
            response = self.get_response(request)
            if keyed := keyed_request(request):
                _store_response(request, keyed, response)
        finally:
            if lease := take_lease(request):
                leases.release(lease)
        decision: Decision | None = getattr(request, "rate_limit_decision", None)
        if decision is not None:
            for name, value in headers(decision).items():
                response[name] = value
        return response

    def process_view(
        self, request: HttpRequest, view: Any, args: list[Any], kwargs: dict[str, Any]
    ) -> HttpResponse | None:
        match = request.resolver_match
        route = (request.method, match.url_name) if match else None
        if route not in LIMITED or (_is_mcp(request) and not _is_mcp_run(request)):
            return None
        try:
            caller = resolve_caller(request)
            if caller is None:
                # The view responds with 401, and no unit is taken.
                return None
            check_scopes(caller.scopes, [scope_of_call(view, str(request.method))])
            if route in RUNS:
                return self._admit_run(request, caller)
            return self._take(request, caller)
        except LimiterUnavailable:
            return ServiceUnavailable(reason="redis_unavailable").response()
        except (Error, ApiError) as error:
            return as_api_error(error).response()

    def _take(self, request: HttpRequest, caller: Caller) -> HttpResponse | None:
        decision = self.limiter.take(
            caller.tenant_id,
            limit=caller.rate_limit_requests,
            window_seconds=caller.rate_limit_window_seconds,
        )
        return _refusal(request, decision, caller)

    def _admit_run(self, request: HttpRequest, caller: Caller) -> HttpResponse | None:
        keyed = KeyedRequest.of(request, caller.tenant_id)
        slots = caller.max_concurrent_runs
        if slots is not None and _is_background(request):
            slots = None  # it waits in the queue instead
        if keyed is None and slots is None:
            return self._take(request, caller)
        token, deadline = uuid.uuid4().hex, time.monotonic() + WAIT_SECONDS
        request.map_keyed_request = keyed  # type: ignore[attr-defined]
        while True:
            if keyed and (stored := keyed.find()):
                return _replay(request, stored)
            decision = self.limiter.admit(
                caller.tenant_id,
                limit=caller.rate_limit_requests,
                window_seconds=caller.rate_limit_window_seconds,
                slots=slots,
                token=token,
                idempotency_key=keyed.key if keyed else "",
            )
            if decision.refusal != "key":
                break
            # Another request with this key has not stored its execution yet, or will be refused.
            if time.monotonic() >= deadline:
                raise IdempotencyInProgress.of(None)
            with released_connection():
                time.sleep(POLL_SECONDS)
        if decision.allowed:
            lease = Lease(caller.tenant_id, token, slots is not None, keyed.key if keyed else "")
            leases.hold(lease)
            request.map_leases = [lease]  # type: ignore[attr-defined]
        return _refusal(request, decision, caller)


def is_admitted(request: HttpRequest | Request) -> bool:
    """Return whether this middleware let the request pass as a run, or as the repetition of one."""
    decision: Decision | None = getattr(request, "rate_limit_decision", None)
    return repeated_request(request) is not None or (decision is not None and decision.allowed)


def keyed_request(request: HttpRequest | Request) -> KeyedRequest | None:
    """Return the request if it has an idempotency key."""
    return getattr(request, "map_keyed_request", None)


def repeated_request(request: HttpRequest | Request) -> IdempotentRequest | None:
    """Return the stored request that this one repeats, if its response is not stored."""
    return getattr(request, "map_repeated_request", None)


def take_lease(request: HttpRequest | Request) -> Lease | None:
    """Return the lease of the run, which the caller has to release: the run goes on after the request."""
    held: list[Lease] = getattr(request, "map_leases", [])
    return held.pop() if held else None


def _replay(request: HttpRequest, stored: IdempotentRequest) -> HttpResponse | None:
    if stored.response_status is not None:
        return replayed(stored)
    request.map_repeated_request = stored  # type: ignore[attr-defined]
    return None


def _refusal(request: HttpRequest, decision: Decision, caller: Caller) -> HttpResponse | None:
    request.rate_limit_decision = decision  # type: ignore[attr-defined]
    if decision.refusal:
        denials.count(decision.refusal)
    match decision.refusal:
        case "quota":
            return RateLimitExceeded.of(decision).response()
        case "slots":
            return ConcurrencyLimitExceeded.of(caller.max_concurrent_runs or 0).response()
    return None


def _is_background(request: HttpRequest) -> bool:
    """Return whether the body asks for a background run. The view reports errors of the body."""
    return not _is_mcp(request) and _body(request).get("background") is True


def _is_mcp(request: HttpRequest) -> bool:
    return request.resolver_match is not None and request.resolver_match.url_name == MCP


def _is_mcp_run(request: HttpRequest) -> bool:
    """Return whether a message of MCP is a run. Only the body decides: the view compares headers with it."""
    body = _body(request)
    return body.get("method") == MCP_RUN and "id" in body


def _body(request: HttpRequest) -> dict[str, Any]:
    """Return the body, or {} if it is no JSON object."""
    try:
        body = orjson.loads(request.body)
    except orjson.JSONDecodeError:
        return {}
    return body if isinstance(body, dict) else {}


def _store_response(request: HttpRequest, keyed: KeyedRequest, response: HttpResponse) -> None:
    # The response to a background run is its current state, and that to a streamed run its events. Without
    # the stored response, a repeated request gets one that is made from the execution.
    if not (response.streaming or _is_background(request)):
        with suppress(Error):
            keyed.store_response(response)


def headers(decision: Decision) -> dict[str, str]:
    """Return the common `X-` headers and those of draft-ietf-httpapi-ratelimit-headers."""
    return {
        "X-RateLimit-Limit": str(decision.limit),
        "X-RateLimit-Remaining": str(decision.remaining),
        "X-RateLimit-Reset": str(decision.reset_epoch_seconds),
        "RateLimit-Policy": f'"default";q={decision.limit};w={decision.window_seconds}',
        "RateLimit": f'"default";r={decision.remaining};t={decision.reset_after_seconds}',
    }
