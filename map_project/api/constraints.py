"""Violated database constraints as errors of the API."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from django.db import IntegrityError

from map_project.api.errors import ApiError


@contextmanager
def constraint_errors(errors: Mapping[str, ApiError]) -> Iterator[None]:
    """Raise the error given for a violated database constraint in place of IntegrityError."""
    try:
        yield
    except IntegrityError as error:
        diagnostics = getattr(error.__cause__, "diag", None)
        constraint = getattr(diagnostics, "constraint_name", None) or ""
        raise errors.get(constraint, error) from error
