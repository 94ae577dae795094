"""The OpenAPI parts of the quota."""

from typing import Any

from drf_spectacular.utils import extend_schema_view

from map_project.api.schema import example
from map_project.tenants.openapi import tenant_operation
from map_project.tenants.scopes import DEFAULT_SCOPES
from ratelimit.errors import RateLimitExceeded
from ratelimit.serializers import MeSerializer

me_documented = extend_schema_view(
    retrieve=tenant_operation(
        "Read your API key and rate limit",
        description="Returns information about the API key used for the request, its tenant, and "
        "the number of runs left. Does not count as a run.",
        operation_id="me",
        tags=["account"],
        responses={200: MeSerializer},
        example={
            "tenant": {"id": "11111111-1111-1111-1111-111111111111", "name": "Tenant A"},
            "api_key": {
                "id": "0197a3c4-6d1e-7b40-8c52-9e2f7a1d3b58",
                "prefix": "map_3fZc9QvA",
                "name": "production",
                "created_at": "2026-11-22T10:00:00.123456Z",
                "expires_at": None,
            },
            "scopes": [*DEFAULT_SCOPES],
            "rate_limit": {
                "limit": 100,
                "window_seconds": 60,
                "remaining": 97,
                "reset_after_seconds": 42,
            },
            "budgets": [
                {
                    "period": "day",
                    "limit_usd": "20",
                    "spent_usd": "16.2",
                    "resets_at": "2026-11-23T00:00:00Z",
                }
            ],
        },
    )
)

LIMITED_OPERATIONS = {
    *("agents_run", "tools_test", "tools_import", "tools_refresh"),
    *("responses_create", "chat_completions_create"),
}
# The responses of a call that has reached the limiter.
_STATUSES = {"200", "400", "403", "404", "415", "429", "502", "504"}


def _header(kind: str, description: str) -> dict[str, Any]:
    return {"schema": {"type": kind}, "description": description}


_HEADERS = {
    "X-RateLimit-Limit": _header("integer", "Maximum runs per window."),
    "X-RateLimit-Remaining": _header("integer", "Runs left in the current window."),
    "X-RateLimit-Reset": _header(
        "integer", "Unix time, in seconds, at which the oldest used slot becomes available again."
    ),
    "RateLimit-Policy": _header(
        "string",
        "The quota (`q`) and the window in seconds (`w`), as in the IETF draft. For example "
        '`"default";q=100;w=60`.',
    ),
    "RateLimit": _header(
        "string",
        "The runs left (`r`), and the seconds until the oldest used slot becomes available again (`t`), as "
        'in the IETF draft. For example `"default";r=99;t=60`.',
    ),
}
_RETRY_AFTER = {"Retry-After": _header("integer", "Seconds to wait before the next attempt.")}


def document_rate_limit(
    result: dict[str, Any], generator: Any, request: Any, public: bool
) -> dict[str, Any]:
    """Add the headers and the 429 response (a drf-spectacular postprocessing hook)."""
    for path in result["paths"].values():
        for operation in path.values():
            if operation["operationId"] in LIMITED_OPERATIONS:
                _document(operation["responses"])
    return result


def _document(responses: dict[str, Any]) -> None:
    content = {"schema": {"$ref": "#/components/schemas/ApiError"}, "examples": {}}
    empty = {"description": "", "content": {"application/json": content}}
    response = responses.setdefault("429", empty)
    response["description"] = "Rate limit exceeded"
    response["content"]["application/json"]["examples"] |= {
        RateLimitExceeded.error_code: {"value": example(RateLimitExceeded)}
    }
    for status, response in responses.items():
        headers = _HEADERS if status in _STATUSES else {}
        if status in {"429", "503"}:
            headers = {**headers, **_RETRY_AFTER}
        if headers:
            response["headers"] = headers
