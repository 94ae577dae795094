"""The id of the current request, for log lines anywhere below the view."""

import re
from contextvars import ContextVar

import uuid_utils

NONE = "-"

_WELL_FORMED = re.compile(r"[A-Za-z0-9._-]{1,128}")
_current: ContextVar[str] = ContextVar("request_id", default=NONE)


def begin(header: str | None) -> str:
    """Set and return the request id: the value of the header if it is well formed, else a new id."""
    request_id = header if header and _WELL_FORMED.fullmatch(header) else uuid_utils.uuid4().hex
    _current.set(request_id)
    return request_id


def current() -> str:
    """Return the id of the current request, "-" outside a request."""
    return _current.get()
