"""Errors of authentication, isolation and scopes."""

from collections.abc import Sequence
from typing import Self

from map_project.api.errors import ApiError


class MissingApiKey(ApiError):
    """401."""

    status_code = 401
    error_code = "MISSING_API_KEY"
    message = "An API key is required. Send it in the X-API-KEY header."


class InvalidApiKey(ApiError):
    """401 for unknown, expired and revoked keys and for keys of a deactivated tenant alike."""

    status_code = 401
    error_code = "INVALID_API_KEY"
    message = "The API key is not valid."


class TenantIsolationViolation(ApiError):
    """403: the resource exists and belongs to another tenant."""

    status_code = 403
    error_code = "TENANT_ISOLATION_VIOLATION"
    message = "The resource belongs to another tenant."
    example_details = {
        "resource_type": "agent",
        "resource_id": "0197a3c0-5b7e-7c1a-9f60-3a2f4f0f7a11",
    }


class InsufficientScope(ApiError):
    """403. `required` is the scope that the operation requires, `granted` has those of the key."""

    status_code = 403
    error_code = "INSUFFICIENT_SCOPE"
    message = "The API key does not have the scope 'write'."
    example_details = {"required": "write", "granted": ["read", "run"]}

    @classmethod
    def of(cls, required: str, granted: Sequence[str]) -> Self:
        """Return the error of a key that has only the granted scopes."""
        message = f"The API key does not have the scope '{required}'."
        return cls(message, required=required, granted=granted)
