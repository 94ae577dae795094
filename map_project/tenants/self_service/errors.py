"""Errors of the API of keys."""

from map_project.api.errors import ApiError


class KeyNotFound(ApiError):
    """404."""

    status_code = 404
    error_code = "KEY_NOT_FOUND"
    message = "The API key does not exist."
    example_details = {"key_id": "0197a3c4-6d1e-7b40-8c52-9e2f7a1d3b58"}


class KeyNotValid(ApiError):
    """409 for the rotation of a key that is revoked or expired."""

    status_code = 409
    error_code = "KEY_NOT_VALID"
    message = "The API key is revoked or expired. Create a new one."
    example_details = {"key_id": "0197a3c4-6d1e-7b40-8c52-9e2f7a1d3b58"}
