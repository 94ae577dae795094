"""The error body, made here alone: `{"error_code", "message", "details"}` for every 4xx and 5xx."""

import logging
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.db import DatabaseError, InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, UnreadablePostError
from django.http.response import HttpResponseBase
from rest_framework import exceptions
from rest_framework.response import Response

from map_project.api import request_id

logger = logging.getLogger("map.errors")

RETRY_AFTER_SECONDS = 1


class ApiError(exceptions.APIException):
    """An answer that is an error.

    `status` is the HTTP status, `error_code` a constant a client can switch on, `message` a sentence
    for a person, `details` what a program may want to know, `headers` what goes beside the body.
    """

    def __init__(
        self,
        status: int,
        error_code: str,
        message: str,
        details: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message, error_code)
        self.status_code = status
        self.error_code = error_code
        self.message = message
        self.details = dict(details or {})
        self.headers = dict(headers or {})

    def body(self) -> dict[str, Any]:
        """The envelope."""
        return {"error_code": self.error_code, "message": self.message, "details": self.details}

    def response(self) -> HttpResponse:
        """The answer for whoever stands outside DRF: middleware, and Django's error handlers."""
        return HttpResponse(
            orjson.dumps(self.body()),
            status=self.status_code,
            headers=self.headers,
            content_type="application/json",
        )


def validation_error(fields: Mapping[str, Sequence[str]]) -> ApiError:
    """400 with a flat list of sentences for each field."""
    return ApiError(
        400, "VALIDATION_ERROR", "The request body is not valid.", {"fields": dict(fields)}
    )


def bad_request(message: str) -> ApiError:
    """400 for a request that is malformed outside its body."""
    return ApiError(400, "BAD_REQUEST", message)


def unreadable_body() -> ApiError:
    """400 for a body that ends early, or whose chunks are none."""
    return bad_request("The body could not be read to its end.")


def unavailable(reason: str) -> ApiError:
    """503; `reason` is `redis_unavailable` or `database_unavailable`."""
    return ApiError(
        503,
        "SERVICE_UNAVAILABLE",
        "A service behind this one cannot be reached; try again shortly.",
        {"reason": reason},
        {"Retry-After": str(RETRY_AFTER_SECONDS)},
    )


def not_found() -> ApiError:
    """404 for a route that does not exist."""
    return ApiError(404, "NOT_FOUND", "There is nothing at this address.")


def internal_error() -> ApiError:
    """500; the request's id leads an operator to the log."""
    return ApiError(
        500,
        "INTERNAL_ERROR",
        "Something went wrong on our side; quote the request id when you report it.",
        {"request_id": request_id.current()},
    )


_DRF_CODES = {
    exceptions.MethodNotAllowed: "METHOD_NOT_ALLOWED",
    exceptions.UnsupportedMediaType: "UNSUPPORTED_MEDIA_TYPE",
}


def as_api_error(error: BaseException) -> ApiError:
    """Whatever was raised, as the answer it deserves; what nobody foresaw is logged and a 500."""
    foreseen = _foreseen(error)
    if foreseen is None:
        logger.error("unhandled %s", type(error).__name__, exc_info=error)
        return internal_error()
    if foreseen.status_code == 503:
        logger.warning(
            "%s: %s", foreseen.details["reason"], type(error.__cause__ or error).__name__
        )
    return foreseen


def _foreseen(error: BaseException) -> ApiError | None:  # noqa: PLR0911  a table in code
    match error:
        case ApiError():
            return error
        case exceptions.ValidationError():
            return validation_error(_flat_fields(error.detail))
        case exceptions.APIException() if type(error) in _DRF_CODES:
            return ApiError(error.status_code, _DRF_CODES[type(error)], str(error.detail))
        case Http404():
            return not_found()
        case PermissionDenied():
            return bad_request("This request is refused.")
        case UnreadablePostError():
            return unreadable_body()
        case SuspiciousOperation():
            return bad_request("The request is malformed.")
        case OperationalError() | InterfaceError():
            return unavailable("database_unavailable")
        case DatabaseError() if _lost_connection(error):
            return unavailable("database_unavailable")
    return None


def _lost_connection(error: DatabaseError) -> bool:
    """Whether the server said good-bye in a class of its own, SQLSTATE 08, 53, 57 and 58, or that it
    is a standby now, 25006.
    """
    state = getattr(error.__cause__, "sqlstate", None) or ""
    return state[:2] in {"08", "53", "57", "58"} or state == "25006"


def exception_handler(error: Exception, context: Mapping[str, Any]) -> Response:
    """DRF's hook: every exception of a view leaves as the envelope."""
    # DRF imports what the settings name, this module with it, while it makes its views.
    from rest_framework.views import set_rollback

    api_error = as_api_error(error)
    set_rollback()
    headers = dict(api_error.headers)
    if isinstance(error, exceptions.MethodNotAllowed):
        headers["Allow"] = ", ".join(context["view"].allowed_methods)
    return Response(api_error.body(), status=api_error.status_code, headers=headers)


def _flat_fields(detail: Any) -> dict[str, list[str]]:
    """DRF's nested error detail, flattened: a list of sentences for each field of the body."""
    if not isinstance(detail, Mapping):
        return {}
    return {str(field): _sentences(found) for field, found in detail.items()}


def _sentences(found: Any) -> list[str]:
    if isinstance(found, Mapping):
        found = list(found.values())
    if isinstance(found, list | tuple):
        unique = dict.fromkeys(sentence for part in found for sentence in _sentences(part))
        return list(unique)
    return [str(found)]


def enveloped(response: HttpResponseBase) -> HttpResponse:
    """An error that was not made here (by WhiteNoise, by Django's views and debug pages): its status
    and headers, with our body.
    """
    status = response.status_code
    match status:
        case 404:
            error = not_found()
        case 405:
            error = ApiError(405, "METHOD_NOT_ALLOWED", "This method is not allowed here.")
        case _ if status >= 500:
            error = internal_error()
        case _:
            error = ApiError(status, "BAD_REQUEST", "This request is refused.")
    answer = error.response()
    for name, value in response.items():
        if name.lower() not in {"content-type", "content-length"}:
            answer[name] = value
    return answer


def handler400(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's hook for a suspicious request."""
    return bad_request("The request is malformed.").response()


def handler404(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's hook for an unknown route."""
    return not_found().response()


def handler500(request: HttpRequest) -> HttpResponse:
    """Django's hook for what escaped everything else; `log_escaped` has logged it by now."""
    error = sys.exc_info()[1]
    foreseen = _foreseen(error) if error else None
    return (foreseen or internal_error()).response()


def log_escaped(**_: object) -> None:
    """Logs what no view handled, with DEBUG on as well: our settings silence Django's own logger."""
    if error := sys.exc_info()[1]:
        as_api_error(error)
