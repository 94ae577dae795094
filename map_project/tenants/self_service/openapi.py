"""The OpenAPI operations of API keys."""

from drf_spectacular.utils import extend_schema_view

from map_project.api.errors import InvalidPagination
from map_project.tenants.errors import TenantIsolationViolation
from map_project.tenants.openapi import tenant_operation as operation
from map_project.tenants.self_service.errors import KeyNotFound, KeyNotValid
from map_project.tenants.self_service.serializers import (
    KeySerializer,
    NewKeySerializer,
    RotationSerializer,
)

_BODY = {"name": "ci", "scopes": ["read", "run"], "expires_at": "2027-11-22T10:00:00Z"}
_EXAMPLE = {
    "id": "0197a3c4-6d1e-7b40-8c52-9e2f7a1d3b58",
    "prefix": "map_3fZc9QvA",
    **_BODY,
    "created_by": "map_q8TnB21x",
    "created_at": "2026-11-22T10:00:00.123456Z",
    "last_used_at": None,
    "revoked_at": None,
}
_NEW = {**_EXAMPLE, "key": "map_3fZc9QvAw0mT5kLr8uXyE1hNd4sGj7pBoC2iVqRzKtY"}
_ONE = (KeyNotFound, TenantIsolationViolation)

documented = extend_schema_view(
    list=operation(
        "List API keys",
        description="Returns the API keys of your tenant, also those that are revoked or expired, sorted by "
        "`created_at`, then `id`.",
        responses={200: KeySerializer(many=True)},
        errors=[InvalidPagination],
        example=_EXAMPLE,
    ),
    create=operation(
        "Create an API key",
        description="Creates an API key and returns it. It is not shown again. It has only scopes that the "
        "key of the request has (otherwise 403), and expires no later.",
        responses={201: NewKeySerializer},
        body={"Key": _BODY},
        example=_NEW,
    ),
    retrieve=operation(
        "Read an API key",
        description="Returns what is known about an API key. The key itself is not stored.",
        id_of="key",
        responses={200: KeySerializer},
        errors=_ONE,
        example=_EXAMPLE,
    ),
    destroy=operation(
        "Revoke an API key",
        description="Revokes an API key permanently, which can be the key of the request. All processes "
        "reject it within one second. It stays in the list.",
        id_of="key",
        responses={204: None},
        errors=_ONE,
    ),
    rotate=operation(
        "Rotate an API key",
        description="Returns a new API key with the name, the scopes and the lifetime of the old one. It "
        "expires no later than the key of the request. The old key is revoked, or expires after "
        "`grace_seconds`. A key that has a scope which the key of the request lacks cannot be rotated (403). "
        "The body is optional.",
        id_of="key",
        operation_id="keys_rotate",
        request=RotationSerializer,
        responses={201: NewKeySerializer},
        errors=[*_ONE, KeyNotValid],
        body={"One hour": {"grace_seconds": 3600}},
        example=_NEW,
    ),
)
