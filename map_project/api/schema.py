"""The OpenAPI document: security scheme, the error component, and what every operation shares."""

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from drf_spectacular.extensions import (
    OpenApiAuthenticationExtension,
    OpenApiSerializerExtension,
)
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.plumbing import build_basic_type
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import (
    OpenApiExample,
    OpenApiParameter,
    OpenApiResponse,
    extend_schema,
)
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

_ID = "0197a3c0-5b7e-7c1a-9f60-3a2f4f0f7a11"

# error_code: status, message, details. One example each; the prose is in docs/api.md.
_ERRORS: dict[str, tuple[int, str, dict[str, Any]]] = {
    "VALIDATION_ERROR": (
        400,
        "The request body is not valid.",
        {"fields": {"name": ["This field is required."]}},
    ),
    "MALFORMED_JSON": (400, "The body is not valid JSON: the body is empty.", {}),
    "INVALID_PAGINATION": (
        400,
        "limit must be a whole number from 1 to 100, offset one from 0 to 2147483647.",
        {"limit": {"provided": "0", "minimum": 1}},
    ),
    "BAD_REQUEST": (400, "The query string is not UTF-8, or holds a NUL.", {}),
    "DUPLICATE_TOOL_NAME": (400, "There is a tool with this name.", {"name": "web_search"}),
    "DUPLICATE_AGENT_NAME": (400, "There is an agent with this name.", {"name": "Researcher"}),
    "TOOL_IN_USE": (
        400,
        "Agents use this tool; take it from them first.",
        {"dependent_agents": [{"id": _ID, "name": "Researcher"}]},
    ),
    "TOOL_NOT_CALLABLE": (
        400,
        "This tool is declared only: there is nothing to call.",
        {"tool_id": _ID, "kind": "declared"},
    ),
    "INVALID_MODEL": (
        400,
        "There is no such model.",
        {"provided_model": "gpt-9", "allowed_models": ["gpt-4o", "gpt-4"]},
    ),
    "PROMPT_TOO_LONG": (
        400,
        "The prompt has 10001 characters; 10000 are allowed.",
        {"provided_length": 10001, "max_length": 10000},
    ),
    "MISSING_API_KEY": (401, "An API key is needed: send it as X-API-KEY.", {}),
    "INVALID_API_KEY": (401, "This API key is not valid.", {}),
    "TENANT_ISOLATION_VIOLATION": (
        403,
        "This agent belongs to another tenant.",
        {"resource_type": "agent", "resource_id": _ID},
    ),
    "CROSS_TENANT_TOOL": (403, "This tool is not one of yours.", {"tool_id": _ID}),
    "TOOL_NOT_FOUND": (404, "There is no such tool.", {"tool_id": _ID}),
    "AGENT_NOT_FOUND": (404, "There is no such agent.", {"agent_id": _ID}),
    "EXECUTION_NOT_FOUND": (404, "There is no such execution.", {"execution_id": _ID}),
    "NOT_FOUND": (404, "There is nothing at this address.", {}),
    "METHOD_NOT_ALLOWED": (405, 'Method "PUT" not allowed.', {}),
    "REQUEST_TOO_LARGE": (
        413,
        "The request body is over 1048576 bytes.",
        {"max_bytes": 1048576},
    ),
    "UNSUPPORTED_MEDIA_TYPE": (415, 'Unsupported media type "text/plain" in request.', {}),
    "RATE_LIMIT_EXCEEDED": (
        429,
        "The quota of 100 requests in 60 seconds is used up.",
        {"limit": 100, "window_seconds": 60, "retry_after_seconds": 12},
    ),
    "MODEL_ERROR": (
        502,
        "The model's provider failed.",
        {"provider": "openai", "status": 429, "retryable": True},
    ),
    "MODEL_TIMEOUT": (
        504,
        "The model gave no answer in time.",
        {"provider": "openai", "status": None, "retryable": True},
    ),
    "INTERNAL_ERROR": (
        500,
        "Something went wrong on our side; quote the request id when you report it.",
        {"request_id": "4bf92f3577b34da6a3ce929d0e0e4736"},
    ),
    "SERVICE_UNAVAILABLE": (
        503,
        "A service behind this one cannot be reached; try again shortly.",
        {"reason": "database_unavailable"},
    ),
}
_TITLES = {
    400: "The request is wrong",
    401: "The key is missing or not valid",
    403: "The resource belongs to another tenant",
    404: "There is no such resource",
    413: "The body is too large",
    415: "The body is not JSON",
    429: "The quota is used up",
    500: "A fault on our side",
    502: "The model's provider failed",
    503: "The database or Redis cannot be reached",
    504: "The model gave no answer in time",
}
ALWAYS = (
    "MISSING_API_KEY",
    "INVALID_API_KEY",
    "BAD_REQUEST",
    "REQUEST_TOO_LARGE",
    "INTERNAL_ERROR",
    "SERVICE_UNAVAILABLE",
)
WITH_BODY = ("VALIDATION_ERROR", "MALFORMED_JSON", "UNSUPPORTED_MEDIA_TYPE")


class ErrorSerializer(serializers.Serializer[Any]):
    """Every error has this body."""

    error_code = serializers.ChoiceField(choices=sorted(_ERRORS))
    message = serializers.CharField(help_text="A sentence for a person; it may change.")
    details = serializers.DictField(help_text="What a program may want to know, by error_code.")


def error_responses(codes: Iterable[str]) -> dict[int, OpenApiResponse]:
    """A response for each status that the codes have, with an example for each code."""
    by_status: dict[int, list[str]] = {}
    for code in codes:
        by_status.setdefault(_ERRORS[code][0], []).append(code)
    return {status: _error_response(status, found) for status, found in sorted(by_status.items())}


def _error_response(status: int, codes: list[str]) -> OpenApiResponse:
    examples = [
        OpenApiExample(
            code,
            value={"error_code": code, "message": _ERRORS[code][1], "details": _ERRORS[code][2]},
            response_only=True,
            status_codes=[str(status)],
        )
        for code in codes
    ]
    return OpenApiResponse(ErrorSerializer, description=_TITLES[status], examples=examples)


def operation(
    summary: str,
    *,
    responses: Mapping[int, Any],
    errors: Iterable[str] = (),
    body: Mapping[str, Any] | None = None,
    example: Any = None,
    **kwargs: Any,
) -> Any:
    """Decorates one operation: its answers and errors, and an example of each body.

    `body` maps the name of an example to the JSON that a caller sends; `example` is what comes back.
    """
    codes = (*ALWAYS, *(WITH_BODY if body else ()), *errors)
    examples = [
        OpenApiExample(name, value=value, request_only=True) for name, value in (body or {}).items()
    ]
    if example is not None:
        success = [str(status) for status in responses]
        examples.append(
            OpenApiExample("Answer", value=example, response_only=True, status_codes=success)
        )
    return extend_schema(
        summary=summary,
        responses={**responses, **error_responses(codes)},
        examples=examples,
        **kwargs,
    )


def _header(name: str, kind: type, description: str, *statuses: int) -> OpenApiParameter:
    return OpenApiParameter(
        name,
        kind,
        OpenApiParameter.HEADER,
        description=description,
        response=list(statuses) or [200, 400, 403, 404, 415, 429, 502, 504],
    )


# Of every call that takes a unit of the quota.
RATE_LIMIT_HEADERS = [
    _header("X-RateLimit-Limit", int, "Runs in a window."),
    _header("X-RateLimit-Remaining", int, "What is left after this call."),
    _header("X-RateLimit-Reset", int, "Epoch seconds when the oldest unit comes free."),
    _header("RateLimit-Policy", str, 'The IETF draft\'s form: `"default";q=100;w=60`.'),
    _header("RateLimit", str, 'The IETF draft\'s form: `"default";r=99;t=60`.'),
    _header("Retry-After", int, "Seconds after which a call gets through.", 429, 503),
]


class TenantAuthenticationScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """The two ways to send the one key."""

    target_class = "map_project.tenants.authentication.TenantAuthentication"
    name = ["ApiKey", "Bearer"]

    def get_security_requirement(self, auto_schema: Any) -> list[dict[str, list[str]]]:
        return [{name: []} for name in self.name]

    def get_security_definition(self, auto_schema: Any) -> list[dict[str, str]]:
        return [
            {"type": "apiKey", "in": "header", "name": "X-API-KEY"},
            {"type": "http", "scheme": "bearer"},
        ]


class StrictBodies(OpenApiSerializerExtension):  # type: ignore[no-untyped-call]
    """A body takes its own fields and no other."""

    target_class = "map_project.api.fields.StrictSerializer"
    match_subclasses = True

    def map_serializer(self, auto_schema: Any, direction: str) -> dict[str, Any]:
        found = auto_schema._map_serializer(self.target, direction, bypass_extensions=True)
        return {**found, "additionalProperties": False}


@cache
def document() -> dict[str, Any]:
    """The OpenAPI document of this release; it is made once a process."""
    found: dict[str, Any] = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
    return found


@extend_schema(exclude=True)
class SchemaView(APIView):
    """The document as JSON."""

    authentication_classes = ()
    http_method_names = ["get", "head"]

    def get(self, request: Request) -> Response:
        return Response(document())


def _public(summary: str, checks: list[str]) -> dict[str, Any]:
    text = build_basic_type(OpenApiTypes.STR)
    words = {"type": "string", "enum": ["ok", "unavailable"]}
    schema: dict[str, Any] = {
        "type": "object",
        "required": ["status"],
        "properties": {"status": words if checks else text},
    }
    example: dict[str, Any] = {"status": "ok"}
    if checks:
        schema["required"].append("checks")
        schema["properties"]["checks"] = {
            "type": "object",
            "required": checks,
            "properties": dict.fromkeys(checks, words),
        }
        example["checks"] = dict.fromkeys(checks, "ok")
    statuses = [200, 503] if checks else [200]
    titles = {200: "All is well", 503: "At least one check failed"}
    return {
        "summary": summary,
        "auth": [],
        "tags": ["service"],
        "responses": {
            status: OpenApiResponse(schema, description=titles[status]) for status in statuses
        },
        "examples": [OpenApiExample("ok", value=example, response_only=True, status_codes=["200"])],
    }


HEALTH = _public("Whether the database and Redis answer", ["database", "redis"])
READY = _public("Whether traffic may be sent here", ["database", "migrations"])
LIVE = _public("Whether the process answers", [])
