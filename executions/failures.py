"""Errors of runs that failed because of their model."""

import uuid
from typing import Any

from executions.errors import ModelFailed, ModelTimedOut
from executions.providers import ModelError, ModelTimeout
from map_project.api.errors import ApiError


def model_failure(execution_id: uuid.UUID, error: ModelError) -> ApiError:
    """Return the error of a run whose execution is stored."""
    details: dict[str, Any] = {
        "execution_id": str(execution_id),
        "provider": error.provider,
        "status": error.status,
        "retryable": error.retryable,
        "reason": error.reason,
        **{f"provider_{name}": value for name, value in error.identifiers.items()},
    }
    if isinstance(error, ModelTimeout):
        return ModelTimedOut(**details)
    if error.status and error.status >= 400:
        return ModelFailed(
            f"The model provider returned an error (HTTP {error.status}).", **details
        )
    return ModelFailed(**details)
