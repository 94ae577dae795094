"""The request's id: in its own place, so that a log line far below the view can carry it."""

import re
from contextvars import ContextVar

import uuid_utils

NONE = "-"

_WELL_FORMED = re.compile(r"[A-Za-z0-9._-]{1,128}")
_current: ContextVar[str] = ContextVar("request_id", default=NONE)


def begin(offered: str | None) -> str:
    """Takes the caller's id where it is well formed, else makes one."""
    request_id = offered if offered and _WELL_FORMED.fullmatch(offered) else uuid_utils.uuid4().hex
    _current.set(request_id)
    return request_id


def current() -> str:
    """The id of the request that this thread serves, "-" where it serves none."""
    return _current.get()
