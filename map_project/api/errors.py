"""The error body of every 4xx and 5xx: `{"error_code", "message", "details"}`.

Each error code is a subclass of `ApiError` in the `errors` module of the app that raises it. The OpenAPI
document takes the code, the default message and the example from the class.
"""

import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Self

import orjson
from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.db import DatabaseError, InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, UnreadablePostError
from django.http.response import HttpResponseBase
from rest_framework import exceptions
from rest_framework.response import Response

from map_project.api import request_id
from map_project.postgresql.queries import sqlstate

logger = logging.getLogger("map.errors")

RETRY_AFTER_SECONDS = 1


class ApiError(exceptions.APIException):
    """An error response. A subclass sets the class attributes; keyword arguments become `details`.

    `message` replaces the default sentence, `headers` are added to the response.
    """

    error_code: ClassVar[str]
    message: str
    example_details: ClassVar[Mapping[str, Any]] = {}

    def __init__(
        self,
        message: str | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        **details: Any,
    ) -> None:
        if message is not None:
            self.message = message
        self.details = details
        self.headers = dict(headers or {})
        super().__init__(self.message, self.error_code)

    def body(self) -> dict[str, Any]:
        """Return the error body."""
        return {"error_code": self.error_code, "message": self.message, "details": self.details}

    def response(self) -> HttpResponse:
        """Return a response for code outside DRF: middleware and Django's error handlers."""
        return HttpResponse(
            orjson.dumps(self.body()),
            status=self.status_code,
            headers=self.headers,
            content_type="application/json",
        )


def error_classes(base: type[ApiError] = ApiError) -> Iterator[type[ApiError]]:
    """Yield every error class that has been imported."""
    for subclass in base.__subclasses__():
        yield subclass
        yield from error_classes(subclass)


class ValidationFailed(ApiError):
    """400. `fields` maps each field to a flat list of sentences."""

    status_code = 400
    error_code = "VALIDATION_ERROR"
    message = "The request body is invalid. See details.fields."
    example_details = {"fields": {"name": ["This field is required."]}}


class MalformedJson(ApiError):
    """400. The message says where the text stops being JSON and does not quote it."""

    status_code = 400
    error_code = "MALFORMED_JSON"
    message = "The body is not valid JSON: the body is empty."


class InvalidPagination(ApiError):
    """400. `details` has an entry for each invalid parameter."""

    status_code = 400
    error_code = "INVALID_PAGINATION"
    message = "limit must be an integer from 1 to 100, and offset must be an integer from 0 to 2147483647."
    example_details = {"limit": {"provided": "0", "minimum": 1}}


class BadRequest(ApiError):
    """400 for a request that is malformed outside its body."""

    status_code = 400
    error_code = "BAD_REQUEST"
    message = "The request is malformed."


class UnknownQueryParameter(BadRequest):
    """400 for query parameters that the operation does not have."""

    message = "Unknown query parameter: page. Known parameters: limit, offset."
    example_details = {"unknown_parameters": ["page"], "known_parameters": ["limit", "offset"]}

    @classmethod
    def of(cls, unknown: Sequence[str], known: Sequence[str]) -> Self:
        """Return the error for these names. The message has the first unknown one."""
        parameters = f"Known parameters: {', '.join(known)}." if known else "There are none."
        return cls(
            f"Unknown query parameter: {unknown[0][:100]}. {parameters}",
            unknown_parameters=unknown,
            known_parameters=known,
        )


class UnreadableBody(BadRequest):
    """400 for a body that ends early or whose chunks are malformed."""

    message = "The request body was incomplete."


class NotFound(ApiError):
    """404 for a URL that matches no route."""

    status_code = 404
    error_code = "NOT_FOUND"
    message = "No such endpoint. API paths start with /api/v1 or /v1 and have no trailing slash."


class MethodNotAllowed(ApiError):
    """405."""

    status_code = 405
    error_code = "METHOD_NOT_ALLOWED"
    message = "This method is not allowed for this URL."


class RequestTooLarge(ApiError):
    """413. `max_bytes` is the limit."""

    status_code = 413
    error_code = "REQUEST_TOO_LARGE"
    message = "The request body is larger than the limit."
    example_details = {"max_bytes": 1048576}


class UnsupportedMediaType(ApiError):
    """415."""

    status_code = 415
    error_code = "UNSUPPORTED_MEDIA_TYPE"
    message = (
        'Unsupported media type "text/plain" in request. '
        "Send JSON with the header Content-Type: application/json."
    )


class UnsupportedContentEncoding(UnsupportedMediaType):
    """415 for a compressed body. `Accept-Encoding` is the response header of RFC 7694."""

    message = "A body with a Content-Encoding is not supported. Send it uncompressed."

    def __init__(self) -> None:
        super().__init__(headers={"Accept-Encoding": "identity"})


class InternalError(ApiError):
    """500. `request_id` identifies the request in the log."""

    status_code = 500
    error_code = "INTERNAL_ERROR"
    message = "Internal error. Include the request ID when you contact support."
    example_details = {"request_id": "4bf92f3577b34da6a3ce929d0e0e4736"}

    def __init__(self) -> None:
        super().__init__(request_id=request_id.current())


class ServiceUnavailable(ApiError):
    """503. `reason` is `redis_unavailable` or `database_unavailable`."""

    status_code = 503
    error_code = "SERVICE_UNAVAILABLE"
    message = "A backend service (database or Redis) is unavailable. Try again shortly."
    example_details = {"reason": "database_unavailable"}

    def __init__(self, *, reason: str) -> None:
        super().__init__(headers={"Retry-After": str(RETRY_AFTER_SECONDS)}, reason=reason)


def as_api_error(error: BaseException) -> ApiError:
    """Return the response for an exception. Unexpected exceptions are logged and become a 500."""
    api_error = _expected(error)
    if api_error is None:
        logger.error("unhandled %s", type(error).__name__, exc_info=error)
        return InternalError()
    if isinstance(api_error, ServiceUnavailable):
        cause = type(error.__cause__ or error).__name__
        logger.warning("%s: %s", api_error.details["reason"], cause)
    return api_error


def _expected(error: BaseException) -> ApiError | None:  # noqa: C901, PLR0911  one line per exception
    match error:
        case ApiError():
            return error
        case exceptions.ValidationError():
            return ValidationFailed(fields=_flat_fields(error.detail))
        case exceptions.MethodNotAllowed():
            return MethodNotAllowed(str(error.detail))
        case exceptions.UnsupportedMediaType():
            return UnsupportedMediaType(
                f"{error.detail} Send JSON with the header Content-Type: application/json."
            )
        case Http404():
            return NotFound()
        case PermissionDenied():
            return BadRequest("The request was rejected.")
        case UnreadablePostError():
            return UnreadableBody()
        case SuspiciousOperation():
            return BadRequest()
        case OperationalError() | InterfaceError():
            return ServiceUnavailable(reason="database_unavailable")
        case DatabaseError() if _is_lost_connection(error):
            return ServiceUnavailable(reason="database_unavailable")
    return None


def _is_lost_connection(error: DatabaseError) -> bool:
    """Return whether the server ended the connection or became a standby.

    psycopg raises errors of SQLSTATE classes 08, 53, 57 and 58, and 25006 (read-only transaction), as
    DatabaseError or InternalError as well.
    """
    state = sqlstate(error)
    return state[:2] in {"08", "53", "57", "58"} or state == "25006"


def exception_handler(error: Exception, context: Mapping[str, Any]) -> Response:
    """Return the error response for an exception of a view (DRF's `EXCEPTION_HANDLER`)."""
    # DRF imports this module through its settings while it defines its views.
    from rest_framework.views import set_rollback

    api_error = as_api_error(error)
    set_rollback()
    headers = dict(api_error.headers)
    if isinstance(error, exceptions.MethodNotAllowed):
        headers["Allow"] = ", ".join(context["view"].allowed_methods)
    return Response(api_error.body(), status=api_error.status_code, headers=headers)


def _flat_fields(detail: Any) -> dict[str, list[str]]:
    """Flatten DRF's nested detail into a list of sentences per field."""
    if not isinstance(detail, Mapping):
        return {}
    return {str(field): _sentences(value) for field, value in detail.items()}


def _sentences(detail: Any) -> list[str]:
    if isinstance(detail, Mapping):
        detail = list(detail.values())
    if isinstance(detail, list | tuple):
        unique = dict.fromkeys(sentence for part in detail for sentence in _sentences(part))
        return list(unique)
    return [str(detail)]


def enveloped(response: HttpResponseBase) -> HttpResponse:
    """Return an error response of WhiteNoise, Django or a debug page with the error body instead."""
    status = response.status_code
    match status:
        case 404:
            error: ApiError = NotFound()
        case 405:
            error = MethodNotAllowed()
        case _ if status >= 500:
            error = InternalError()
        case _:
            error = BadRequest("The request was rejected.")
            error.status_code = status
    replacement = error.response()
    for name, value in response.items():
        if name.lower() not in {"content-type", "content-length"}:
            replacement[name] = value
    return replacement


def handler400(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's handler for a suspicious request."""
    return BadRequest().response()


def handler404(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's handler for an unknown URL."""
    return NotFound().response()


def handler500(request: HttpRequest) -> HttpResponse:
    """Django's handler for an unhandled exception, which `log_unhandled_exception` has logged."""
    error = sys.exc_info()[1]
    api_error = _expected(error) if error else None
    return (api_error or InternalError()).response()


def log_unhandled_exception(**_: object) -> None:
    """Log an exception outside the views (signal): the settings silence Django's `django.request`."""
    if error := sys.exc_info()[1]:
        as_api_error(error)
