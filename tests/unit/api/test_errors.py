"""The JSON body of exceptions, and of error responses of other code."""

import json
from typing import Any

import psycopg
import pytest
from django.core.exceptions import PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.db import DatabaseError, DataError, IntegrityError, InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, UnreadablePostError
from rest_framework import exceptions

from map_project.api import errors
from map_project.api.errors import RequestTooLarge, as_api_error, enveloped


def caused_by(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


TABLE: list[tuple[Exception, int, str]] = [
    (RequestTooLarge(max_bytes=1), 413, "REQUEST_TOO_LARGE"),
    (exceptions.ValidationError({"name": ["No."]}), 400, "VALIDATION_ERROR"),
    (exceptions.MethodNotAllowed("PUT"), 405, "METHOD_NOT_ALLOWED"),
    (exceptions.UnsupportedMediaType("text/plain"), 415, "UNSUPPORTED_MEDIA_TYPE"),
    (Http404("/etc/passwd"), 404, "NOT_FOUND"),
    (PermissionDenied("secret"), 400, "BAD_REQUEST"),
    (UnreadablePostError("secret"), 400, "BAD_REQUEST"),
    (SuspiciousOperation("secret"), 400, "BAD_REQUEST"),
    (RequestDataTooBig("secret"), 400, "BAD_REQUEST"),
    (OperationalError("secret"), 503, "SERVICE_UNAVAILABLE"),
    (InterfaceError("secret"), 503, "SERVICE_UNAVAILABLE"),
    (
        caused_by(DatabaseError("secret"), psycopg.errors.AdminShutdown("secret")),
        503,
        "SERVICE_UNAVAILABLE",
    ),
    (
        caused_by(DatabaseError("secret"), psycopg.errors.UndefinedTable("secret")),
        500,
        "INTERNAL_ERROR",
    ),
    (DatabaseError("secret"), 500, "INTERNAL_ERROR"),
    (DataError("secret"), 500, "INTERNAL_ERROR"),
    (IntegrityError("secret"), 500, "INTERNAL_ERROR"),
    (exceptions.APIException("secret"), 500, "INTERNAL_ERROR"),
    (ValueError("secret"), 500, "INTERNAL_ERROR"),
    (RecursionError("secret"), 500, "INTERNAL_ERROR"),
]


@pytest.mark.parametrize(
    ("error", "status", "error_code"), TABLE, ids=[repr(row[0]) for row in TABLE]
)
def test_exceptions_are_converted(
    error: Exception, status: int, error_code: str, caplog: pytest.LogCaptureFixture
) -> None:
    converted = as_api_error(error)
    assert (converted.status_code, converted.error_code) == (status, error_code)
    assert "secret" not in json.dumps(converted.body())
    assert bool(caplog.records) == (status >= 500)
    assert ("Retry-After" in converted.headers) == (status == 503)
    check_handler500(error, status, error_code)


def check_handler500(error: Exception, status: int, error_code: str) -> None:
    """Check the handler as Django calls it: while the exception is handled."""
    try:
        raise error
    except Exception:
        response = errors.handler500(HttpRequest())
    assert response.status_code == status
    assert json.loads(response.content)["error_code"] == error_code


def test_the_handlers_without_a_known_exception() -> None:
    assert errors.handler500(HttpRequest()).status_code == 500
    assert errors.handler400(HttpRequest(), ValueError()).status_code == 400
    assert errors.handler404(HttpRequest(), ValueError()).status_code == 404


@pytest.mark.parametrize(
    ("detail", "fields"),
    [
        ({"a": ["One.", "Two.", "One."]}, {"a": ["One.", "Two."]}),
        ({"a": {"0": ["One."], "3": ["One.", "Two."]}}, {"a": ["One.", "Two."]}),
        ({"a": [{"x": ["One."]}, {}, {"y": ["Two."]}]}, {"a": ["One.", "Two."]}),
        ({"a": "One."}, {"a": ["One."]}),
        (["One."], {}),
    ],
)
def test_nested_details_are_flattened(detail: Any, fields: dict[str, list[str]]) -> None:
    converted = as_api_error(exceptions.ValidationError(detail))
    assert converted.details == {"fields": fields}


@pytest.mark.parametrize(
    ("status", "error_code"),
    [
        (400, "BAD_REQUEST"),
        (403, "BAD_REQUEST"),
        (404, "NOT_FOUND"),
        (405, "METHOD_NOT_ALLOWED"),
        (416, "BAD_REQUEST"),
        (500, "INTERNAL_ERROR"),
        (502, "INTERNAL_ERROR"),
    ],
)
def test_an_error_of_other_code_keeps_its_status_and_headers(status: int, error_code: str) -> None:
    page = HttpResponse("<h1>Traceback</h1>", status=status, headers={"Allow": "GET", "X-Y": "z"})
    page["Content-Length"] = "18"
    response = enveloped(page)
    assert json.loads(response.content)["error_code"] == error_code
    assert b"Traceback" not in response.content
    assert response["Content-Type"] == "application/json"
    assert (response["Allow"], response["X-Y"]) == ("GET", "z")
    assert "Content-Length" not in response
    assert response.status_code == (500 if status == 502 else status)
