"""The base classes of every view that needs an API key: no queryset reaches a view without its tenant."""

import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar, cast
from urllib.parse import unquote_to_bytes

from django.core.exceptions import ObjectDoesNotExist
from django.db import models
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from map_project.api.errors import ApiError, BadRequest, MalformedJson, UnknownQueryParameter
from map_project.api.fields import MAX_UNKNOWN_NAMES, parse_uuid, unknown_names
from map_project.tenants.authentication import Caller, TenantAuthentication
from map_project.tenants.errors import TenantIsolationViolation
from map_project.tenants.scopes import ACTION_SCOPES, HasScope

Row = TypeVar("Row", bound=models.Model)


class CallerViewSet(GenericViewSet[Row], Generic[Row]):
    """Views that need an API key.

    Actions in `paginated_actions` take the query parameters of the pagination, `list` also those of
    `exact_filters` (`map_project.api.filters`), and each action its own of `query_parameters`, where
    `prefix.<key>` stands for all names with the prefix. Other parameters are errors, and so are repeated
    ones, unless `ignores_unknown_parameters`. `scopes` has the scope of each action.
    """

    authentication_classes = (TenantAuthentication,)
    permission_classes = (HasScope,)
    scopes: Mapping[str, str] = ACTION_SCOPES
    http_method_names = ["get", "head", "post", "put", "patch", "delete"]
    paginated_actions: Sequence[str] = ("list",)
    exact_filters: Mapping[str, tuple[str, str]] = {}
    query_parameters: Mapping[str, Sequence[str]] = {}
    ignores_unknown_parameters = False

    @property
    def caller(self) -> Caller:
        """The authenticated caller."""
        return cast(Caller, self.request.auth)

    @property
    def required_scope(self) -> str:
        """The scope that the request requires."""
        return self.scopes[self.action]

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        _check_query_string(request)
        if self.action in self.action_map.values() and not self.ignores_unknown_parameters:
            self._check_query_parameters()

    def _check_query_parameters(self) -> None:
        """Raise BadRequest for a parameter that is unknown or repeated.

        A filter that is silently ignored would look as if it had worked.
        """
        known = ["limit", "offset"] if self.action in self.paginated_actions else []
        known += self.query_parameters.get(self.action, ())
        if self.action == "list":
            known += self.exact_filters
        prefixes = tuple(name.removesuffix("<key>") for name in known if name.endswith("<key>"))
        names = {name: "" for name in self.request.query_params if not name.startswith(prefixes)}
        if unknown := unknown_names(names, known):
            raise UnknownQueryParameter.of(unknown, known)
        repeated = [name for name, texts in self.request.query_params.lists() if len(texts) > 1]
        if repeated:
            raise BadRequest(
                f"{repeated[0][:100]} must not be repeated.",
                repeated_parameters=repeated[:MAX_UNKNOWN_NAMES],
            )


class TenantViewSet(CallerViewSet[Row], Generic[Row]):
    """Generic views of the rows of `queryset` that belong to the caller's tenant.

    The actions in `row_actions` read `rows` instead of `queryset`: a queryset of `.values()`, built once
    (`RowSerializer.rows`). `resource` is the name in error details (`tool_id`), `not_found` the error of
    an id that does not exist.
    """

    rows: models.QuerySet[Row, Any]
    row_actions: Sequence[str] = ()
    resource: str
    not_found: type[ApiError]

    def get_queryset(self) -> models.QuerySet[Row, Any]:
        queryset = self.rows if self.action in self.row_actions else super().get_queryset()
        if getattr(self, "swagger_fake_view", False):
            return queryset.none()
        return queryset.filter(tenant_id=self.caller.tenant_id)

    def get_object(self) -> Row:
        """Return the caller's row with the id in the URL. Raises ApiError (404 or 403)."""
        try:
            row: Row = self.get_queryset().get(pk=self.get_pk())
        except ObjectDoesNotExist:
            raise self.missing_row_error() from None
        return row

    def get_pk(self) -> uuid.UUID:
        """Return the id in the URL. Raises ApiError 404 if it is malformed."""
        pk = parse_uuid(self.kwargs["pk"])
        if pk is None:
            raise self._not_found_error()
        return pk

    def missing_row_error(self) -> ApiError:
        """Return 403 if the row belongs to another tenant, else 404. Reads nothing of the row."""
        if not super().get_queryset().filter(pk=self.get_pk()).exists():
            return self._not_found_error()
        return TenantIsolationViolation(
            f"This {super().get_queryset().model._meta.verbose_name} belongs to another tenant.",
            resource_type=self.resource,
            resource_id=self.kwargs["pk"],
        )

    def _not_found_error(self) -> ApiError:
        return self.not_found(**{f"{self.resource}_id": self.kwargs["pk"]})

    def get_serializer(self, *args: Any, **kwargs: Any) -> Any:
        """Return the serializer. Raises MalformedJson for an empty body, which DRF parses as `{}`."""
        if "data" in kwargs and self.request.META.get("CONTENT_LENGTH", "") in {"", "0"}:
            raise MalformedJson
        return super().get_serializer(*args, **kwargs)

    def perform_create(self, serializer: Any) -> None:
        serializer.save(tenant_id=self.caller.tenant_id)

    def handle_exception(self, exc: Exception) -> Response:
        """Report a row that was deleted between its lookup and the write as missing."""
        if isinstance(exc, ObjectDoesNotExist):
            exc = self.missing_row_error()
        return super().handle_exception(exc)


def _check_query_string(request: Request) -> None:
    """Raise BadRequest for a query string that is not UTF-8 or contains NUL.

    Django would replace invalid bytes silently, and PostgreSQL rejects NUL.
    """
    query = unquote_to_bytes(request.META.get("QUERY_STRING", "").encode("latin-1", "replace"))
    try:
        query.decode()
    except UnicodeDecodeError:
        raise BadRequest("The query string is not valid UTF-8.") from None
    if b"\0" in query:
        raise BadRequest("The query string contains NUL.")
