"""The OpenAPI document: what all operations share."""

import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from drf_spectacular.extensions import OpenApiSerializerExtension
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.utils import (
    OpenApiExample,
    OpenApiParameter,
    OpenApiResponse,
    extend_schema,
    extend_schema_serializer,
)
from rest_framework import serializers

from map_project.api.errors import (
    ApiError,
    InternalError,
    MalformedJson,
    RequestTooLarge,
    ServiceUnavailable,
    UnknownQueryParameter,
    UnsupportedMediaType,
    ValidationFailed,
    error_classes,
)

_DESCRIPTIONS = {
    200: "OK",
    201: "Created",
    202: "The run is queued",
    400: "Bad request",
    401: "The API key is missing or invalid",
    403: "The API key lacks the scope, or the resource belongs to another tenant",
    404: "The resource does not exist",
    409: "Another request has precedence",
    410: "It is too late for the request",
    413: "The request body is too large",
    415: "The request body is not JSON",
    422: "The idempotency key was used for another request",
    429: "Rate limit exceeded",
    500: "Internal server error",
    502: "The model provider failed",
    503: "The database or Redis is unavailable",
    504: "The model provider timed out",
}
_EVERY_OPERATION = (UnknownQueryParameter, RequestTooLarge, InternalError, ServiceUnavailable)
_WITH_BODY = (ValidationFailed, MalformedJson, UnsupportedMediaType)


class ErrorCodeField(serializers.ChoiceField):
    """The error codes of all apps. Evaluated when a serializer is instantiated, after all apps are loaded."""

    def __init__(self, **kwargs: Any) -> None:
        codes = sorted({error.error_code for error in error_classes()})
        super().__init__(choices=codes, **kwargs)


@extend_schema_serializer(component_name="ApiError")
class ErrorSerializer(serializers.Serializer[Any]):
    """The body of every error response."""

    error_code = ErrorCodeField(help_text="A machine-readable error code.")
    message = serializers.CharField(help_text="A human-readable message. The wording may change.")
    details = serializers.DictField(
        help_text="Additional information. The fields depend on `error_code`."
    )


def error_responses(errors: Iterable[type[ApiError]]) -> dict[int, OpenApiResponse]:
    """Return a response per status of the errors, with an example per error code."""
    by_status: dict[int, list[type[ApiError]]] = {}
    for error in errors:
        by_status.setdefault(error.status_code, []).append(error)
    return {
        status: OpenApiResponse(
            ErrorSerializer,
            description=_DESCRIPTIONS[status],
            examples=[
                OpenApiExample(
                    error.error_code,
                    value=example(error),
                    response_only=True,
                    status_codes=[str(status)],
                )
                for error in by_status[status]
            ],
        )
        for status in sorted(by_status)
    }


def example(error: type[ApiError]) -> dict[str, Any]:
    """Return an example body of an error."""
    return {
        "error_code": error.error_code,
        "message": error.message,
        "details": error.example_details,
    }


def operation(
    summary: str,
    *,
    description: str,
    responses: Mapping[int | tuple[int, str], Any],
    errors: Iterable[type[ApiError]] = (),
    id_of: str = "",
    other_ids: Mapping[str, str] | None = None,
    body: Mapping[str, Any] | None = None,
    example: Any = None,
    example_of: Mapping[int | tuple[int, str], Any] | None = None,
    headers: Mapping[str, str] | None = None,
    **kwargs: Any,
) -> Any:
    """Return an `extend_schema` decorator with the errors and examples of an operation.

    `id_of` names the resource whose ID is in the path, and `other_ids` those of further parameters. `body`
    maps names of examples to request bodies; `example` is the body of the success response, and `example_of`
    that of another status. `headers` are the descriptions of request headers.
    """
    examples = [
        OpenApiExample(name, value=value, request_only=True) for name, value in (body or {}).items()
    ]
    # The key of another content type than JSON is a pair of the status and the type.
    success = {next(iter(responses)): example, **(example_of or {})}
    for key, value in success.items():
        status, media_type = key if isinstance(key, tuple) else (key, "application/json")
        if value is not None:
            examples.append(_response_example(value, status, media_type))
    ids = {**({"id": id_of} if id_of else {}), **(other_ids or {})}
    kwargs["parameters"] = [
        *(
            OpenApiParameter(name, str, OpenApiParameter.PATH, description=f"ID of the {noun}.")
            for name, noun in ids.items()
        ),
        *(
            OpenApiParameter(name, str, OpenApiParameter.HEADER, description=text)
            for name, text in (headers or {}).items()
        ),
        *kwargs.get("parameters", ()),
    ]
    all_errors = (*_EVERY_OPERATION, *(_WITH_BODY if body else ()), *errors)
    return extend_schema(
        summary=summary,
        description=description,
        responses={**responses, **error_responses(all_errors)},
        examples=examples,
        **kwargs,
    )


def _response_example(value: Any, status: int, media_type: str) -> OpenApiExample:
    return OpenApiExample(
        "Response",
        value=value,
        response_only=True,
        status_codes=[str(status)],
        media_type=media_type,
    )


class StrictSerializerExtension(OpenApiSerializerExtension):  # type: ignore[no-untyped-call]
    """Documents that a request has no other fields, and that a response has all of its fields."""

    target_class = "map_project.api.fields.StrictSerializer"
    match_subclasses = True

    def map_serializer(self, auto_schema: Any, direction: str) -> dict[str, Any]:
        # drf-spectacular documents this call for extensions, in spite of the underscore.
        schema = auto_schema._map_serializer(self.target, direction, bypass_extensions=True)
        if direction == "request":
            return {**schema, "additionalProperties": False}
        return {**schema, "required": list(schema["properties"])}


# The names of drf-spectacular, and those in the document.
_COMPONENT_NAMES = {
    r"Patched(\w+)Request": r"\1Patch",
    r"(\w+)Request": r"\1Input",
    r"Paginated(\w+)List": r"\1List",
}


def describe_success(
    result: dict[str, Any], generator: Any, request: Any, public: bool
) -> dict[str, Any]:
    """Describe the success responses (a drf-spectacular postprocessing hook)."""
    for path in result["paths"].values():
        for operation in path.values():
            for status, response in operation["responses"].items():
                response["description"] = response["description"] or _DESCRIPTIONS[int(status)]
    return result


def rename_components(
    result: dict[str, Any], generator: Any, request: Any, public: bool
) -> dict[str, Any]:
    """Give schemas plain names (a drf-spectacular postprocessing hook)."""
    schemas: dict[str, Any] = result["components"]["schemas"]
    names = {name: _component_name(name) for name in schemas}
    result["components"]["schemas"] = {names[name]: schemas[name] for name in schemas}
    _rename_references(result, {f"#/components/schemas/{name}": names[name] for name in names})
    return result


def _component_name(name: str) -> str:
    for pattern, replacement in _COMPONENT_NAMES.items():
        if re.fullmatch(pattern, name):
            return re.sub(pattern, replacement, name)
    return name


def _rename_references(part: Any, names: Mapping[str, str]) -> None:
    if isinstance(part, dict):
        # The values of `$ref`, and of the mapping of a discriminator.
        for key, value in part.items():
            if isinstance(value, str) and value in names:
                part[key] = f"#/components/schemas/{names[value]}"
        part = list(part.values())
    if isinstance(part, list):
        for item in part:
            _rename_references(item, names)


@cache
def document() -> dict[str, Any]:
    """Return the OpenAPI document, generated once per process."""
    schema: dict[str, Any] = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
    return schema


def _public(summary: str, description: str, checks: list[str]) -> dict[str, Any]:
    status = {"type": "string", "enum": ["ok", "unavailable"] if checks else ["ok"]}
    whole = "`unavailable` if a check failed." if checks else "Always `ok`."
    properties: dict[str, Any] = {"status": {**status, "description": whole}}
    example: dict[str, Any] = {"status": "ok"}
    if checks:
        properties["checks"] = {
            "type": "object",
            "description": "The result of each check.",
            "required": checks,
            "properties": dict.fromkeys(checks, status),
        }
        example["checks"] = dict.fromkeys(checks, "ok")
    schema = {"type": "object", "required": list(properties), "properties": properties}
    responses = {200: OpenApiResponse(schema, description="OK")}
    if checks:
        responses[503] = OpenApiResponse(schema, description="A check failed")
    return {
        "summary": summary,
        "description": description,
        "auth": [],
        "tags": ["service"],
        "responses": responses,
        "examples": [OpenApiExample("ok", value=example, response_only=True, status_codes=["200"])],
    }


HEALTH = _public(
    "Health check", "Checks that the database and Redis respond.", ["database", "redis"]
)
READY = _public(
    "Readiness check",
    "Checks that the database responds and that all migrations are applied. Redis is not checked, "
    "because everything "
    "except runs works without it.",
    ["database", "migrations"],
)
LIVE = _public("Liveness check", "Checks that the process responds. No other service is used.", [])
