"""The base of every API view of a tenant's rows: no queryset reaches a view without its tenant."""

import uuid
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Generic, TypeVar, cast
from urllib.parse import unquote_to_bytes

from django.core.exceptions import ObjectDoesNotExist
from django.db import IntegrityError, models
from django.http import HttpRequest
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer
from rest_framework.viewsets import GenericViewSet

from map_project.api.errors import ApiError, bad_request
from map_project.api.fields import StrictSerializer, parse_uuid
from map_project.api.parsers import json_object
from map_project.api.renderers import Answer
from map_project.postgresql.compiled import Compiled, Rows
from map_project.tenants.authentication import Caller, TenantAuthentication

Row = TypeVar("Row", bound=models.Model)


class TenantViewSet(GenericViewSet[Row], Generic[Row]):
    """Views of the rows of `model` that belong to whoever calls.

    `resource` names the kind in errors: `tool`, `agent`, `execution`.
    """

    authentication_classes = (TenantAuthentication,)
    http_method_names = ["get", "head", "post", "put", "patch", "delete"]
    model: type[Row]
    resource: str
    body_class: type[StrictSerializer]
    # One row of a tenant by its id, as it is answered.
    one: Compiled
    # What the caller sent, once it is valid.
    sent: Mapping[str, Any] = {}

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        # As DRF's, without a renderer and a version to negotiate: there is one of each.
        self.format_kwarg = None
        self.perform_authentication(request)
        self.check_permissions(request)
        self.check_throttles(request)
        _refuse_broken_query(request._request)

    @property
    def default_response_headers(self) -> dict[str, str]:
        """`Allow`, for a method that is not allowed (or OPTIONS): nobody else needs it."""
        is_allowed = self.action not in (None, "metadata")
        return {} if is_allowed else dict(super().default_response_headers)

    def handle_exception(self, exc: Exception) -> Response:
        """A constraint of the database speaks last, at whatever statement or commit it does; a row
        may be gone by the time it is written.
        """
        if isinstance(exc, ObjectDoesNotExist):
            exc = self.missing()
        if isinstance(exc, IntegrityError):
            exc = self.conflict(constraint_name(exc), exc) or exc
        return super().handle_exception(exc)

    def conflict(self, constraint: str, error: IntegrityError) -> ApiError | None:
        """What a violated constraint means to the caller; None where it means a fault of ours."""
        return None

    def validated_body(self, *, partial: bool = False) -> dict[str, Any]:
        """The body, valid. Raises ApiError `MALFORMED_JSON` or `VALIDATION_ERROR`."""
        body = made_once(self.body_class, partial)
        self.sent = body.run_validation(json_object(self.request))
        return dict(self.sent)

    def shown(self, row: Row) -> dict[str, Any]:
        """A row that was just written, as it is answered."""
        shown: dict[str, Any] = made_once(cast(Any, self.serializer_class)).to_representation(row)
        return shown

    @property
    def caller(self) -> Caller:
        """Who calls, and its quota."""
        return cast(Caller, self.request.auth)

    def get_queryset(self) -> models.QuerySet[Row]:
        """The tenant's own rows."""
        if getattr(self, "swagger_fake_view", False):
            return self.model._default_manager.none()
        return self.model._default_manager.filter(tenant_id=self.caller.tenant_id)

    def page(self, query: Callable[..., Rows], **parameters: object) -> Answer:
        """The page of the tenant's own rows that the request asks for."""
        rows = query(tenant_id=self.caller.tenant_id, **parameters)
        answer = self.get_paginated_response(self.paginate_queryset(rows) or [])  # type: ignore[arg-type]
        return cast(Answer, answer)

    def row(self) -> dict[str, Any]:
        """The tenant's own row that the address names, as it is answered. Raises ApiError 404, or
        403 for another's.
        """
        row = self.one(tenant_id=self.caller.tenant_id, pk=self.named()).first()
        if row is None:
            raise self.missing()
        return row

    def get_object(self) -> Row:
        """The same to be changed: a model. Raises as above."""
        row = self.get_queryset().filter(pk=self.named()).first()
        if row is None:
            raise self.missing()
        return row

    def named(self) -> uuid.UUID:
        """The id in the address. Raises ApiError 404 for what is no id."""
        pk = parse_uuid(self.kwargs["pk"])
        if pk is None:
            raise self._not_found()
        return pk

    def missing(self) -> ApiError:
        """Why the tenant has no such row. Asked only now, and only for a boolean: is it another's?"""
        if not self.model._default_manager.filter(pk=self.named()).exists():
            return self._not_found()
        return ApiError(
            403,
            "TENANT_ISOLATION_VIOLATION",
            f"This {self.resource} belongs to another tenant.",
            {"resource_type": self.resource, "resource_id": self.kwargs["pk"]},
        )

    def _not_found(self) -> ApiError:
        return ApiError(
            404,
            f"{self.resource.upper()}_NOT_FOUND",
            f"There is no such {self.resource}.",
            {f"{self.resource}_id": self.kwargs["pk"]},
        )


@cache
def made_once(serializer_class: type[BaseSerializer[Any]], partial: bool = False) -> Any:
    """A serializer of this class. DRF copies all its fields for each instance, which costs more than
    to use them; neither validation nor representation keeps anything in it, so one serves all.
    """
    return serializer_class(partial=partial)


def constraint_name(error: IntegrityError) -> str:
    """The violated constraint's name, "" where PostgreSQL did not speak."""
    diagnostics = getattr(error.__cause__, "diag", None)
    return getattr(diagnostics, "constraint_name", None) or ""


def _refuse_broken_query(request: HttpRequest) -> None:
    """Django would silently replace bytes that are not UTF-8; PostgreSQL takes no NUL."""
    try:
        query = request.META.get("QUERY_STRING", "").encode("latin-1")
        if b"\0" not in (decoded := unquote_to_bytes(query)):
            decoded.decode()
            return
    except UnicodeError:
        pass
    raise bad_request("The query string is not UTF-8, or holds a NUL.")
